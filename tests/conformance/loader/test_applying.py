"""What events do to a target: rows, deletes, watermark; the same on every adapter."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from tests.conformance.loader.conftest import Harness, Lanes
from tests.conformance.loader.events import PEOPLE, Event, Extractor, ints, people, schema

from qupersync_loader.application.outcome import Ack
from qupersync_loader.domain.pipeline import DeletePolicy, SchemaPolicy
from qupersync_shared.contracts.slots import lane_of_slot, slot_of_key
from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.kernel.positions import Scalar, ScalarKind


async def names(harness: Harness, lanes: Lanes) -> dict[Any, Any]:
    return {row["id"]: row["name"] for row in await harness.rows(lanes.pipeline)}


async def test_a_snapshot_then_changes(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    done = await lanes.load(
        source.page(people(1, 2, 3), upto=ints(3)),
        source.page(people(4, 5), after=ints(3)),
        source.incremental(people(2, name="x") + people(6)),
        source.incremental(),
    )
    assert await names(harness, lanes) == {1: "n1", 2: "x2", 3: "n3", 4: "n4", 5: "n5", 6: "n6"}
    assert (done.rows, done.written, done.removed) == (7, 7, 0)
    assert await lanes.sequence() == 4


async def test_d_an_event_delivered_again_however_late_changes_nothing(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    pages = [
        source.page(people(1, 2)),
        source.incremental(people(1, name="x")),
        source.incremental(people(1, name="y")),
    ]
    await lanes.load(*pages)
    before = await harness.versions(lanes.pipeline)
    for page in [*pages, *reversed(pages)]:
        outcome = await lanes.give(page[0], attempt=9)
        assert isinstance(outcome, Ack)
        assert outcome.cause == "already_applied"
    assert await names(harness, lanes) == {1: "y1", 2: "n2"}
    assert await harness.versions(lanes.pipeline) == before
    assert await lanes.sequence() == 3


async def test_unchanged_rows_are_not_rewritten(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    many = people(*range(1, 1501))
    await lanes.load(source.page(many))
    before = await harness.versions(lanes.pipeline)
    changed = [*many[:700], *people(701, name="x"), *many[701:]]
    done = await lanes.load(source.page(many), source.incremental(many), source.page(changed))
    after = await harness.versions(lanes.pipeline)
    assert {key for key in before if before[key] != after[key]} == {701}
    assert (done.rows, done.written, done.removed) == (4500, 1, 0)


async def test_w_without_a_commit_neither_rows_nor_watermark_stay(
    harness: Harness, lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    before = await lanes.state()

    async def vanish(_: object) -> None:
        raise DatabaseUnavailableError("the connection is lost before the commit")

    event = source.incremental(people(1, name="x") + people(2))[0]
    async with harness.target.session(lanes.pipeline) as session, session.work(Lane(0)) as work:
        kind = type(work)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "commit", vanish)
        outcome = await lanes.give(event)
    assert not isinstance(outcome, Ack)
    assert not outcome.halted
    assert await names(harness, lanes) == {1: "n1"}
    assert await lanes.state() == before
    await lanes.load([event])
    assert await names(harness, lanes) == {1: "x1", 2: "n2"}


async def test_a_range_removes_what_it_no_longer_has_and_nothing_else(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(*range(-5, 21))))
    done = await lanes.load(source.page(people(3, 7), upto=ints(10)))
    assert sorted(await names(harness, lanes)) == [3, 7, *range(11, 21)]
    assert done.removed == 14
    await lanes.load(source.page(people(11), after=ints(10), upto=ints(15)))
    assert sorted(await names(harness, lanes)) == [3, 7, 11, *range(16, 21)]
    await lanes.load(source.page([], after=ints(15)))
    assert sorted(await names(harness, lanes)) == [3, 7, 11]


async def test_the_bounds_of_a_range_belong_to_it_on_one_side_only(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2, 3, 4)))
    await lanes.load(source.page(people(1, 2), upto=ints(2)), source.page([], after=ints(2), upto=ints(3)))
    assert sorted(await names(harness, lanes)) == [1, 2, 4]


async def test_a_withheld_key_counts_as_present(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2, 3)))
    await lanes.load(source.page(people(1), withheld_keys=(ints(2),)))
    assert sorted(await names(harness, lanes)) == [1, 2]


async def test_lanes_remove_only_their_own_rows(harness: Harness) -> None:
    lanes = Lanes(harness.target, lanes=4)
    source = Extractor(lanes=4)
    await lanes.load(source.page(people(*range(100))))
    assert len(await harness.rows(lanes.pipeline)) == 100
    emptied = source.page([])
    done = await lanes.load([emptied[2]])
    own = {i for i in range(100) if lane_of_slot(slot_of_key(ints(i)), 4) == 2}
    assert done.removed == len(own)
    assert set(await names(harness, lanes)) == set(range(100)) - own
    await lanes.load([emptied[0]], [emptied[1]], [emptied[3]])
    assert await names(harness, lanes) == {}


async def test_other_lanes_mean_another_log_and_slots_stay(harness: Harness) -> None:
    few = Extractor(lanes=2)
    lanes = Lanes(harness.target, lanes=2)
    await lanes.load(few.page(people(*range(50))))
    many = Extractor(lanes=5, log=2)
    await lanes.load(many.page(people(*range(40))))
    assert sorted(await names(harness, lanes)) == list(range(40))
    fewer = Extractor(lanes=1, log=3)
    await lanes.load(fewer.page(people(*range(30))))
    assert sorted(await names(harness, lanes)) == list(range(30))
    state = (await harness.target.states(lanes.pipeline.group))[lanes.pipeline.name]
    assert (state.log, state.lanes, sorted(state.watermarks)) == (3, 1, [0])


async def test_keys_of_several_columns_compare_as_a_whole(harness: Harness) -> None:
    rows = schema(a="varchar", b="integer", name="varchar", key=("a", "b"))
    lanes, source = Lanes(harness.target), Extractor(rows)

    def key(a: str, b: int) -> tuple[Scalar, ...]:
        return (Scalar(ScalarKind.TEXT, a), Scalar(ScalarKind.INT, str(b)))

    all_rows = [{"a": a, "b": b, "name": f"{a}{b}"} for a in ("A", "Z", "a", "é") for b in (1, 2, 10)]
    await lanes.load(source.page(all_rows))
    await lanes.load(source.page([], upto=key("Z", 2)))
    assert [r["name"] for r in await harness.rows(lanes.pipeline) if r["a"] in "AZ"] == ["Z10"]
    await lanes.load(source.page([], after=key("Z", 2), upto=key("a", 2)))
    assert sorted(r["name"] for r in await harness.rows(lanes.pipeline)) == ["a10", "é1", "é10", "é2"]


async def test_a_reread_writes_and_takes_away(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2, 3)))
    done = await lanes.load(source.reread(people(1, name="x"), gone=people(2, 99)))
    assert await names(harness, lanes) == {1: "x1", 3: "n3"}
    assert (done.written, done.removed) == (1, 1)


async def test_soft_deletes_mark_rows_until_they_return(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, deletes=DeletePolicy.SOFT), Extractor()
    await lanes.load(source.page(people(1, 2, 3)))
    done = await lanes.load(source.page(people(1)))
    assert done.removed == 2
    assert await harness.marked_deleted(lanes.pipeline) == [2, 3]
    assert (await lanes.load(source.page(people(1)))).removed == 0
    back = await lanes.load(source.incremental(people(2)), source.reread(gone=people(1)))
    assert (back.written, back.removed) == (1, 1)
    assert sorted(await names(harness, lanes)) == [2]
    assert await harness.marked_deleted(lanes.pipeline) == [1, 3]


async def test_keep_removes_nothing(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, deletes=DeletePolicy.KEEP), Extractor()
    await lanes.load(source.page(people(1, 2, 3)))
    done = await lanes.load(source.page(people(1)), source.reread(gone=people(2)))
    assert done.removed == 0
    assert sorted(await names(harness, lanes)) == [1, 2, 3]


async def test_s_concurrent_deliveries_of_one_event_apply_it_once(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    first = source.page(people(*range(1, 50)))[0]
    outcomes = await asyncio.gather(*(lanes.give(first) for _ in range(4)))
    causes = sorted(o.cause if isinstance(o, Ack) else "nak" for o in outcomes)
    assert causes.count("applied") == 1, outcomes  # the others wait, or find it done
    for event in (source.incremental(people(1, name="x"))[0], source.incremental(people(1, name="y"))[0]):
        outcomes = await asyncio.gather(*(lanes.give(event) for _ in range(3)))
        assert [str(o.cause) for o in outcomes if isinstance(o, Ack)].count("applied") == 1
    assert (await names(harness, lanes))[1] == "y1"


async def test_lanes_that_begin_at_once_make_one_table(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=6), Extractor(lanes=6)
    page = source.page(people(*range(60)))
    outcomes = await asyncio.gather(*(lanes.give(event) for event in page))
    assert [o.cause for o in outcomes if isinstance(o, Ack)] == ["applied"] * 6, outcomes
    assert len(await harness.rows(lanes.pipeline)) == 60


async def test_new_columns_are_added_and_old_ones_stay(harness: Harness, lanes: Lanes) -> None:
    old = Extractor(schema(id="bigint", name="varchar"))
    await lanes.load(old.page([{"id": 1, "name": "a"}]))
    wider = Extractor(schema(id="bigint", name="varchar", age="integer"))
    wider.sequence, wider.last = old.sequence, old.last
    await lanes.load(wider.page([{"id": 1, "name": "a", "age": 7}, {"id": 2, "name": "b", "age": None}]))
    narrower = Extractor(schema(id="bigint", age="integer"))
    narrower.sequence, narrower.last = wider.sequence, wider.last
    await lanes.load(narrower.incremental([{"id": 3, "age": 1}]))
    assert await harness.rows(lanes.pipeline) == [
        {"id": 1, "name": "a", "age": 7},
        {"id": 2, "name": "b", "age": None},
        {"id": 3, "name": None, "age": 1},
    ]


async def test_columns_are_widened_and_never_narrowed(harness: Harness, lanes: Lanes) -> None:
    def source(before: Extractor | None, **types: str) -> Extractor:
        made = Extractor(schema(id="bigint", **types))
        if before is not None:
            made.sequence, made.last = before.sequence, before.last
        return made

    one = source(None, a="smallint", b="numeric(5,2)", c="real")
    await lanes.load(one.page([{"id": 1, "a": 1, "b": Decimal("1.25"), "c": 0.5}]))
    two = source(one, a="bigint", b="numeric(9,4)", c="double")
    await lanes.load(two.incremental([{"id": 2, "a": 2**40, "b": Decimal("99999.1234"), "c": 0.1}]))
    assert await harness.columns(lanes.pipeline) == {
        "id": "bigint",
        "a": "bigint",
        "b": "numeric(9,4)",
        "c": "double precision",
    }
    three = source(two, a="integer", b="numeric(5,2)", c="real")
    await lanes.load(three.incremental([{"id": 3, "a": 3, "b": Decimal("3.25"), "c": 0.25}]))
    assert (await harness.columns(lanes.pipeline))["b"] == "numeric(9,4)"
    outcome = await lanes.give(source(three, a="varchar", b="numeric(5,2)", c="real").incremental()[0])
    assert not isinstance(outcome, Ack)
    assert outcome.halted
    assert "column 'a'" in outcome.reason
    assert await lanes.sequence() == 3


async def test_a_frozen_schema_refuses_every_change(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, schema_policy=SchemaPolicy.FREEZE), Extractor()
    await lanes.load(source.page(people(1)))
    wider = Extractor(schema(id="bigint", name="varchar", amount="numeric(10,2)", age="integer"))
    wider.sequence, wider.last = source.sequence, source.last
    outcome = await lanes.give(wider.incremental()[0])
    assert not isinstance(outcome, Ack)
    assert outcome.halted
    assert "age" in outcome.reason


async def test_a_target_table_has_one_owner(harness: Harness) -> None:
    first, source = Lanes(harness.target), Extractor()
    await first.load(source.page(people(1)))
    second = Lanes(harness.target, name=PipelineName("others"))
    outcome = await second.give(Extractor(name="others").page(people(2))[0])
    assert not isinstance(outcome, Ack)
    assert "belongs to pipeline people" in outcome.reason
    assert len(await harness.rows(first.pipeline)) == 1


@pytest.mark.parametrize("lane_count", [1, 3])
async def test_the_state_of_a_pipeline_tells_its_lanes(harness: Harness, lane_count: int) -> None:
    lanes, source = Lanes(harness.target, lanes=lane_count), Extractor(PEOPLE, lanes=lane_count)
    page: list[Event] = source.page(people(1, 2), upto=ints(2))
    await lanes.load(page)
    state = (await harness.target.states(lanes.pipeline.group))[lanes.pipeline.name]
    assert sorted(state.watermarks) == list(range(lane_count))
    assert all(p.building is not None and p.honest_time is None for p in state.watermarks.values())
    await lanes.load(source.page([], after=ints(2)))
    state = (await harness.target.states(lanes.pipeline.group))[lanes.pipeline.name]
    assert all(p.building is None and p.honest_time == source.clock for p in state.watermarks.values())
    assert {p.snapshot_whole for p in state.watermarks.values()} == {source.snapshot}
    assert state.parked.nothing


async def test_another_target_table_begins_anew(harness: Harness) -> None:
    lanes, source = Lanes(harness.target), Extractor()
    await lanes.load(source.page(people(1)))
    moved = Lanes(harness.target, table="others")
    next_event = source.incremental(people(2))[0]
    outcomes = [await moved.give(next_event), await moved.give(source.incremental(people(3))[0])]
    assert [o.cause for o in outcomes if isinstance(o, Ack)] == ["awaits_baseline"] * 2
    await moved.load(source.page(people(1, 2, 3)))
    assert sorted(await names(harness, moved)) == [1, 2, 3]
    assert sorted(await names(harness, lanes)) == [1]
