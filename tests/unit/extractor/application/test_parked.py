"""Where something waits, and that what people do to it is written down."""

from datetime import UTC, datetime

import pytest

from qupersync_extractor.application.actions import ActionKind
from qupersync_extractor.application.parked import ParkedOperations, Place, Waiting
from qupersync_extractor.application.parked_at_source import ParkedAtSource
from qupersync_extractor.application.parked_everywhere import ParkedEverywhere, WhereItWaits
from qupersync_extractor.application.quarantine import WithheldRow
from qupersync_extractor.infrastructure.memory.actions import MemoryActions
from qupersync_extractor.infrastructure.memory.parked import MemoryParked
from qupersync_extractor.infrastructure.memory.progress import MemoryProgress
from qupersync_extractor.infrastructure.memory.quarantine import MemoryWithheldRows, withhold
from qupersync_extractor.infrastructure.memory.rereads import MemoryRereads
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.contracts.parked import Chosen, ParkedEntry, ParkedKind
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import EventId, GroupName, PipelineName, uuid7
from qupersync_shared.runtime.records import Query

ORDERS, OTHERS = PipelineName("orders"), PipelineName("others")
MAIN = GroupName("main")
ROWS = ParkedKind.QUARANTINE


def lane(number: int, pipeline: PipelineName = ORDERS, group: str = "main", **counts: int) -> LaneProgress:
    return LaneProgress(
        group=group,
        pipeline=pipeline,
        lane=number,
        lanes=2,
        log=1,
        sequence=1,
        event_id=uuid7(),
        applied_at=datetime.now(UTC),
        **counts,
    )


def withheld(store: MemoryStore, *keys: str, pipeline: PipelineName = ORDERS) -> None:
    withhold(
        store,
        [WithheldRow(pipeline=pipeline, key=key, reason="too large", event_id=EventId(uuid7())) for key in keys],
    )


async def test_every_place_where_something_waits_is_named_once() -> None:
    store, progress = MemoryStore(), MemoryProgress()
    withheld(store, "a", "b")
    withheld(store, "c", pipeline=PipelineName("unasked"))
    progress.report(lane(0, quarantined=2))
    progress.report(lane(1, quarantined=1, dead_letters=3))
    progress.report(lane(0, group="aside", dead_letters=1))
    progress.report(lane(0, pipeline=OTHERS))
    progress.report(lane(0, pipeline=PipelineName("unasked"), quarantined=9))

    found = await WhereItWaits(progress, MemoryWithheldRows(store)).waiting([ORDERS, OTHERS])

    assert found == [
        Waiting(place=Place(pipeline=ORDERS), quarantined=2),
        Waiting(place=Place(pipeline=ORDERS, group=GroupName("aside")), dead_letters=1),
        Waiting(place=Place(pipeline=ORDERS, group=MAIN), quarantined=3, dead_letters=3),
    ]


async def test_places_without_a_group_are_the_sources_and_deeds_are_written_down() -> None:
    store, targets = MemoryStore(), MemoryParked()
    withheld(store, "a")
    now = datetime.now(UTC)
    there = Place(pipeline=ORDERS, group=MAIN)
    targets.park(there, ROWS, ParkedEntry(id="7", reason="too broad", first_seen=now, last_seen=now))
    source = ParkedAtSource(MemoryWithheldRows(store), MemoryRereads(store))
    operations = ParkedOperations(parked=ParkedEverywhere(source=source, targets=targets), actions=MemoryActions(store))

    assert await operations.discard(Place(pipeline=ORDERS), ROWS, Chosen(), by="ann", reason="of no use") == 1
    assert (await operations.redrive(there, ROWS, Chosen(ids=("7",)), by="bob")).asked == 1

    redriven, discarded = (await operations.actions.page(Query())).items
    assert (redriven.action, redriven.by, redriven.pipeline) == (ActionKind.REDRIVE, "bob", ORDERS)
    assert redriven.details == {
        "group": MAIN,
        "kind": "quarantine",
        "count": 1,
        "ids": ["7"],
        "reason": None,
    }
    assert (discarded.action, discarded.by, discarded.reason) == (ActionKind.DISCARD, "ann", "of no use")
    assert discarded.details["group"] is None


async def test_what_was_not_done_is_not_written_down() -> None:
    store, targets = MemoryStore(), MemoryParked(trouble=TransientError("no loader of group main answers"))
    operations = ParkedOperations(parked=targets, actions=MemoryActions(store))

    with pytest.raises(TransientError):
        await operations.discard(Place(pipeline=ORDERS, group=MAIN), ROWS, Chosen(), by="ann")

    assert (await operations.actions.page(Query())).items == ()
