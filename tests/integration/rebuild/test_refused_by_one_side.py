"""Rows that only one of both tables refused: lanes overtake each other otherwise than they did for the live table."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from tests.conformance.loader.events import Event, people
from tests.integration.rebuild.sides import Page, Sides

from qupersync_loader.application.shadows import Way
from qupersync_shared.kernel.errors import SchemaRefusedError

WAYS = pytest.mark.parametrize("way", list(Way))


def lane_by_lane(pages: Sequence[Page], *, first: int) -> list[Page]:
    """All of one lane, then all of the others."""
    events: list[Event] = [event for page in pages for event in page]
    return [sorted(events, key=lambda event: event.envelope.lane != first)]


async def _names(sides: Sides) -> dict[int, Any]:
    return {row["id"]: row["name"] for row in await sides.rows()}


async def _ids_of_two_lanes(sides: Sides) -> tuple[int, int]:
    found = await sides.postgres.fetch("SELECT DISTINCT ON (_qs_slot % 2) id FROM people ORDER BY _qs_slot % 2, id")
    return found[0][0], found[1][0]


@WAYS
async def test_a_value_that_moved_between_lanes_is_not_lost(sides: Sides, way: Way) -> None:
    await sides.snapshot(people(*range(1, 41)))
    await sides.postgres.execute("CREATE UNIQUE INDEX ON people (name)")
    first, second = await _ids_of_two_lanes(sides)
    await sides.change([{"id": first, "name": "free", "amount": Decimal(1)}])
    await sides.change([{"id": second, "name": f"n{first}", "amount": Decimal(2)}])
    before = await _names(sides)
    assert (before[first], before[second]) == ("free", f"n{first}")
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        await sides.catch_up(shadow, pages=[sides.told[0], *lane_by_lane(sides.told[1:], first=1)])
        await shadow.prepare()
        assert (await sides.look(shadow)).equal
        await sides.put(shadow, way)
    assert await _names(sides) == before
    waiting = "SELECT count(*) FROM qupersync_quarantine WHERE resolved_at IS NULL"
    assert await sides.postgres.value(waiting) == 0
    assert await sides.leftovers() == []


async def test_a_row_without_room_beside_the_rebuilt_ones_is_not_given_up(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    await sides.postgres.execute("CREATE UNIQUE INDEX ON people (name)")
    await sides.postgres.execute("ALTER TABLE people ADD CHECK (amount < 100) NOT VALID")
    second = sides.source.page(
        [{"id": 1, "name": "n1", "amount": Decimal(500)}, {"id": 2, "name": "n1", "amount": Decimal(1)}]
    )
    await sides.tell(second)
    assert len(await sides.postgres.quarantine()) == 2
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        await sides.catch_up(shadow, pages=[second])
        await shadow.prepare()
        assert (await sides.look(shadow)).equal
        with pytest.raises(SchemaRefusedError, match=r"with key \(1\).* no room .*--merge"):
            await sides.put(shadow)
        assert await _names(sides) == {1: "n1", 2: "n2"}
        await sides.put(shadow, Way.MERGE)
    assert await _names(sides) == {1: "n1", 2: "n2"}
    assert len(await sides.postgres.quarantine()) == 2


@WAYS
async def test_a_row_that_a_later_constraint_would_refuse_is_not_given_up(sides: Sides, way: Way) -> None:
    await sides.snapshot(people(1, 2))
    await sides.postgres.refuse_names("n1")
    async with sides.prepared() as shadow:
        if way is Way.SWAP:
            with pytest.raises(SchemaRefusedError, match=r"with key \(1\).* no room .*--merge"):
                await sides.put(shadow)
        else:
            await sides.put(shadow, way)
    assert await _names(sides) == {1: "n1", 2: "n2"}
