"""Columns that the source drops: kept in the target, and NULL in every row that the source still speaks of."""

from typing import Any

import pytest
from tests.conformance.loader.conftest import Harness, Lanes
from tests.conformance.loader.events import PEOPLE, Extractor, ints, people, schema

from qupersync_loader.application.outcome import Nak
from qupersync_loader.domain.pipeline import DeletePolicy, SchemaPolicy
from qupersync_shared.contracts.schema import RowSchema

WITHOUT = schema(id="bigint", name="varchar")
OTHER = schema(id="bigint", name="varchar", amount="boolean")


def turned(source: Extractor, rows: RowSchema) -> Extractor:
    """The same source, whose columns are others from now on."""
    source.schema = rows
    return source


def named(*ids: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": i, "name": f"n{i}", **more} for i in ids]


async def amounts(harness: Harness, lanes: Lanes) -> dict[int, Any]:
    return {row["id"]: row["amount"] for row in await harness.rows(lanes.pipeline)}


async def test_a_dropped_column_is_null_in_old_rows_new_rows_and_rows_that_change(
    harness: Harness, lanes: Lanes
) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2, 3)))
    done = await lanes.load(turned(source, WITHOUT).page(named(1, 2, 4)))
    assert (done.written, done.removed) == (3, 1)
    assert await amounts(harness, lanes) == {1: None, 2: None, 4: None}
    assert (await harness.columns(lanes.pipeline))["amount"] == "numeric(10,2)"
    await lanes.load(source.incremental(named(2, 5)))
    assert await amounts(harness, lanes) == {1: None, 2: None, 4: None, 5: None}


async def test_a_row_that_is_empty_there_already_is_not_rewritten(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2)))
    await lanes.load(turned(source, WITHOUT).page(named(1, 2)))
    before = await harness.versions(lanes.pipeline)
    done = await lanes.load(source.page(named(1, 2)), source.incremental(named(1)))
    assert done.written == 0
    assert await harness.versions(lanes.pipeline) == before


async def test_a_column_that_comes_back_is_filled_again(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2)))
    await lanes.load(turned(source, WITHOUT).page(named(1, 2)))
    await lanes.load(turned(source, PEOPLE).page(people(1, 2, amount="7.00")))
    assert {str(value) for value in (await amounts(harness, lanes)).values()} == {"7.00"}


async def test_each_lane_empties_it_when_it_comes_to_the_change(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=2), Extractor(lanes=2)
    ids = range(1, 21)
    await lanes.load(source.page(people(*ids)))
    late = source.incremental(people(*ids, amount="2.00"))
    after = turned(source, WITHOUT).page(named(*ids))
    await lanes.load([late[0], after[0]])
    found = await amounts(harness, lanes)
    of_lane_0 = {key for key, value in found.items() if value is None}
    assert of_lane_0
    assert of_lane_0 < set(ids)
    await lanes.load([late[1]])
    found = await amounts(harness, lanes)
    assert {key for key, value in found.items() if value is None} == of_lane_0
    assert {str(value) for key, value in found.items() if key not in of_lane_0} == {"2.00"}
    await lanes.load([after[1]])
    assert set((await amounts(harness, lanes)).values()) == {None}


async def test_a_column_that_was_there_for_a_moment_leaves_nothing(harness: Harness, lanes: Lanes) -> None:
    source = Extractor(WITHOUT)
    await lanes.load(source.page(named(1, 2)))
    await lanes.load(turned(source, PEOPLE).page(people(1, 2)))
    await lanes.load(turned(source, WITHOUT).page(named(1, 2)))
    assert await amounts(harness, lanes) == {1: None, 2: None}


@pytest.mark.parametrize("policy", [DeletePolicy.SOFT, DeletePolicy.KEEP])
async def test_rows_that_the_source_does_not_speak_of_any_more_keep_their_values(
    harness: Harness, policy: DeletePolicy
) -> None:
    lanes, source = Lanes(harness.target, deletes=policy), Extractor()
    await lanes.load(source.page(people(1, 2)))
    await lanes.load(turned(source, WITHOUT).page(named(1)))
    kept = await harness.marked_deleted(lanes.pipeline) if policy is DeletePolicy.SOFT else None
    found = await amounts(harness, lanes)
    assert found.pop(1) is None
    assert kept == [2] or [str(value) for value in found.values()] == ["1.00"]
    # What holds values is not made into something else.
    outcome = await lanes.give(turned(source, OTHER).page(named(1, amount=True))[0])
    assert isinstance(outcome, Nak)
    assert outcome.halted


async def test_what_is_empty_may_come_back_as_something_else(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2)))
    await lanes.load(turned(source, WITHOUT).page(named(1, 2)))
    await lanes.load(turned(source, OTHER).page(named(1, 2, amount=True)))
    assert await amounts(harness, lanes) == {1: True, 2: True}
    assert (await harness.columns(lanes.pipeline))["amount"] == "boolean"


async def test_it_comes_back_as_something_else_only_when_every_lane_has_emptied_it(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=2), Extractor(lanes=2)
    ids = range(1, 21)
    await lanes.load(source.page(people(*ids)))
    dropped = turned(source, WITHOUT).page(named(*ids))
    back = turned(source, OTHER).page(named(*ids, amount=False))
    await lanes.load([dropped[0]])
    assert isinstance(await lanes.give(back[0]), Nak)
    await lanes.load([dropped[1]], [back[0]], [back[1]])
    assert set((await amounts(harness, lanes)).values()) == {False}


async def test_no_lane_is_kept_from_what_it_still_has_to_say_in_the_old_type(harness: Harness) -> None:
    """Though nothing stands in the column yet: its events would be refused for ever."""
    lanes, source = Lanes(harness.target, lanes=2), Extractor(lanes=2)
    ids = range(1, 21)
    await lanes.load(source.page([{"id": i, "name": f"n{i}", "amount": None} for i in ids]))
    late = source.incremental(people(*ids))
    dropped = turned(source, WITHOUT).page(named(*ids))
    back = turned(source, OTHER).page(named(*ids, amount=False))
    await lanes.load([late[0]], [dropped[0]])
    assert isinstance(await lanes.give(back[0]), Nak)
    await lanes.load([late[1]], [dropped[1]], [back[0]], [back[1]])
    assert set((await amounts(harness, lanes)).values()) == {False}


async def test_another_type_at_once_is_refused_whatever_the_rows_hold(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page([{"id": 1, "name": "n1", "amount": None}]))
    outcome = await lanes.give(turned(source, OTHER).page(named(1, amount=True))[0])
    assert isinstance(outcome, Nak)
    assert await amounts(harness, lanes) == {1: None}


async def test_freeze_keeps_the_values_until_somebody_decides(harness: Harness, lanes: Lanes) -> None:
    frozen = Lanes(harness.target, schema_policy=SchemaPolicy.FREEZE)
    source = Extractor()
    await lanes.load(source.page(people(1, 2)))
    event = turned(source, WITHOUT).page(named(1, 2))[0]
    outcome = await frozen.give(event)
    assert isinstance(outcome, Nak)
    assert outcome.halted
    assert "amount" in outcome.reason
    assert None not in (await amounts(harness, frozen)).values()
    await lanes.load([event])
    assert await amounts(harness, frozen) == {1: None, 2: None}
    # What was decided stays decided.
    await frozen.load(source.incremental(named(2, 3)))
    assert await amounts(harness, frozen) == {1: None, 2: None, 3: None}


async def test_a_page_empties_it_in_its_own_range(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2)))
    await lanes.load(turned(source, WITHOUT).page(named(1), upto=ints(1)))
    found = await amounts(harness, lanes)
    assert (found[1], str(found[2])) == (None, "1.00")
    await lanes.load(source.reread(named(2)))
    assert await amounts(harness, lanes) == {1: None, 2: None}
