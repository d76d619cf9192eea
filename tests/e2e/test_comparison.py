"""The comparison itself: it must find every kind of difference, and no difference that is none."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from qupersync_local.compare import Comparison, DifferenceKind, compare_tables
from qupersync_local.compare_sides import DuckDbSide, PostgresSide
from qupersync_local.demo_warehouse import WarehouseChurn, make_warehouse, people_of
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.integration
PEOPLE = people_of(1_000, until=datetime(2025, 6, 1, tzinfo=UTC).replace(tzinfo=None), seed=7)
SOURCE = """
    CREATE SCHEMA compared;
    CREATE TABLE compared.s (
        k varchar(20), n numeric(20, 6), i int, f double precision, j super, c char(5), b varbyte(20), t timestamp,
        tz timestamptz, d date, v varchar(20)
    );
    INSERT INTO compared.s VALUES
        ('b  ', 1.500000, 1, 0.1, '{"a": 1.50, "b": [true, null]}', 'x', '0aff', '2024-01-01',
         '2024-01-01 00:00+00', '2024-01-01', 'v '),
        ('B', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        ('ä', -0.000001, -1, 'NaN', '1', 'abcde', '', 'infinity', '2024-01-01 12:00+02', '0001-01-01', ''),
        (NULL, 7, 7, 7, '7', '7', '07', now(), now(), now(), '7');
"""
TARGET = """
    CREATE TABLE compared.t (
        k text COLLATE "C" PRIMARY KEY, n numeric(20, 6), i int, f double precision, j jsonb, c text, b bytea,
        t timestamp, tz timestamptz, d date, v text, synced_at timestamptz, _qs_deleted_at timestamptz
    );
    INSERT INTO compared.t (k) VALUES ('B');
    INSERT INTO compared.t VALUES
        ('b', 1.5, 1, 0.1, '{"b": [true, null], "a": 1.5}', 'x', '\\x0aff', '2024-01-01',
         '2024-01-01 00:00+00', '2024-01-01', 'v '),
        ('ä', -0.000001, -1, 'NaN', '1', 'abcde', '', 'infinity',
         '2024-01-01 10:00+00', '0001-01-01', '');
"""


@pytest.fixture
async def behind(local_stack: ThreadedStack) -> AsyncIterator[asyncpg.Connection]:
    """The stand-in's PostgreSQL with one table and its equal."""
    connection = await asyncpg.connect(local_stack.stack.source.admin_dsn)
    try:
        await connection.execute(SOURCE)
        await connection.execute(TARGET)
        yield connection
    finally:
        await connection.execute("DROP SCHEMA IF EXISTS compared CASCADE")
        await connection.close()


async def compared(stack: ThreadedStack, **options: int) -> Comparison:
    dsn = stack.stack.source.admin_dsn
    return await compare_tables(
        PostgresSide(dsn=dsn, table="compared.s"), PostgresSide(dsn=dsn, table="compared.t"), key=["k"], **options
    )


async def test_equal_whatever_the_types(local_stack: ThreadedStack, behind: asyncpg.Connection) -> None:
    found = await compared(local_stack)
    assert found.same, list(map(str, found.differences))
    assert found.equal == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("n", "1.500001"),
        ("i", "2"),
        ("f", "0.1000000000000001"),
        ("j", """'{"a": 1.5, "b": [1, null]}'"""),
        ("j", """'{"a": 1.5000000000000001, "b": [true, null]}'"""),
        ("c", "'y'"),
        ("b", "'\\x0afe'"),
        ("t", "'2024-01-01 00:00:00.000001'"),
        ("tz", "'2024-01-01 00:00+01'"),
        ("d", "'2024-01-02'"),
        ("v", "'v'"),
        ("v", "NULL"),
    ],
)
async def test_a_difference_in_any_type_is_found(
    local_stack: ThreadedStack, behind: asyncpg.Connection, column: str, value: str
) -> None:
    await behind.execute(f"UPDATE compared.t SET {column} = {value} WHERE k = 'b'")
    found = await compared(local_stack)
    assert [(one.kind, one.key, list(one.columns)) for one in found.differences] == [
        (DifferenceKind.DIFFERENT, ("b",), [column])
    ]
    assert found.equal == 2
    assert column in str(found.differences[0])


async def test_missing_and_extra_keys(local_stack: ThreadedStack, behind: asyncpg.Connection) -> None:
    await behind.execute("DELETE FROM compared.t WHERE k = 'B'; INSERT INTO compared.t (k) VALUES ('A'), ('z')")
    found = await compared(local_stack)
    assert [(one.kind, one.key) for one in found.differences] == [
        (DifferenceKind.EXTRA, ("A",)),
        (DifferenceKind.MISSING, ("B",)),
        (DifferenceKind.EXTRA, ("z",)),
    ]
    assert found.equal == 2


async def test_rows_marked_as_deleted_do_not_count(local_stack: ThreadedStack, behind: asyncpg.Connection) -> None:
    await behind.execute("UPDATE compared.t SET _qs_deleted_at = now() WHERE k = 'B'")
    assert [one.kind for one in (await compared(local_stack)).differences] == [DifferenceKind.MISSING]


async def test_any_row_of_a_doubled_key_may_be_in_the_target(
    local_stack: ThreadedStack, behind: asyncpg.Connection
) -> None:
    await behind.execute("INSERT INTO compared.s (k, n) VALUES ('B', 3), ('b', 4)")
    await behind.execute("UPDATE compared.t SET n = 3 WHERE k = 'B'")
    assert (await compared(local_stack)).same


async def test_it_stops_at_the_limit(local_stack: ThreadedStack, behind: asyncpg.Connection) -> None:
    await behind.execute("INSERT INTO compared.t (k) SELECT 'z' || n FROM generate_series(1, 50) AS n")
    found = await compared(local_stack)
    assert len(found.differences) == 20
    assert found.cut
    assert len((await compared(local_stack, differences_max=1000)).differences) == 50


async def test_a_warehouse_file_with_itself_and_with_a_changed_one(tmp_path: Path) -> None:
    for name in ("one.duckdb", "other.duckdb"):
        await make_warehouse(tmp_path / name, PEOPLE)
    made = await WarehouseChurn(tmp_path / "other.duckdb", PEOPLE).step()
    assert made.updated > 0
    one, other = (DuckDbSide(path=tmp_path / name, table="raw.customers") for name in ("one.duckdb", "other.duckdb"))
    same = await compare_tables(one, one, key=["customer_id"])
    assert same.same
    assert same.equal == 100
    changed = await compare_tables(one, other, key=["customer_id"])
    kinds = {difference.kind for difference in changed.differences}
    assert kinds == set(DifferenceKind)
