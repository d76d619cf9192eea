"""A table with every type and nasty values, through whole services: a snapshot, then a change of every column."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.e2e.world import World, opened

from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.integration, pytest.mark.e2e]
ONCE = {"safety_lag": "0s", "lookback": "0s"}
REFUSED_BY_EVENT, REFUSED_BY_TARGET = 900, 901
QUARANTINED = 1  # how a loader ends that has drained its lanes and keeps rows back


@dataclass(frozen=True, kw_only=True)
class TypedColumn:
    """A column of type `kind`, expressions of its values, and how its text is told at either side."""

    kind: str
    values: Sequence[str]
    source: str = "{}::text"
    target: str = "{}::text"


def of(kind: str, *values: str) -> TypedColumn:
    return TypedColumn(kind=kind, values=[f"CAST('{value}' AS {kind})" for value in values])


FLOATS = ("NaN", "Infinity", "-Infinity", "-0", "0.1")
MOMENTS = ("infinity", "-infinity", "2024-02-29 23:59:59.999999", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999")
WIDEST = "repeat('€', 21845)"
JSON = (
    '{"a": [1, 1.50, null, {"b": "é"}], "": {}}',
    "12345678901234567890.12345678901234567890",
    '"text"',
    "null",
    "[]",
)

REDSHIFT = {
    "small": of("smallint", "-32768", "32767", "0"),
    "whole": of("integer", "-2147483648", "2147483647"),
    "large": of("bigint", "-9223372036854775808", "9223372036854775807"),
    "single": of("real", *FLOATS, "1e-45", "3.4028235e38"),
    "twice": of("double precision", *FLOATS, "5e-324", "1.7976931348623157e308"),
    "coarse": of("numeric(38,0)", "9" * 38, "-" + "9" * 38, "0"),
    "fine": of("numeric(38,37)", "9." + "9" * 37, "-0." + "0" * 36 + "1"),
    "money": of("numeric(18,4)", "99999999999999.9999", "-0.0001"),
    "truth": of("boolean", "true", "false"),
    "fixed": TypedColumn(
        kind="char(5)", values=["'ab'", "''", "' a '", "'abcde'"], source="rtrim({}::text)", target="{}::text"
    ),
    "word": TypedColumn(kind="varchar(65535)", values=[WIDEST, "''", "'  a  '", "E'\\t\\n\\\\N\\x01'", "'😀é'"]),
    "day": of("date", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "2024-02-29"),
    "moment": of("timestamp", *MOMENTS, "4713-01-01 00:00:00 BC", "294246-12-31 23:59:59.999999"),
    "instant": of("timestamptz", "infinity", "-infinity", "2024-03-31 02:30:00+01", "0044-03-15 12:00:00+00 BC"),
    "clock": of("time", "00:00:00", "23:59:59.999999"),
    "zoned": of("timetz", "24:00:00+00", "12:34:56.789+15:59:59", "00:00:00-15:59"),
    "document": TypedColumn(kind="super", values=[f"json_parse('{one}')" for one in JSON]),
    "data": TypedColumn(
        kind="varbyte(1024000)",
        values=["to_varbyte('', 'hex')", "to_varbyte('00ff5c', 'hex')", "to_varbyte(repeat('a5', 100000), 'hex')"],
        target="encode({}, 'hex')",
    ),
    "shape": of("geometry", "0101000000000000000000F03F0000000000000040"),
    "place": of("geography", "0101000000000000000000f03f0000000000000040"),
    "pause": of("interval", "1 year -2 days 00:00:01.5", "0"),
}
DUCKDB = {
    "tiny": of("TINYINT", "-128", "127"),
    "unsigned": of("UBIGINT", "0", "18446744073709551615"),
    "small": of("SMALLINT", "-32768", "32767"),
    "whole": of("INTEGER", "-2147483648", "2147483647"),
    "large": of("BIGINT", "-9223372036854775808", "9223372036854775807"),
    "huge": of("HUGEINT", "9" * 38, "-" + "9" * 38),
    "vast": of("UHUGEINT", "9" * 38, "0"),
    "endless": of("BIGNUM", "9" * 100, "-1"),
    "single": TypedColumn(kind="FLOAT", values=[f"CAST('{n}' AS FLOAT)" for n in (*FLOATS, "1e-45")]),
    "twice": TypedColumn(kind="DOUBLE", values=[f"CAST('{n}' AS DOUBLE)" for n in (*FLOATS, "5e-324", "1e308")]),
    "money": of("DECIMAL(38,10)", "9" * 28 + "." + "9" * 10, "-0.0000000001"),
    "truth": of("BOOLEAN", "true", "false"),
    "word": TypedColumn(kind="VARCHAR", values=[WIDEST, "''", "'  a  '", "chr(1) || chr(10)", "'😀é'"]),
    "choice": of("ENUM('', 'b', 'ä')", "", "b", "ä"),
    "bits": of("BIT", "0", "0101"),
    "pause": of("INTERVAL", "1 year 2 days 00:00:01.5"),
    "data": TypedColumn(
        kind="BLOB",
        values=["unhex('')", "unhex('00ff5c')", "unhex(repeat('a5', 100000))"],
        source="lower(hex({}))",
        target="encode({}, 'hex')",
    ),
    "shape": TypedColumn(
        kind="GEOMETRY",
        values=["'POINT (1 2)'::GEOMETRY"],
        source="replace({}::text, 'POINT (1 2)', '0101000000000000000000f03f0000000000000040')",
        target="encode({}, 'hex')",
    ),
    "id2": of("UUID", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "day": of("DATE", "infinity", "-infinity", "0001-01-01", "9999-12-31"),
    "moment": of("TIMESTAMP", *MOMENTS),
    "second": of("TIMESTAMP_S", "infinity", "2024-02-29 23:59:59"),
    "milli": of("TIMESTAMP_MS", "-infinity", "2024-02-29 23:59:59.123"),
    "nano": of("TIMESTAMP_NS", "infinity", "2024-02-29 23:59:59.123456"),
    "instant": of("TIMESTAMPTZ", "infinity", "-infinity", "2024-03-31 02:30:00+01"),
    "clock": of("TIME", "00:00:00", "23:59:59.999999"),
    "zoned": of("TIMETZ", "24:00:00+00", "12:34:56.789+15:59:59"),
    "document": TypedColumn(kind="JSON", values=[f"CAST('{one}' AS JSON)" for one in JSON]),
    "list": TypedColumn(kind="INTEGER[]", values=["[1, NULL]", "[]"], source="to_json({})::text"),
    "record": TypedColumn(
        kind="STRUCT(n DECIMAL(38,10), s VARCHAR)",
        values=["{'n': '1234567890123456789012345678.0123456789', 's': '\"é\\'}"],
        source="to_json({})::text",
    ),
    "map": TypedColumn(kind="MAP(INTEGER, VARCHAR)", values=["MAP {1: 'a', -2: NULL}"], source="to_json({})::text"),
    "either": TypedColumn(
        kind="UNION(n BIGINT, s VARCHAR)", values=["union_value(n := 1)", "union_value(s := 'x')"],
        source="to_json({})::text",
    ),
}  # fmt: skip
_JSON = {"document", "list", "record", "map", "either"}
_FLOATS = {"single", "twice"}


def made(columns: Mapping[str, TypedColumn], turn: int) -> dict[int, dict[str, str]]:
    """Rows by id: each value of each column stands somewhere, and moves with every turn; the last row is all NULL."""
    most = max(len(column.values) for column in columns.values())
    rows = {
        n: {name: column.values[(n + turn) % len(column.values)] for name, column in columns.items()}
        for n in range(most)
    }
    return {**rows, most: dict.fromkeys(columns, "NULL")}


def insert(table: str, columns: Mapping[str, TypedColumn], rows: Mapping[int, Mapping[str, str]], now: str) -> str:
    listed = ", ".join(f"({n}, {now}, {', '.join(row[name] for name in columns)})" for n, row in rows.items())
    return f"INSERT INTO {table} (id, updated_at, {', '.join(columns)}) VALUES {listed}"


def declared(columns: Mapping[str, TypedColumn], stamp: str) -> str:
    return ", ".join(["id bigint", f"updated_at {stamp}", *(f"{name} {one.kind}" for name, one in columns.items())])


def selected(columns: Mapping[str, TypedColumn], *, at_source: bool) -> str:
    told = [(one.source if at_source else one.target).format(name) for name, one in columns.items()]
    return ", ".join(["id", *told])


def normal(name: str, text: str | None) -> Any:
    """A text that both sides write alike."""
    if text is None:
        return None
    if name in _JSON:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal)
    if name in _FLOATS:
        return repr(float(text)) if float(text) else text.startswith("-")
    return text.lower() if name in {"truth", "shape"} else text


async def assert_equal(
    world: World, columns: Mapping[str, TypedColumn], source: Sequence[Sequence[Any]], besides: Sequence[int]
) -> None:
    target = await world.app.fetch(f"SELECT {selected(columns, at_source=False)} FROM {world.target} ORDER BY id")
    wanted = {row[0]: row[1:] for row in source if row[0] not in besides}
    found = {row[0]: tuple(row)[1:] for row in target}
    assert found.keys() == wanted.keys()
    for n, row in wanted.items():
        for name, one, other in zip(columns, row, found[n], strict=True):
            assert normal(name, one) == normal(name, other), f"row {n}, column {name}"


@pytest.mark.timeout(400)
async def test_every_type_of_redshift(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, columns=declared(REDSHIFT, "timestamp"), pipeline=ONCE) as world:
        now = "timezone('UTC', clock_timestamp())"
        rows = made(REDSHIFT, 0)
        await world.source.execute(insert(world.table, REDSHIFT, rows, now))
        await world.source.execute(
            f"INSERT INTO {world.table} (id, updated_at, clock, document) VALUES "
            f"({REFUSED_BY_EVENT}, {now}, '24:00:00', NULL), ({REFUSED_BY_TARGET}, {now}, NULL, '\"\\u0000\"')"
        )
        await world.migrate()
        await passed_on(world, code=QUARANTINED)
        told = f"SELECT {selected(REDSHIFT, at_source=True)} FROM {world.table}"
        await assert_equal(world, REDSHIFT, await world.source.fetch(told), (REFUSED_BY_EVENT, REFUSED_BY_TARGET))
        await assert_quarantined(world)
        snapshot = (await world.standing()).snapshot

        for n, row in made(REDSHIFT, 1).items():
            sets = ", ".join(f"{name} = {value}" for name, value in row.items())
            await world.source.execute(f"UPDATE {world.table} SET {sets}, updated_at = {now} WHERE id = {n}")
        await world.source.execute(
            f"UPDATE {world.table} SET clock = '00:00:00', document = '{{}}', updated_at = {now} WHERE id >= 900"
        )
        await passed_on(world)
        await assert_equal(world, REDSHIFT, await world.source.fetch(told), ())
        assert (await world.standing()).snapshot == snapshot, "the changes were to travel by the cursor"


@pytest.mark.timeout(400)
async def test_every_type_of_duckdb(local_stack: ThreadedStack, tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"

    def executed(*statements: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for statement in statements:
                found = connection.execute(statement)
            return found.fetchall()

    pipeline = {**ONCE, "from": "main.t"}
    source = {"kind": "duckdb", "path": str(path)}
    async with opened(local_stack, columns=None, pipeline=pipeline, source=source) as world:
        now = "CAST(now() AS TIMESTAMP)"
        executed(
            f"CREATE TABLE t ({declared(DUCKDB, 'TIMESTAMP')})",
            insert("t", DUCKDB, made(DUCKDB, 0), now),
            f"INSERT INTO t (id, updated_at, clock, document) VALUES ({REFUSED_BY_EVENT}, {now}, '24:00:00', NULL), "
            f"({REFUSED_BY_TARGET}, {now}, NULL, '\"\\u0000\"')",
        )
        await world.migrate()
        await passed_on(world, code=QUARANTINED)
        told = f"SELECT {selected(DUCKDB, at_source=True)} FROM t"
        await assert_equal(world, DUCKDB, executed(told), (REFUSED_BY_EVENT, REFUSED_BY_TARGET))
        await assert_quarantined(world)
        snapshot = (await world.standing()).snapshot

        turned = made(DUCKDB, 1)
        executed(
            "DELETE FROM t",
            insert("t", DUCKDB, turned, now),
            f"INSERT INTO t (id, updated_at, clock, document) VALUES ({REFUSED_BY_EVENT}, {now}, '00:00:00', '{{}}'), "
            f"({REFUSED_BY_TARGET}, {now}, '00:00:00', '{{}}')",
        )
        await passed_on(world)
        await assert_equal(world, DUCKDB, executed(told), ())
        assert (await world.standing()).snapshot == snapshot, "the changes were to travel by the cursor"


async def passed_on(world: World, *, code: int = 0) -> None:
    await world.extract_once()
    await world.load(code=code)


async def assert_quarantined(world: World) -> None:
    """One row was withheld by the extractor, the other is refused by the target; each says which column it is for."""
    answer = await world.operate("quarantine", "list", "--json")
    told = answer.out
    assert "column 'clock' holds what time cannot carry" in told, answer
    assert "22P05" in told
    assert await world.app.fetchval("SELECT count(*) FROM qupersync_quarantine WHERE resolution IS NULL") == 1
