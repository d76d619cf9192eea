"""What the stream, the loader groups and a fork report make of the log before a run."""

from dataclasses import replace

import pytest
from tests.unit.extractor.application.bench import NAME, START, Bench

from qupersync_extractor.application.outside import settle_log
from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.infrastructure.memory.unit_of_work import MemoryUnitOfWorkFactory
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.errors import LeaseLostError, StreamUnavailableError
from qupersync_shared.kernel.ids import EventId, Lane, Log, Sequence, uuid7


@pytest.fixture
async def bench() -> Bench:
    """A pipeline whose events are all published."""
    bench = await Bench().registered()
    bench.insert(*range(1, 8))
    await bench.use_case().run()
    for lane in range(2):
        relay = await bench.lane_relay(lane)
        while not (await relay.publish_some()).idle:
            pass
    return bench


async def settled(bench: Bench, *, stolen: bool = False) -> Extraction:
    token = await bench.registry.acquire(NAME, "one", 30)
    assert token is not None
    if stolen:
        await bench.registry.reset(NAME, lanes=2, reason="a test")
    return await settle_log(
        NAME,
        token,
        unit_of_work=MemoryUnitOfWorkFactory(bench.store),
        registry=bench.registry,
        stream=bench.stream,
        progress=bench.progress,
    )


def applied(bench: Bench, *, log: int = 1, sequence: int | None = None, event_id: EventId | None = None) -> None:
    state = bench.store.pipelines[NAME].state
    bench.progress.report(
        LaneProgress(
            group="main",
            pipeline=NAME,
            lane=1,
            lanes=2,
            log=log,
            sequence=state.sequence if sequence is None else sequence,
            event_id=event_id or state.lane_ids[Lane(1)],
            applied_at=START,
        )
    )


async def test_a_world_that_agrees_changes_nothing(bench: Bench) -> None:
    applied(bench)
    before = bench.store.pipelines[NAME].state
    assert await settled(bench) == before


@pytest.mark.parametrize(
    ("seen", "log"),
    [
        pytest.param({"sequence": 99}, 2, id="a sequence that is not ours yet"),
        pytest.param({"log": 7, "sequence": 1}, 8, id="a log that is not ours"),
        pytest.param({"event_id": EventId(uuid7())}, 2, id="our sequence under another id"),
    ],
)
async def test_progress_beyond_our_own_opens_a_greater_log(bench: Bench, seen: dict, log: int) -> None:
    applied(bench, **seen)
    state = await settled(bench)
    assert (state.log, state.sequence) == (log, 0)
    assert state.snapshot_wish is not None
    assert "main" in state.snapshot_wish.reason
    assert bench.store.pipelines[NAME].state == state


async def test_a_stream_that_is_ahead_of_a_restored_database_opens_a_greater_log(bench: Bench) -> None:
    row = bench.store.pipelines[NAME]
    row.state = replace(row.state, sequence=Sequence(1))
    assert (await settled(bench)).log == 2


async def test_a_fork_report_opens_one_log_and_not_another(bench: Bench) -> None:
    await bench.registry.report_fork(NAME, Log(1))
    assert (await settled(bench)).log == 2
    assert (await settled(bench)).log == 2


async def test_a_foreign_message_on_top_is_no_reason(bench: Bench) -> None:
    bench.stream.put_foreign(NAME, Lane(0))
    assert (await settled(bench)).log == 1


async def test_nothing_is_settled_blindly_or_without_the_lease(bench: Bench) -> None:
    with pytest.raises(LeaseLostError):
        await settled(bench, stolen=True)
    bench.stream.trouble = StreamUnavailableError("down")
    with pytest.raises(StreamUnavailableError):
        await settled(bench)
