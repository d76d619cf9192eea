"""The swap: what it puts in place, and that everything about the table is as it was."""

import pytest
from tests.conformance.loader.events import people, schema
from tests.integration.rebuild.furnished import catalogue, furnish
from tests.integration.rebuild.sides import Sides

from qupersync_loader.application.shadows import Phase, Way
from qupersync_loader.infrastructure.postgres.rebuild import swap
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.errors import SchemaRefusedError


async def test_the_shadows_rows_bear_the_live_name(sides: Sides) -> None:
    await sides.snapshot(people(1, 2, 3))
    await sides.change(people(3, name="new"))
    await sides.postgres.execute("UPDATE people SET name = 'damaged' WHERE id = 1; DELETE FROM people WHERE id = 2")
    swapped = await sides.rebuild()
    assert swapped.way is Way.SWAP
    assert swapped.rows == 3
    assert [row["name"] for row in await sides.rows()] == ["n1", "n2", "new3"]
    assert await sides.leftovers() == []
    await sides.change(people(4))
    assert [row["id"] for row in await sides.rows()] == [1, 2, 3, 4]
    assert await sides.live.sequence() == 3


async def test_a_second_swap_finds_nothing_of_the_first(sides: Sides) -> None:
    await sides.snapshot(people(1))
    await sides.rebuild()
    await sides.rebuild()
    phases = await sides.postgres.fetch("SELECT phase, ended_at IS NOT NULL FROM qupersync_rebuild")
    assert [tuple(row) for row in phases] == [(Phase.SWAPPED, True)] * 2
    assert await sides.leftovers() == []


async def test_everything_about_the_table_is_as_it_was(local_stack: ThreadedStack, sides: Sides) -> None:
    await sides.snapshot(people(1, 2, 3))
    await furnish(local_stack, sides)
    await sides.postgres.fetch(
        "SELECT nextval('\"people ids\"'), nextval('people_counted_seq') FROM generate_series(1, 7)"
    )
    before = await catalogue(sides)
    sequences = "SELECT sequencename, last_value FROM pg_sequences WHERE sequencename ~ 'people' ORDER BY 1"
    values = [tuple(row) for row in await sides.postgres.fetch(sequences)]
    planner = "SELECT count(*) FROM pg_stats_ext_exprs WHERE tablename = 'people'"
    await sides.rebuild()
    assert await catalogue(sides) == before
    found = [tuple(row) for row in await sides.postgres.fetch(sequences)]
    assert [name for name, _ in found] == ["people ids", "people_counted_seq"]
    assert found[0] == values[0]
    assert found[1][1] >= values[1][1]
    assert await sides.postgres.value(planner) == 1
    assert await sides.leftovers() == []
    await sides.change(people(2, name="n9"))
    assert [row["name"] for row in await sides.postgres.fetch("SELECT name FROM names ORDER BY 1")] == [
        "n1",
        "n3",
        "n92",
    ]


async def test_a_column_that_came_after_the_shadows_first_page(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    sides.schema = sides.source.schema = schema(id="bigint", name="varchar", amount="numeric(12,2)", extra="varchar")
    await sides.snapshot([row | {"extra": "x"} for row in people(1, 2, 3)])
    await sides.postgres.execute("ALTER TABLE people ALTER COLUMN extra SET NOT NULL; CREATE INDEX ON people (extra)")
    before = await catalogue(sides)
    async with sides.prepared() as shadow:
        assert (await sides.look(shadow)).equal
        await sides.put(shadow)
    assert await catalogue(sides) == before
    assert [row["extra"] for row in await sides.rows()] == ["x"] * 3


async def test_an_unlogged_table_and_one_whose_replica_identity_is_all_of_it(sides: Sides) -> None:
    await sides.snapshot(people(1))
    await sides.postgres.execute("ALTER TABLE people SET UNLOGGED; ALTER TABLE people REPLICA IDENTITY FULL")
    before = await catalogue(sides)
    await sides.rebuild()
    assert await catalogue(sides) == before


async def test_what_is_granted_by_default_to_new_tables_is_not_granted_with_the_swap(
    local_stack: ThreadedStack, sides: Sides
) -> None:
    await sides.snapshot(people(1))
    await sides.postgres.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    before = await catalogue(sides)
    await sides.rebuild()
    assert await catalogue(sides) == before


async def test_a_property_that_is_not_carried_over_undoes_the_swap(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sides.snapshot(people(1))
    await sides.postgres.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        "CREATE TRIGGER t BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION f(); "
        "UPDATE people SET name = 'damaged'"
    )
    monkeypatch.setattr(swap, "triggers", lambda _table, _pieces: [])
    with pytest.raises(SchemaRefusedError, match="trigger t"):
        await sides.rebuild()
    assert [row["name"] for row in await sides.rows()] == ["damaged"]
