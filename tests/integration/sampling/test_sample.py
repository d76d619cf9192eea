"""`qupersync sample`: the same rows each time, exact, from either side, of whatever can be a source."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from tests.e2e.world import opened

from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.warehouse.staging import make_tables
from qupersync_extractor.interface.sampling import key_digests
from qupersync_extractor.interface.sampling import take_sample as of_source
from qupersync_loader.interface.sampling import take_sample as of_target
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.settings import Configuration, load

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

COLUMNS = """
    id bigint NOT NULL, code varchar(20), amount numeric(38, 10), raw varbyte, at timestamp, moment timestamptz,
    ratio double precision, small real, flag boolean, day date, body varchar(65535)
"""
AT_TARGET = COLUMNS.replace("varbyte", "bytea").replace("varchar(65535)", "text")
ROWS = """
    INSERT INTO {table}
    SELECT n, 'code ' || n, n * 1234567890123456789.0123456789, {raw}, timestamp '2024-01-01' + n * interval '1.5 s',
           timestamptz '2024-01-01 00:00:00+02' + n * interval '1 s',
           CASE n % 3 WHEN 0 THEN 'NaN'::double precision ELSE n / 7.0 END, 0.1, n % 2 = 0, date '2024-02-29',
           repeat('x', 200)
    FROM generate_series(1, 150) AS n {order}
"""


async def test_both_sides_show_the_same_rows_exactly(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, columns=COLUMNS, pipeline={"key": ["id", "code"], "cursor": None}) as world:
        await world.source.execute(ROWS.format(table=world.table, raw="to_varbyte('c0ffee', 'hex')", order=""))
        await world.app.execute(f"CREATE TABLE {world.target} ({AT_TARGET})")
        insert = ROWS.format(table=world.target, raw=r"'\xc0ffee'::bytea", order="ORDER BY n DESC")
        await world.app.execute(insert)
        configuration = load(world.services.configuration)
        source = await of_source(configuration, world.name, 20)
        target = await of_target(configuration, world.name, 20)
        assert [dict(row) for row in source.rows] == [dict(row) for row in target.rows]
        assert [name for name, _ in source.columns] == [name for name, _ in target.columns]
        assert (source.relation, target.relation) == (world.table, world.target)
        ids = [row["id"] for row in source.rows]
        assert len(set(ids)) == 20
        assert max(ids) > 75, "spread over the table"
        row = source.rows[0]
        n = row["id"]
        assert (
            row["amount"]
            == f"{n * 12345678901234567890123456789:d}"[:-10]
            + "."
            + str(n * 12345678901234567890123456789).zfill(11)[-10:]
        )
        assert (row["raw"], row["small"], row["day"], row["flag"]) == ("c0ffee", 0.1, "2024-02-29", n % 2 == 0)
        assert row["moment"].startswith("2023-12-31 22:0")
        assert row["moment"].endswith("+00")
        assert {one["ratio"] for one in source.rows if one["id"] % 3 == 0} == {"NaN"}

        await world.app.execute(f"UPDATE {world.target} SET body = 'changed' WHERE id = 149")  # moves the row
        again = await of_target(configuration, world.name, 20)
        assert [one["id"] for one in again.rows] == ids
        fewer = await of_source(configuration, world.name, 5)
        assert [one["id"] for one in fewer.rows] == ids[:5]


async def test_the_command(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, columns=COLUMNS, pipeline={"cursor": None}) as world:
        await world.source.execute(ROWS.format(table=world.table, raw="NULL", order=""))
        missing = await world.operate("sample", world.name)
        assert missing.code == 1
        assert "is not there yet" in missing.err
        many = await world.operate("sample", world.name, "-n", "101", "--from", "source")
        assert many.code == 2
        assert "1 to 100" in many.err
        shown = await world.operate("sample", world.name, "-n", "3", "--from", "source")
        assert shown.code == 0, shown
        assert "x" * 59 + "…" in shown.out
        assert f"3 rows of {world.table} (source)" in shown.out
        told = await world.operate("sample", world.name, "-n", "3", "--from", "source", "--json")
        document: dict[str, Any] = json.loads(told.out)
        assert list(document) == ["pipeline", "from", "relation", "key", "columns", "derived", "rows"]
        assert (document["from"], document["key"], len(document["rows"])) == ("source", ["id"], 3)
        assert document["columns"][2] == {"name": "amount", "type": "numeric(38,10)"}
        assert document["rows"][0]["body"] == "x" * 200
        assert document["rows"][0]["raw"] is None


async def test_duckdb_and_queries(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE raw_rows AS SELECT n AS id, uuid() AS token, {'a': n} AS nested FROM range(500) t(n)"
        )
    sections = {
        "table": {"from": "main.raw_rows", "into": "public.a", "key": ["id"]},
        "tokens": {"from": "main.raw_rows", "into": "public.b", "key": ["token"]},
        "asked": {"query": "SELECT * FROM main.raw_rows WHERE id < 5", "into": "public.c", "key": ["id", "token"]},
    }
    configuration = Configuration.model_validate(
        {"source": {"kind": "duckdb", "path": str(path)}, "pipelines": sections}
    )
    for name in ("table", "tokens"):
        first = await of_source(configuration, name, 10)
        assert len(first.rows) == 10
        assert first.rows == (await of_source(configuration, name, 10)).rows
        assert json.loads(first.rows[0]["nested"]) == {"a": first.rows[0]["id"]}
        assert first.rows[0]["token"].count("-") == 4
    asked = await of_source(configuration, "asked", 100)
    assert sorted(row["id"] for row in asked.rows) == [0, 1, 2, 3, 4]
    assert asked.relation == "query"


async def test_an_entity_with_what_follows_from_its_fields(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 50)
        configuration = Configuration.model_validate(
            {"source": local_stack.describe()["source"], "include": ["table_stats"]}
        )
        sample = await of_source(configuration, "table_stats", 5)
        assert sample.rows
        assert "size_gb" in sample.derived
        assert [name for name, _ in sample.columns][:2] == ["schema", "table_name"]
        for row in sample.rows:
            assert row["size_gb"] == row["size_mb"] / 1024


async def test_entities_of_both_sides_stand_in_the_same_order(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        await world.source.execute("CREATE TABLE second_one (id bigint); INSERT INTO second_one VALUES (1)")
        await world.insert(1, 5)
        into = f"public.stats_of_{world.name}"
        configuration = Configuration.model_validate(
            {
                "source": world.configuration["source"],
                "target": world.configuration["target"],
                "include": ["table_stats"],
                "pipelines": {"table_stats": {"into": into}},
            }
        )
        source = await of_source(configuration, "table_stats", 100)
        ids = [row["table_id"] for row in source.rows]
        assert len(ids) >= 2
        await world.app.execute(f"CREATE TABLE {into} (table_id bigint)")
        await world.app.execute(f"INSERT INTO {into} SELECT unnest($1::bigint[])", sorted(ids))
        target = await of_target(configuration, "table_stats", 100)
        assert [row["table_id"] for row in target.rows] == ids


def test_a_key_of_several_columns_is_hashed_as_the_target_hashes_it() -> None:
    schema = RowSchema(
        columns=(Column("id", LogicalType(Kind.BIGINT)), Column("began", LogicalType(Kind.TIMESTAMP))),
        key=("id", "began"),
    )
    rows = [{"id": 7, "began": datetime(2025, 1, 31, 12, 0, 0, 500_000)}]  # noqa: DTZ001
    batch = pa.RecordBatch.from_pylist(rows, schema=schema.arrow())

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    assert key_digests(batch, schema) == [md5(md5("7") + md5("2025-01-31 12:00:00.5"))]


async def test_a_customer_with_what_follows_from_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    make_tables(DuckDbFile(path))
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "INSERT INTO raw.customers VALUES ('c1', 'retail', 'starter', DATE '2026-01-31', 49.9, NULL), "
            "('c2', NULL, ' ', DATE '2026-01-31', 1, DATE '2026-03-01')"  # its plan is blank: no customer's
        )
    configuration = Configuration.model_validate(
        {"source": {"kind": "duckdb", "path": str(path)}, "include": ["warehouse"]}
    )
    sample = await of_source(configuration, "customers", 10)
    shown = {row["customer_id"]: row for row in sample.rows}
    assert sample.derived == ["is_active", "annual_revenue"]
    assert (shown["c1"]["is_active"], shown["c1"]["annual_revenue"]) == (True, "598.8000")
    assert (shown["c2"]["is_active"], shown["c2"]["annual_revenue"]) == (None, None)
    assert (await of_source(configuration, "usage_events", 10)).rows == []
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE raw.customers ADD COLUMN is_active VARCHAR DEFAULT 'says the warehouse'")
    sample = await of_source(configuration, "customers", 10)
    assert sample.derived == ["annual_revenue"]
    assert {row["is_active"] for row in sample.rows} == {"says the warehouse"}


async def test_a_table_without_the_key(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, columns=None) as world:
        await world.app.execute(f"CREATE TABLE {world.target} (name text)")
        with pytest.raises(QupersyncError, match="no column 'id'"):
            await of_target(load(world.services.configuration), world.name, 5)
