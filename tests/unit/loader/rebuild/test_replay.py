"""A replay over the in-memory target and stream: parts, gaps, copies, and tables that are somebody else's."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.loader.asking import MovedClock
from tests.conformance.loader.events import people
from tests.unit.loader.rebuild.rig import Rig

from qupersync_loader.application.rebuild.part import Part, Position
from qupersync_loader.application.rebuild.replay import Replay, Replayed, replayed_into
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.infrastructure.memory.replay_tables import MemoryReplayTables
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane


class Replays:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.tables = MemoryReplayTables(target=rig.target)

    async def run(self, part: Part | None = None, *, table: str = "copy") -> Replayed:
        replay = Replay(
            replayed_into(self.rig.pipeline, "public", table, group=self.rig.pipeline.group),
            tables=self.tables,
            history=self.rig.history,
            target=self.rig.target,
            clock=MovedClock(),
            connections=2,
            tally=Tally(),
        )
        return await replay(part or Part())

    def rows(self, table: str = "copy") -> dict[int, str]:
        stored = self.rig.target.store.tables[f"public.{table}"].rows.values()
        return {row.values["id"]: row.values["name"] for row in stored}


@pytest.fixture
async def replays() -> Replays:
    """Sequences 1 and 2 are a snapshot of 1 to 20, 3 to 6 change a row each."""
    rig = Rig()
    await rig.snapshot(*range(1, 21))
    for n in range(3, 7):
        await rig.both(rig.source.incremental(people(n, name="new")))
    return Replays(rig)


async def test_all_of_it_is_what_the_live_table_has_and_leaves_nothing_behind(replays: Replays) -> None:
    replayed = await replays.run()
    assert replays.rows() == replays.rig.rows()
    assert (replayed.span.events, replayed.left_out.nothing, replayed.gaps) == (12, True, [])
    assert not replays.rig.target.hidden


async def test_a_part_holds_what_its_events_said_and_no_more(replays: Replays) -> None:
    await replays.run(Part(first=Position(sequence=4), last=Position(sequence=5)))
    assert replays.rows() == {4: "new4", 5: "new5"}
    await replays.run(Part(first=Position(sequence=6, log=1)))
    assert replays.rows() == {6: "new6"}, "the next one into the same table empties it first"
    await replays.run(Part(last=Position(sequence=2)))
    assert replays.rows() == {n: f"n{n}" for n in range(1, 21)}


async def test_from_a_moment_on(replays: Replays) -> None:
    rig, later = replays.rig, datetime(2030, 1, 1, tzinfo=UTC)
    for event in rig.source.incremental(people(7, name="new")):
        rig.history.publish(Lane(event.envelope.lane), event.headers(), event.body, at=later)
    await replays.run(Part(since=later - timedelta(hours=1)))
    assert replays.rows() == {7: "new7"}


async def test_a_part_that_begins_in_the_middle_of_a_snapshot(replays: Replays) -> None:
    await replays.run(Part(first=Position(sequence=2), last=Position(sequence=2)))
    assert replays.rows() == {n: f"n{n}" for n in range(12, 21)}


async def test_resent_copies_are_applied_in_their_order(replays: Replays) -> None:
    rig = replays.rig
    lost, later = rig.source.incremental(people(1, name="lost")), rig.source.incremental(people(1, name="later"))
    rig.publish(later)
    rig.publish(lost, later, generation=1)
    replayed = await replays.run(Part(first=Position(sequence=3)))
    assert replays.rows()[1] == "later1"
    assert replayed.gaps == []
    assert replayed.complete


async def test_what_the_stream_lost_for_good_is_named_and_gone_past(replays: Replays) -> None:
    rig = replays.rig
    rig.source.incremental(people(1, name="lost"))
    rig.publish(rig.source.incremental(people(2, name="later")))
    replayed = await replays.run()
    assert replayed.gaps == [0, 1]
    assert not replayed.complete
    assert (replays.rows()[1], replays.rows()[2]) == ("n1", "later2")


async def test_refused_rows_and_damaged_events_are_told_of(replays: Replays) -> None:
    rig = replays.rig
    rig.publish([replace(event, body=event.body[:-9]) for event in rig.source.incremental(people(1))])
    rig.publish(rig.source.incremental(people(99)))
    rig.target.store.refuse = lambda row: "no 99" if row["id"] == 99 else None
    replayed = await replays.run()
    assert (replayed.left_out.rows, replayed.left_out.events) == (1, 2)
    assert "no 99" in replayed.left_out.reasons


async def test_tables_of_others_are_refused_and_so_is_an_empty_part(replays: Replays) -> None:
    with pytest.raises(QupersyncError, match="is the table of"):
        await replays.run(table="people")
    replays.rig.target.store.tables["public.mine"] = replays.rig.target.store.tables["public.people"]
    with pytest.raises(QupersyncError, match="has rows that no replay"):
        await replays.run(table="mine")
    with pytest.raises(QupersyncError, match="no event of the stream lies in that part"):
        await replays.run(Part(first=Position(sequence=900)))
    with pytest.raises(QupersyncError, match="comes after"):
        await replays.run(Part(first=Position(sequence=5), last=Position(sequence=4)))
