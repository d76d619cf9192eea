"""What becomes of watermarks and parked content: they say what is true of the rows that stand there now."""

from dataclasses import replace
from typing import Any

import pytest
from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import Event, ints, people
from tests.integration.rebuild.sides import Sides

from qupersync_loader.application.shadows import Way
from qupersync_loader.domain.pipeline import DeletePolicy
from qupersync_shared.contracts.payload import checksum
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import Lane

WAYS = pytest.mark.parametrize("way", list(Way))


def spoilt(page: list[Event]) -> list[Event]:
    """The page with bodies that cannot be decoded, whatever their checksums say."""
    body = b"not Arrow"
    return [
        replace(event, envelope=event.envelope.model_copy(update={"checksum": checksum(body)}), body=body)
        for event in page
    ]


async def quarantine(sides: Sides) -> list[tuple[Any, ...]]:
    found = await sides.postgres.fetch(
        "SELECT \"row\" ->> 'id', reason, resolution, group_name FROM qupersync_quarantine ORDER BY id"
    )
    return [tuple(row) for row in found]


@WAYS
async def test_the_lanes_go_on_where_both_stood(sides: Sides, way: Way) -> None:
    await sides.snapshot(people(1, 2, 3))
    await sides.change(people(4))
    before = {lane: (await sides.live.state(lane)).watermark for lane in range(2)}
    await sides.rebuild(way)
    for lane in range(2):
        after = (await sides.live.state(lane)).watermark
        assert after == before[lane]
    await sides.change(people(5))
    assert len(await sides.rows()) == 5


@WAYS
async def test_a_shadow_that_lacks_pages_takes_no_place(sides: Sides, way: Way) -> None:
    await sides.snapshot(people(1, 2, 3))
    async with sides.prepared() as shadow:
        await sides.change(people(4))
        with pytest.raises(TransientError, match="not level"):
            await sides.put(shadow, way)
        await sides.catch_up(shadow)
        await sides.put(shadow, way)
    assert len(await sides.rows()) == 4


async def test_a_shadow_whose_snapshot_is_not_over_takes_no_place(sides: Sides) -> None:
    await sides.snapshot(people(1, 2, 3))
    await sides.tell(sides.source.page(people(1), upto=ints(1)))
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        await sides.catch_up(shadow, pages=sides.told[1:])
        await shadow.prepare()
        with pytest.raises(TransientError, match="last page"):
            await sides.put(shadow)
        page = sides.source.page(people(2, 3), after=ints(1))
        await sides.tell(page)
        await sides.catch_up(shadow, pages=[page])
        await sides.put(shadow)
    assert [row["id"] for row in await sides.rows()] == [1, 2, 3]


async def test_the_honest_time_is_what_is_true_of_the_shadow(sides: Sides) -> None:
    await sides.snapshot(people(1, 2, 3))
    bad = spoilt(sides.source.incremental(people(4)))
    await sides.tell(bad)
    letters = "SELECT count(*) FROM qupersync_dead_letter WHERE resolved_at IS NULL AND group_name = 'main'"
    assert await sides.postgres.value(letters) == 2
    await sides.postgres.execute("UPDATE qupersync_dead_letter SET resolved_at = now(), resolution = 'reread'")
    await sides.change(people(5))
    live = (await sides.live.state(0)).watermark
    assert live is not None
    assert live.honest_time == sides.source.clock
    await sides.rebuild()
    # The shadow could not apply that page either, and nothing said it again.
    after = (await sides.live.state(0)).watermark
    assert after is not None
    assert after.honest_time is not None
    assert after.honest_time < live.honest_time
    assert await sides.postgres.value(letters) == 2
    assert await sides.leftovers() == []


@WAYS
async def test_rows_in_quarantine_wait_or_are_settled(sides: Sides, way: Way) -> None:
    await sides.snapshot(people(1, 2, 3, 4))
    await sides.postgres.refuse_names("bad2", "bad3", "bad4")
    await sides.change([*people(2, name="bad"), *people(3, name="bad"), *people(4, name="bad")])
    await sides.postgres.execute(
        "UPDATE qupersync_quarantine SET resolved_at = now(), resolution = 'discarded' WHERE \"row\" ->> 'id' = '4'"
    )
    assert len(await sides.postgres.fetch("SELECT FROM people WHERE id = 2")) == 1
    await sides.postgres.refuse_names("bad2", "bad4")
    await sides.rebuild(way)
    found = {row[0]: row[2:] for row in await quarantine(sides)}
    assert found == {"2": (None, "main"), "3": ("rebuilt", "main"), "4": ("discarded", "main")}
    names = {row["id"]: row["name"] for row in await sides.rows()}
    assert (names[2], names[3]) == ("n2", "bad3")


@WAYS
async def test_rows_that_a_foreign_key_refuses_wait_as_before(sides: Sides, way: Way) -> None:
    await sides.snapshot(people(1, 2, 3))
    await sides.postgres.execute(
        "CREATE TABLE names (name text PRIMARY KEY); INSERT INTO names SELECT name FROM people; "
        "ALTER TABLE people ADD FOREIGN KEY (name) REFERENCES names"
    )
    await sides.change(people(2, name="unknown"))
    await sides.postgres.execute("UPDATE people SET amount = 9 WHERE id = 1")
    assert [row[2:] for row in await quarantine(sides)] == [(None, "main")]
    await sides.rebuild(way)
    assert [row[2:] for row in await quarantine(sides)] == [(None, "main")]
    assert [(row["name"], int(row["amount"])) for row in await sides.rows()] == [("n1", 1), ("n2", 1), ("n3", 1)]
    assert await sides.leftovers() == []
    await sides.postgres.execute("INSERT INTO names VALUES ('unknown2')")
    await sides.change(people(2, name="unknown"))
    assert [row[2] for row in await quarantine(sides)] == ["loaded"]


async def test_rows_that_only_the_live_table_has_of_a_refused_key_stay(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    await sides.postgres.refuse_names("bad2")
    second = sides.source.page([*people(1), *people(2, name="bad")])
    await sides.tell(second)
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        await sides.catch_up(shadow, pages=[second])
        await shadow.prepare()
        assert (await sides.look(shadow)).equal
        await sides.put(shadow)
    assert [row["name"] for row in await sides.rows()] == ["n1", "n2"]


async def test_what_a_source_may_have_forgotten_goes_on_waiting(postgres: PostgresHarness) -> None:
    sides = Sides(postgres, deletes=DeletePolicy.KEEP)
    await sides.snapshot(people(1, 2))
    await postgres.refuse_names("bad2")
    await sides.change(people(2, name="bad"))
    await postgres.refuse_names()
    await sides.tell(spoilt(sides.source.incremental(people(3))))
    held = (await sides.live.state(0)).watermark
    await sides.snapshot(people(1))
    await postgres.execute("UPDATE qupersync_quarantine SET resolved_at = NULL, resolution = NULL")
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        await sides.catch_up(shadow, pages=sides.told[-1:])
        await sides.put(shadow, Way.MERGE)
    assert [row[2:] for row in await quarantine(sides)] == [(None, "main")]
    waiting = "SELECT count(*) FROM qupersync_dead_letter WHERE resolved_at IS NULL AND group_name = 'main'"
    assert await postgres.value(waiting) == 2
    after = (await sides.live.state(0)).watermark
    assert held is not None
    assert after is not None
    assert after.honest_time == held.honest_time


async def test_a_dead_letter_that_was_given_up_stays_so(sides: Sides) -> None:
    await sides.snapshot(people(1))
    await sides.tell(spoilt(sides.source.incremental(people(4))))
    await sides.postgres.execute("UPDATE qupersync_dead_letter SET resolved_at = now(), resolution = 'discarded'")
    await sides.change(people(5))
    live = (await sides.live.state(0)).watermark
    await sides.rebuild()
    assert [row[1] for row in await sides.postgres.resolutions()] == ["discarded"] * 2
    assert (await sides.live.state(0)).watermark == live


async def test_a_dead_letter_that_the_snapshot_made_good_is_settled(sides: Sides) -> None:
    await sides.snapshot(people(1))
    await sides.tell(spoilt(sides.source.incremental(people(4))))
    await sides.snapshot(people(1, 4))
    await sides.postgres.execute("UPDATE qupersync_dead_letter SET resolved_at = NULL, resolution = NULL")
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        await sides.catch_up(shadow, pages=sides.told[-1:])
        await shadow.prepare()
        await sides.put(shadow)
    assert [row[1] for row in await sides.postgres.resolutions()] == ["rebuilt"] * 2
    after = (await sides.live.state(0)).watermark
    assert after is not None
    assert after.honest_time == sides.source.clock


async def test_what_applications_read_shows_no_shadow(sides: Sides) -> None:
    await sides.snapshot(people(1))
    async with sides.prepared() as shadow:
        assert [row[0] for row in await sides.postgres.fetch("SELECT table_name FROM qupersync_state")] == [
            "public.people"
        ]
        assert list(await sides.postgres.target.states(sides.live.pipeline.group)) == ["people"]
        lanes = await shadow.lanes()
        assert set(lanes) == {Lane(0), Lane(1)}
        assert all(pair.level for pair in lanes.values())
