"""What extractors know of each other's runs."""

from datetime import UTC, datetime, timedelta

from tests.conformance.persistence.conftest import PIPELINE, Harness

from qupersync_extractor.application.appointments import LastRun
from qupersync_shared.kernel.ids import PipelineName

OTHER = PipelineName("costs")
BEGAN = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


async def test_of_each_pipeline_its_last_run_is_known(persistence: Harness) -> None:
    assert await persistence.last_runs.read([PIPELINE]) == {}
    first = LastRun(covers=BEGAN, ended_at=BEGAN + timedelta(minutes=1), definition="one")
    await persistence.last_runs.record(PIPELINE, first)
    await persistence.last_runs.record(OTHER, first)
    earlier = LastRun(covers=BEGAN - timedelta(hours=1), ended_at=BEGAN, definition="two")  # a clock was put back
    await persistence.last_runs.record(PIPELINE, earlier)
    assert await persistence.last_runs.read([PIPELINE, PipelineName("unknown")]) == {PIPELINE: earlier}
    assert await persistence.last_runs.read([PIPELINE, OTHER]) == {PIPELINE: earlier, OTHER: first}
    assert await persistence.last_runs.read([]) == {}
