"""What `qupersync status` names as the reason of a pipeline that extracts."""

from dataclasses import replace

from tests.unit.extractor.application.bench import NAME, Bench, pipeline

from qupersync_extractor.application.ports import OutboxDepth
from qupersync_extractor.domain.rereads import RereadCounts
from qupersync_extractor.infrastructure.postgres.overview import Overview
from qupersync_extractor.interface.status import _fragment


async def test_what_could_not_be_read_again_is_named_unless_there_is_worse() -> None:
    bench = await Bench().registered()
    registration = await bench.registry.get(NAME)
    assert registration is not None
    seen = Overview(
        registration=registration,
        depth=OutboxDepth(records=0, bytes=0, oldest=None),
        cursors={},
        withheld=0,
        rereads=RereadCounts(refused=3, unreadable="column 'day' is gone"),
    )
    one = pipeline(lanes=registration.lanes)
    found = _fragment(one, seen)
    assert found["reason"] == "what was last asked for could not be read again: column 'day' is gone"
    assert found["rereads"] == {"waiting": 0, "refused": 3, "oldest": None, "unreadable": "column 'day' is gone"}
    assert "rows are withheld" in _fragment(one, replace(seen, withheld=1))["reason"]
    assert _fragment(one, replace(seen, rereads=RereadCounts(refused=3)))["reason"] is None
