"""Parquet and CSV files, read by queries of DuckDB: with a DuckDB file beside them, and without any."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import yaml
from tests.e2e.world import World, assert_one_message, command, eventually, opened

from qupersync_local.compare import compare_tables
from qupersync_local.compare_sides import DuckDbSide, PostgresSide
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e
ROWS = """
    SELECT n AS id, 'name ' || n AS name, (n / 7)::DECIMAL(18, 6) AS amount, n / 3 AS ratio, [n, NULL] AS list,
           {'a': n, 'b': 'é'} AS pair, DATE '2024-01-01' + n::INTEGER AS day, n % 2 = 0 AS flag, 'x'::BLOB AS bytes,
           $at::TIMESTAMPTZ - INTERVAL 1 MILLISECOND * (n % 100) AS updated_at
    FROM range($first::BIGINT, $last::BIGINT) AS r (n)
"""
OPTIONS = {"from": "absent", "key": ["id"], "lookback": "1h", "lanes": 2}


LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


def write(place: Path, first: int, last: int, *, at: datetime = LONG_AGO, form: str = "PARQUET") -> None:
    """A whole file at once: written beside its place, and renamed."""
    beside = place.with_suffix(".new")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.sql(ROWS, params={"first": first, "last": last, "at": at})
        if form == "PARQUET":
            rows.write_parquet(str(beside))
        else:
            rows.write_csv(str(beside))
    beside.replace(place)


async def assert_equal(world: World, query: str, empty: Path, rows: int) -> None:
    duckdb.connect(str(empty)).close()
    target = PostgresSide(dsn=world.services_target_dsn, table=world.target)
    compared = await compare_tables(DuckDbSide(path=empty, query=query), target, key=["id"])
    assert compared.same, "\n".join(map(str, compared.differences))
    assert compared.equal == rows


@pytest.mark.timeout(400)
@pytest.mark.parametrize("beside", ["a DuckDB file", "nothing"])
async def test_parquet_files_incrementally_and_whole(local_stack: ThreadedStack, tmp_path: Path, beside: str) -> None:
    query = f"SELECT * FROM read_parquet('{tmp_path}/*.parquet')"
    empty = tmp_path / "empty.duckdb"
    source = {"kind": "duckdb"}
    if beside == "a DuckDB file":
        source["path"] = str(empty)
        duckdb.connect(str(empty)).close()
    write(tmp_path / "1.parquet", 0, 1200)
    pipeline = {**OPTIONS, "query": query, "cursor": "updated_at"}
    async with opened(local_stack, columns=None, pipeline=pipeline, source=source) as world:
        await world.migrate()
        await world.extract_once()
        await world.load()
        await assert_equal(world, query, empty, 1200)
        snapshot = (await world.standing()).snapshot

        # Another file, with new rows and with later states of old ones: read by cursor alone. They are younger than
        # what has been read (less a tenth of a second, which the safety lag covers).
        write(tmp_path / "2.parquet", 1100, 1300, at=datetime.now(UTC))
        newest = f"SELECT * FROM ({query}) QUALIFY row_number() OVER (PARTITION BY id ORDER BY updated_at DESC) = 1"
        await world.extract_once()
        await world.load()
        await assert_equal(world, newest, empty, 1300)
        assert (await world.standing()).snapshot == snapshot

        # A file that is replaced: what none has any more goes with the next snapshot; of two states the later counts.
        write(tmp_path / "1.parquet", 50, 1150)
        await world.trigger("snapshot")
        await world.extract_once()
        await world.load()
        await assert_equal(world, newest, empty, 1250)


@pytest.mark.timeout(400)
async def test_csv_files_whole(local_stack: ThreadedStack, tmp_path: Path) -> None:
    query = f"SELECT * FROM read_csv('{tmp_path}/rows.csv', types = {{'amount': 'DECIMAL(18, 6)', 'id': 'INTEGER'}})"
    write(tmp_path / "rows.csv", 0, 700, form="CSV")
    pipeline = {**OPTIONS, "query": query, "cursor": None}
    async with opened(local_stack, columns=None, pipeline=pipeline, source={"kind": "duckdb"}) as world:
        await world.migrate()
        await world.extract_once()
        await world.load()
        await assert_equal(world, query, tmp_path / "empty.duckdb", 700)
        write(tmp_path / "rows.csv", 600, 800, at=datetime.now(UTC), form="CSV")
        await world.extract_once()
        await world.load()
        await assert_equal(world, query, tmp_path / "empty.duckdb", 200)


@pytest.mark.timeout(400)
async def test_a_file_that_is_missing_or_half_written_is_waited_for(local_stack: ThreadedStack, tmp_path: Path) -> None:
    place = tmp_path / "rows.parquet"
    query = f"SELECT * FROM read_parquet('{place}')"
    pipeline = {**OPTIONS, "query": query, "cursor": "updated_at"}
    async with opened(local_stack, columns=None, pipeline=pipeline, source={"kind": "duckdb"}) as world:
        await world.migrate()
        await world.services.run()

        async def says(words: str) -> bool:
            pipelines = (await world.status())["pipelines"]
            return words in str(pipelines.get(world.name))

        await eventually("the missing file", lambda: says("No files found"))
        write(tmp_path / "whole", 0, 400)
        content = (tmp_path / "whole").read_bytes()
        place.write_bytes(content[: len(content) // 2])
        await eventually("the half file", lambda: says("magic bytes"))
        (tmp_path / "whole").replace(place)
        await world.wait_for_snapshot(None)
        await assert_equal(world, query, tmp_path / "empty.duckdb", 400)


async def test_a_table_without_a_file_is_refused(tmp_path: Path) -> None:
    tree = {
        "source": {"kind": "duckdb"},
        "pipelines": {"rows": {"from": "main.rows", "into": "public.rows", "key": ["id"]}},
    }
    place = tmp_path / "qupersync.yaml"
    await asyncio.to_thread(place.write_text, yaml.safe_dump(tree), "utf-8")
    answer = await command("qupersync", "check", config=place)
    assert answer.code != 0
    assert_one_message(answer, "pipeline rows reads a table, and source names no DuckDB file", "read_parquet")
    tree["source"] = {"kind": "duckdb", "path": ":memory:"}  # type: ignore[dict-item]
    await asyncio.to_thread(place.write_text, yaml.safe_dump(tree), "utf-8")
    assert_one_message(await command("qupersync", "check", config=place), "a database in memory has no path")
