"""The merge: rows are written over where they really differ, and readers see nothing of it until it is done."""

from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import people
from tests.integration.rebuild.sides import Sides

from qupersync_loader.application.shadows import Phase, Way
from qupersync_loader.domain.pipeline import DeletePolicy


async def test_only_what_differs_is_written(sides: Sides) -> None:
    await sides.snapshot(people(*range(1, 20)))
    await sides.postgres.execute(
        "CREATE TABLE other (p bigint REFERENCES people); INSERT INTO other VALUES (1);"
        "UPDATE people SET name = 'damaged' WHERE id = 3; DELETE FROM people WHERE id = 4; "
        "INSERT INTO people SELECT 500, name, amount, synced_at, _qs_sequence, _qs_slot FROM people WHERE id = 5"
    )
    before = await sides.postgres.versions(sides.live.pipeline)
    merged = await sides.rebuild(Way.MERGE)
    assert (merged.way, merged.written, merged.removed, merged.locked_seconds) == (Way.MERGE, 2, 1, 0.0)
    after = await sides.postgres.versions(sides.live.pipeline)
    assert {id_ for id_, version in after.items() if before.get(id_) != version} == {3, 4}
    assert [row["id"] for row in await sides.rows()] == list(range(1, 20))
    assert await sides.leftovers() == []
    assert await sides.postgres.value("SELECT phase FROM qupersync_rebuild") == Phase.MERGED
    await sides.change(people(77))


async def test_rows_that_exchanged_values_under_a_unique_index(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    await sides.postgres.execute(
        "UPDATE people SET name = CASE name WHEN 'n1' THEN 'n2' ELSE 'n1' END; CREATE UNIQUE INDEX ON people (name)"
    )
    merged = await sides.rebuild(Way.MERGE)
    assert merged.written == 2
    assert [row["name"] for row in await sides.rows()] == ["n1", "n2"]


async def test_soft_deletes_are_marks(postgres: PostgresHarness) -> None:
    sides = Sides(postgres, deletes=DeletePolicy.SOFT)
    await sides.snapshot(people(1, 2, 3, 4))
    await sides.snapshot(people(1, 2, 4))
    await postgres.execute(
        "INSERT INTO people SELECT 50, name, amount, synced_at, _qs_sequence, _qs_slot FROM people WHERE id = 1; "
        "UPDATE people SET _qs_deleted_at = now() WHERE id = 2"
    )
    await sides.rebuild(Way.MERGE)
    assert [row["id"] for row in await sides.rows()] == [1, 2, 4]
    assert await postgres.marked_deleted(sides.live.pipeline) == [3, 50]


async def test_nothing_is_removed_where_the_source_forgets(postgres: PostgresHarness) -> None:
    sides = Sides(postgres, deletes=DeletePolicy.KEEP)
    await sides.snapshot(people(1, 2))
    await sides.snapshot(people(2, 3))
    await postgres.execute("UPDATE people SET name = 'damaged' WHERE id = 3")
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        await sides.catch_up(shadow, pages=sides.told[1:])
        merged = await sides.put(shadow, Way.MERGE)
    assert (merged.written, merged.removed) == (1, 0)
    assert [row["name"] for row in await sides.rows()] == ["n1", "n2", "n3"]


async def test_triggers_fire_as_for_loading(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    await sides.postgres.execute(
        "UPDATE people SET name = 'damaged' WHERE id = 2; CREATE TABLE seen (id bigint); "
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES (NEW.id); RETURN NULL; END $$; "
        "CREATE TRIGGER t AFTER INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION see()"
    )
    await sides.rebuild(Way.MERGE)
    assert [tuple(row) for row in await sides.postgres.fetch("SELECT id FROM seen")] == [(2,)]


async def test_rows_that_are_refused_as_they_were_before_stay_while_others_exchange_values(sides: Sides) -> None:
    await sides.snapshot(people(1, 2, 3))
    await sides.postgres.execute("CREATE UNIQUE INDEX ON people (name)")
    await sides.postgres.execute(
        "CREATE TABLE names (name text PRIMARY KEY); INSERT INTO names SELECT name FROM people"
    )
    await sides.postgres.execute("ALTER TABLE people ADD FOREIGN KEY (name) REFERENCES names")
    await sides.change(people(3, name="unknown"))
    await sides.postgres.execute("UPDATE people SET name = NULL WHERE id = 1")
    await sides.postgres.execute("UPDATE people SET name = 'n1' WHERE id = 2")
    await sides.postgres.execute("UPDATE people SET name = 'n2' WHERE id = 1")
    merged = await sides.rebuild(Way.MERGE)
    assert merged.written == 2
    assert [row["name"] for row in await sides.rows()] == ["n1", "n2", "n3"]
    assert await sides.postgres.quarantine() == [("unknown3", None)]
