"""Each row about a pipeline's source, with both verdicts, over the real driver."""

from pathlib import Path

import asyncpg
import duckdb
import pytest
from tests.e2e.world import World, opened
from tests.integration.preflight.conftest import Preflown, migrate

from qupersync_extractor.interface.preflight import extractor_checks
from qupersync_local.standin.faults import stall
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.runtime.plugins import Verdict
from qupersync_shared.runtime.preflight import FULL, Bounds, Preflight
from qupersync_shared.runtime.settings import Configuration

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SMALL = Bounds(rows_max=50, sample_rows=20, seconds_max=20.0)


async def test_all_is_well(preflown: Preflown) -> None:
    rows = await preflown.source()
    assert list(rows) == ["rights", "columns", "key", "cursor", "cursor ties", "sort key", "row width"]
    assert {row.verdict for name, row in rows.items() if name != "sort key"} == {Verdict.OK}, rows
    assert rows["columns"].message == "8 columns, key (id)"
    assert rows["key"].message == "unique and never NULL in all 200 rows"
    assert rows["cursor"].message == "updated_at timestamp, no NULL in all 200 rows"
    assert rows["cursor ties"].message == "at most 1 rows share one value in all 200 rows"


async def test_a_key_that_is_not_unique_or_null(preflown: Preflown) -> None:
    world = preflown.world
    await world.source.execute(f"ALTER TABLE {world.table} ALTER id DROP NOT NULL")
    await world.source.execute(f"INSERT INTO {world.table} SELECT * FROM {world.table} WHERE id IN (7, 8)")
    await world.source.execute(f"INSERT INTO {world.table} (name) VALUES ('lost'), ('lost')")
    found = (await preflown.source())["key"]
    assert found.verdict is Verdict.WARNING
    assert "2 rows with NULL in id in all 204 rows" in found.message
    assert "2 keys stand in more than one row in all 202 rows" in found.message
    assert "unique" in found.cure


async def test_only_so_many_rows_are_looked_at_unless_all_are_asked_for(preflown: Preflown) -> None:
    world = preflown.world
    await world.source.execute(f"INSERT INTO {world.table} SELECT * FROM {world.table} WHERE id = 199")
    bounded = await preflown.source(SMALL)
    assert bounded["key"].verdict is Verdict.OK
    assert bounded["key"].message == (
        "no duplicate among the first 50 rows in key order, no NULL among the first 50 rows"
    )
    assert "newest first" in bounded["cursor ties"].message
    full = await preflown.source(FULL)
    assert full["key"].verdict is Verdict.WARNING
    assert "1 keys stand in more than one row in all 201 rows" in full["key"].message


async def test_a_look_that_takes_too_long_says_so_and_keeps_nothing_else_away(preflown: Preflown) -> None:
    world = preflown.world
    number = world.stack.faults.add(stall(f'"{world.name}".*GROUP BY k0', seconds=600))
    try:
        rows = await preflown.source(Bounds(rows_max=1000, sample_rows=20, seconds_max=1.0))
    finally:
        world.stack.faults.remove(number)
    assert rows["key"].verdict is Verdict.WARNING
    assert "took longer than 1 s" in rows["key"].message
    assert "--full" in rows["key"].cure
    assert rows["row width"].verdict is Verdict.OK


async def test_cursors_with_nulls_and_in_the_future(preflown: Preflown) -> None:
    world = preflown.world
    await world.source.execute(f"UPDATE {world.table} SET updated_at = NULL WHERE id <= 3")
    nulls = (await preflown.source())["cursor"]
    assert (nulls.verdict, nulls.message) == (
        Verdict.WARNING,
        "3 rows with NULL in updated_at in all 200 rows: they are read by snapshots only",
    )
    await world.source.execute(f"UPDATE {world.table} SET updated_at = now() + interval '3 hours' WHERE id = 4")
    future = (await preflown.source())["cursor"]
    assert future.verdict is Verdict.WARNING
    assert "source's future" in future.message
    assert "cursor_time_zone" in future.cure


async def test_many_rows_with_one_cursor_value(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, pipeline={"page_rows": 100}) as world:
        await migrate(world)
        await world.insert(1, 150, moment="timestamp '2024-01-01'")
        await world.insert(151, 200, moment="timestamp '2024-01-01' + n * interval '1 second'")
        found = (await Preflown(world=world).source())["cursor ties"]
    assert found.verdict is Verdict.WARNING
    assert found.message == (
        "75 % share their updated_at with more than page_rows (100) others in all 200 rows, up to 150 one value"
    )


async def test_sort_keys(preflown: Preflown) -> None:
    world = preflown.world
    small = (await preflown.source())["sort key"]
    assert (small.verdict, small.message) == (Verdict.OK, "of 200 rows it does not matter")
    await world.insert(201, 10_001, moment="timestamp '2024-01-01' + n * interval '1 second'")
    unset = (await preflown.source())["sort key"]
    assert unset.verdict is Verdict.WARNING
    assert unset.cure == f"ALTER TABLE {world.table} ALTER SORTKEY (updated_at)"
    await _sort_by(world, ["updated_at", "id"])
    right = (await preflown.source())["sort key"]
    assert right.verdict is Verdict.OK
    assert "begins with updated_at, the cursor" in right.message
    await _sort_by(world, ["id"])
    other = (await preflown.source())["sort key"]
    assert other.verdict is Verdict.WARNING
    assert other.message.startswith("is (id): every read by cursor scans")


async def _sort_by(world: World, columns: list[str]) -> None:
    admin = await asyncpg.connect(world.stack.stack.source.admin_dsn)
    try:
        await admin.execute(
            "INSERT INTO pg_catalog.standin_table_facts (table_id, sortkeys) VALUES (to_regclass($1)::oid, $2) "
            "ON CONFLICT (table_id) DO UPDATE SET sortkeys = excluded.sortkeys",
            world.table,
            columns,
        )
    finally:
        await admin.close()


async def test_of_a_query_the_sort_key_cannot_be_known(local_stack: ThreadedStack) -> None:
    query = "SELECT n AS id, CAST('x' AS VARCHAR(10)) AS name FROM generate_series(1, 30) AS n"
    changes = {"from": "absent", "query": query, "cursor": None}
    async with opened(local_stack, columns=None, pipeline=changes) as world:
        await migrate(world)
        rows = await Preflown(world=world).source()
    assert rows["sort key"].message == "of a query it cannot be known"
    assert rows["key"].message == "unique and never NULL in all 30 rows"
    assert "cursor" not in rows


async def test_the_widest_row_against_what_an_event_holds(local_stack: ThreadedStack) -> None:
    columns = "id bigint NOT NULL, body varchar(65535), updated_at timestamp"
    async with opened(local_stack, columns=columns, extractor={"lease": "3s", "event_bytes_max": 16_384}) as world:
        await migrate(world)
        noise = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, {n}))"
        moment = "timestamp '2024-01-01'"
        empty = (await Preflown(world=world).source())["row width"]
        assert (empty.verdict, empty.message) == (Verdict.OK, "there are no rows to measure")
        insert = f"INSERT INTO {world.table} VALUES ({{id}}, {noise}, {moment})"
        await world.source.execute(insert.format(id=1, n=2))
        fits = (await Preflown(world=world).source())["row width"]
        assert fits.verdict is Verdict.OK
        assert "by its declared types a row may have" in fits.message
        await world.source.execute(insert.format(id=2, n=1500))
        wide = (await Preflown(world=world).source())["row width"]
    assert wide.verdict is Verdict.WARNING
    assert "withheld and quarantined" in wide.message
    assert "event_bytes_max" in wide.cure


async def test_missing_rights_and_columns(preflown: Preflown) -> None:
    world = preflown.world
    user = world.stack.stack.source.user
    await world.source.execute(f'REVOKE ALL ON {world.table} FROM "{user}", PUBLIC')
    rows = await preflown.source()
    assert list(rows) == ["rights"]
    assert rows["rights"].verdict is Verdict.FAILED
    schema, table = world.table.split(".")
    assert f'GRANT SELECT ON "{schema}"."{table}" TO "{user}"' in rows["rights"].cure


async def test_a_key_column_that_is_not_there(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, pipeline={"key": ["nothing"]}) as world:
        await migrate(world)
        rows = await Preflown(world=world).source()
    assert rows["columns"].verdict is Verdict.FAILED
    assert "'nothing'" in rows["columns"].message


async def test_a_duckdb_file(local_stack: ThreadedStack, tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE calls AS SELECT CASE n WHEN 3 THEN 2 ELSE n END AS id, n::VARCHAR AS name, "
            "timestamp '2024-01-01' + to_seconds(n) AS updated_at FROM range(1, 21) t(n)"
        )
    changes = {"from": "main.calls"}
    source = {"kind": "duckdb", "path": str(path)}
    async with opened(local_stack, columns=None, pipeline=changes, source=source) as world:
        await migrate(world)
        preflown = Preflown(world=world)
        rows = await preflown.source()
        assert rows["key"].verdict is Verdict.WARNING
        assert "1 keys stand in more than one row in all 20 rows" in rows["key"].message
        assert {row.verdict for name, row in rows.items() if name != "key"} == {Verdict.OK}
        version = (await preflown.area(extractor_checks, "source"))["version"]
        assert version.message.startswith("DuckDB ")


async def test_the_views_of_a_ready_made_pipeline_have_rows(preflown: Preflown) -> None:
    ready = Configuration.model_validate({**preflown.world.configuration, "include": ["table_stats"]})
    rows = [row for row in await extractor_checks(Preflight(configuration=ready)) if row.area == "table_stats"]
    subjects = [row.subject for row in rows]
    assert "svv_table_info" in subjects
    assert "rights" not in subjects, "its columns are known without asking, which says nothing of rights"
    assert subjects[-4:] == ["columns", "key", "sort key", "row width"]
    assert {row.verdict for row in rows[-4:]} == {Verdict.OK}, rows
