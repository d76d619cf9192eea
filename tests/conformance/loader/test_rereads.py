"""Rereads of quarantined keys: asked for once after each snapshot, whatever is lost in between."""

from dataclasses import replace

import pytest
from tests.conformance.loader.conftest import Harness, Lanes, PostgresHarness
from tests.conformance.loader.events import Extractor, ints, people, schema

from qupersync_loader.application.parked import ASK_AGAIN, ParkedKeeper, key_lists, request_id
from qupersync_loader.application.ports import DueReread
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.commands import REREAD_KEYS_MAX, RereadRequest
from qupersync_shared.contracts.slots import lane_of_slot, slot_of_key
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName, SnapshotId, uuid7
from qupersync_shared.kernel.positions import encode_key


class Keeping:
    """A keeper as a process has it: started anew, it remembers nothing."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.restart()

    def restart(self) -> None:
        self.keeper = ParkedKeeper(self.lanes.target, self.lanes.commands, self.lanes.clock)

    async def look(self) -> list[RereadRequest]:
        """What is asked for in one look."""
        pipeline: TargetPipeline = self.lanes.pipeline
        before = len(self.lanes.commands.rereads)
        await self.keeper.look([pipeline], await self.lanes.target.states(pipeline.group))
        return self.lanes.commands.rereads[before:]


async def test_keys_in_quarantine_are_asked_for_once_after_each_snapshot(harness: Harness, lanes: Lanes) -> None:
    source, keeping = Extractor(), Keeping(lanes)
    await lanes.load(source.page(people(1)))
    await harness.refuse_names("bad2", "bad3")
    await lanes.load(source.incremental(people(2, 3, name="bad")))
    assert await keeping.look() == []  # that snapshot was over before
    await lanes.load(source.page(people(1), upto=ints(1)))
    assert await keeping.look() == []
    await lanes.load(source.page(people(2, 3, name="bad"), after=ints(1)))
    (first,) = await keeping.look()
    assert await keeping.look() == []
    assert first.keys == tuple(encode_key(ints(i)) for i in (2, 3))
    await lanes.load(source.page(people(1) + people(2, 3, name="bad")))
    (second,) = await keeping.look()
    assert second.keys == first.keys
    assert second.id != first.id
    # Refused again by the reread itself: no loop, they wait for the next snapshot.
    await lanes.load(source.reread(people(2, 3, name="bad")))
    keeping.restart()
    assert await keeping.look() == []
    assert await harness.quarantine() == [("bad2", None), ("bad3", None)]


async def test_an_unanswered_request_is_made_again_and_is_the_same(harness: Harness, lanes: Lanes) -> None:
    source, keeping = Extractor(), Keeping(lanes)
    await lanes.load(source.page(people(1)))
    await harness.refuse_names("bad2")
    await lanes.load(source.incremental(people(2, name="bad")), source.page(people(1) + people(2, name="bad")))
    lanes.commands.accepts = False
    (first,) = await keeping.look()
    assert await keeping.look() == []
    lanes.clock.move(seconds=ASK_AGAIN.total_seconds())
    (again,) = await keeping.look()
    lanes.clock.move(hours=-2)  # a clock that was put back puts nothing off
    (put_back,) = await keeping.look()
    keeping.restart()
    lanes.commands.accepts = True
    (third,) = await keeping.look()
    assert first == again == put_back == third
    assert await keeping.look() == []


async def test_every_lane_asks_for_its_own_keys_when_its_own_snapshot_is_over(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=2), Extractor(lanes=2)
    keeping = Keeping(lanes)
    ids = range(20)
    await lanes.load(source.page([]))
    await harness.refuse_names(*(f"bad{i}" for i in ids))
    first, last = source.page(people(*ids, name="bad"), upto=ints(100)), source.page([], after=ints(100))
    await lanes.load(first, [last[1]])
    (asked,) = await keeping.look()
    own = {encode_key(ints(i)) for i in ids if lane_of_slot(slot_of_key(ints(i)), 2) == 1}
    assert set(asked.keys) == own
    await lanes.load([last[0]])
    (other,) = await keeping.look()
    assert set(other.keys) == {encode_key(ints(i)) for i in ids} - own


async def test_what_was_resolved_is_not_asked_for(harness: Harness, lanes: Lanes) -> None:
    source, keeping = Extractor(), Keeping(lanes)
    await lanes.load(source.page([]))
    await harness.refuse_names("bad2", "bad3")
    await lanes.load(source.page(people(1) + people(2, 3, name="bad")))
    await lanes.load(source.reread(people(2), gone=people(3)))
    assert await keeping.look() == []


async def test_a_range_that_was_reread_whole_counts_like_a_snapshots(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2, 3, 4, 5)))
    await harness.refuse_names("bad3", "bad9")
    await lanes.load(source.incremental(people(3, 9, name="bad")))
    done = await lanes.load(
        source.reread(people(2), range_from=ints(1), range_to=ints(4), range_complete=True),
    )
    assert (done.removed, done.resolved) == (2, 1)
    assert [row["id"] for row in await harness.rows(lanes.pipeline)] == [1, 2, 5]
    assert await harness.quarantine() == [("bad3", "gone"), ("bad9", None)]
    plain = await lanes.load(source.reread(people(1)))
    assert (plain.removed, plain.resolved) == (0, 0)


@pytest.mark.integration
async def test_a_row_refused_under_another_key_stops_no_snapshot_and_is_over_with_it(postgres: PostgresHarness) -> None:
    columns = {"id": "bigint", "name": "varchar", "amount": "numeric(10,2)"}
    lanes, source = Lanes(postgres.target), Extractor(schema(key=("name",), **columns))
    await lanes.load(source.page(people(1)))
    await postgres.refuse_names("bad2")
    await lanes.load(source.incremental(people(2, name="bad")))
    await postgres.execute("ALTER TABLE public.people DROP CONSTRAINT people_pkey, ADD PRIMARY KEY (id)")
    source.schema = schema(key=("id",), **columns)
    ranged = source.reread(people(1), range_from=None, range_to=ints(1), range_complete=True)
    await lanes.load(ranged)
    assert await postgres.quarantine() == [("bad2", None)]
    await lanes.load(source.page(people(1, 3), upto=ints(5)), source.page([], after=ints(5)))
    assert await postgres.quarantine() == [("bad2", "gone")]


def due(keys: dict[int, str]) -> DueReread:
    return DueReread(
        group=GroupName("g"), pipeline=PipelineName("p"), lane=Lane(0), snapshot=SnapshotId(uuid7()), rows=keys
    )


def test_requests_stay_within_their_bounds() -> None:
    lists = list(key_lists({i: str(i) for i in range(REREAD_KEYS_MAX * 2 + 1)}))
    assert [len(one) for one in lists] == [REREAD_KEYS_MAX, REREAD_KEYS_MAX, 1]
    assert [len(one) for one in key_lists(dict.fromkeys(range(3), "x" * 300000))] == [1, 1, 1]
    assert list(key_lists({})) == []


def test_other_keys_are_another_request() -> None:
    one = due({1: "a", 2: "b"})
    assert request_id(one) == request_id(one)
    assert request_id(one) != request_id(due({1: "a", 2: "b"}))
    other = replace(one, rows={1: "a", 3: "c"})
    assert request_id(one) != request_id(other)
