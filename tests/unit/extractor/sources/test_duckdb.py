"""What is DuckDB's own: its types, and a file that comes, goes and is replaced."""

import struct
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.refused import without_refusals
from qupersync_extractor.domain.pipeline import SourceQuery, SourceTable
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_shared.contracts.infinity import plain
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.kernel.errors import SourceUnavailableError, TerminalError

FILE = r"w\.duckdb"
TABLE = SourceTable("main", "t")


def made(path: Path, select: str) -> DuckDbSource:
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE OR REPLACE TABLE t AS {select}")
    return DuckDbSource(path)


async def whole(source: DuckDbSource, key: tuple[str, ...] = ("id",)) -> list[dict[str, Any]]:
    schema = RowSchema(columns=await source.describe(TABLE), key=key)
    batch = await source.read(ReadRequest(relation=TABLE, schema=schema, range=KeyRange(after=None), limit=1000))
    assert batch.schema.equals(schema.arrow(), check_metadata=True)
    return list(batch.to_pylist())


@pytest.mark.parametrize(
    ("expression", "logical", "value"),
    [
        ("(-128)::TINYINT", "smallint", -128),
        ("255::UTINYINT", "smallint", 255),
        ("65535::USMALLINT", "integer", 65535),
        ("4294967295::UINTEGER", "bigint", 4294967295),
        ("18446744073709551615::UBIGINT", "numeric(20,0)", Decimal(18446744073709551615)),
        ("(-99999999999999999999999999999999999999)::HUGEINT", "numeric(38,0)", Decimal("-" + "9" * 38)),
        ("1.25::DECIMAL(9,4)", "numeric(9,4)", Decimal("1.2500")),
        ("'b'::ENUM('a', 'b')", "varchar", "b"),
        ("99999999999999999999999999999999999999::UHUGEINT", "numeric(38,0)", Decimal("9" * 38)),
        ("123456789012345678901234567890123456789012::BIGNUM", "varchar", "123456789012345678901234567890123456789012"),
        ("'POINT (1 2)'::GEOMETRY", "varbyte", struct.pack("<BIdd", 1, 1, 1.0, 2.0)),
        ("'101'::BIT", "varchar", "101"),
        ("INTERVAL 90 MINUTE", "varchar", "01:30:00"),
        ("'\\x00\\xFF'::BLOB", "varbyte", b"\x00\xff"),
        ("TIMESTAMP_S '2024-01-01 00:00:01'", "timestamp", datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("TIMESTAMP_MS '2024-01-01 00:00:00.001'", "timestamp", datetime(2024, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)),
        ("TIMESTAMP_NS '2024-01-01 00:00:00.000001'", "timestamp", datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("TIMESTAMPTZ '2024-01-01 00:00:00+02'", "timestamptz", datetime(2023, 12, 31, 22, tzinfo=UTC)),
        ("TIMETZ '12:00:00+02'", "timetz", "12:00:00+02"),
        ("[1, NULL, 3]", "super", "[1,null,3]"),
        ("{'a': 1, 'b': [true]}", "super", '{"a":1,"b":[true]}'),
        ("MAP {'k': 1}", "super", '{"k":1}'),
        ("{'a': 1}::VARIANT", "super", '{"a":1}'),
        ("union_value(a := 1)", "super", '{"a":1}'),
        ("""'{"a": 123456789012345678901.50}'::JSON""", "super", '{"a": 123456789012345678901.50}'),
        ("NULL::INTEGER[]", "super", None),
        ("'0123456789abcdef0123456789abcdef'::UUID", "uuid", bytes.fromhex("0123456789abcdef0123456789abcdef")),
    ],
)
async def test_types(tmp_path: Path, expression: str, logical: str, value: Any) -> None:
    source = made(tmp_path / "w.duckdb", f"SELECT 1 AS id, {expression} AS c")
    assert [column.type.name for column in await source.describe(TABLE)] == ["integer", logical]
    found = (await whole(source))[0]["c"]
    if logical == "timestamp":
        value = value.replace(tzinfo=None)
    assert found == value
    await source.close()


@pytest.mark.parametrize("expression", ["NULL"])
async def test_a_type_that_cannot_travel_is_named(tmp_path: Path, expression: str) -> None:
    source = made(tmp_path / "w.duckdb", "SELECT 1 AS id")
    with pytest.raises(TerminalError, match="'odd' is of type"):
        await source.describe(SourceQuery(f"SELECT 1 AS id, {expression} AS odd"))
    await source.close()


@pytest.mark.parametrize("expression", ["['1'::JSON]", "{'a': {'b': '1'::JSON}}", "MAP {1: '1'::JSON}"])
async def test_a_json_inside_another_value_is_refused_before_its_numbers_become_doubles(
    tmp_path: Path, expression: str
) -> None:
    source = made(tmp_path / "w.duckdb", f"SELECT 1 AS id, {expression} AS odd")
    with pytest.raises(TerminalError, match=r"'odd' .*doubles") as caught:
        await source.describe(TABLE)
    assert "column of its own" in caught.value.cure
    await source.close()


LOST = [
    "TIMESTAMP_NS '2024-01-01 00:00:00.000000001'",
    "TIME_NS '12:00:00.000000001'",
    "TIME '24:00:00'",
    "170141183460469231731687303715884105727::HUGEINT",
    "340282366920938463463374607431768211455::UHUGEINT",
]


@pytest.mark.parametrize("expression", LOST)
async def test_a_row_with_what_would_be_lost_is_refused_and_the_others_travel(tmp_path: Path, expression: str) -> None:
    select = f"SELECT 1 AS id, {expression} AS odd UNION ALL SELECT 2, NULL UNION ALL SELECT 3, {expression}"
    source = made(tmp_path / "w.duckdb", select)
    schema = RowSchema(columns=await source.describe(TABLE), key=("id",))
    batch = await source.read(ReadRequest(relation=TABLE, schema=schema, range=KeyRange(after=None), limit=1000))
    rows, refused = without_refusals(batch)
    assert rows.to_pylist() == [{"id": n, "odd": None} for n in (1, 2, 3)]
    assert refused is not None
    assert ["'odd' holds what" in reason if reason else None for reason in refused.to_pylist()] == [True, None, True]
    await source.close()


@pytest.mark.parametrize("expression", [*LOST, "TIMESTAMP 'infinity'", "DATE '-infinity'"])
async def test_a_key_that_would_be_lost_names_its_column(tmp_path: Path, expression: str) -> None:
    source = made(tmp_path / "w.duckdb", f"SELECT 1 AS id, {expression} AS odd")
    with pytest.raises(TerminalError, match=r"odd|DECIMAL"):
        await whole(source, ("odd",))
    await source.close()


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ", "DATE"])
async def test_infinity_is_the_outermost_number(tmp_path: Path, kind: str) -> None:
    source = made(tmp_path / "w.duckdb", f"SELECT 1 AS id, 'infinity'::{kind} AS c UNION ALL SELECT 2, '-infinity'")
    schema = RowSchema(columns=await source.describe(TABLE), key=("id",))
    batch = await source.read(ReadRequest(relation=TABLE, schema=schema, range=KeyRange(after=None), limit=1000))
    assert [plain(value) for value in batch.column("c")] == ["infinity", "-infinity"]
    await source.close()


async def test_an_enum_key_pages_as_text(tmp_path: Path) -> None:
    source = made(tmp_path / "w.duckdb", "SELECT unnest(['z', 'a', 'm'])::ENUM('z', 'm', 'a') AS id")
    schema = RowSchema(columns=await source.describe(TABLE), key=("id",))
    found, after = [], None
    for _ in range(3):
        batch = await source.read(ReadRequest(relation=TABLE, schema=schema, range=KeyRange(after=after), limit=1))
        after = key_at(batch, schema, 0)
        found.append(batch.column("id")[0].as_py())
    assert found == ["a", "m", "z"]
    await source.close()


async def test_a_missing_file_may_come_and_a_replaced_one_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    source = DuckDbSource(path)
    with pytest.raises(SourceUnavailableError, match=FILE) as caught:
        await source.describe(TABLE)
    assert "must exist" in caught.value.cure
    await made(path, "SELECT 1 AS id").close()
    assert await whole(source) == [{"id": 1}]
    await made(tmp_path / "new.duckdb", "SELECT 2 AS id").close()
    (tmp_path / "new.duckdb").replace(path)
    assert await whole(source) == [{"id": 2}]
    await source.close()


async def test_a_file_open_for_writing_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    source = made(path, "SELECT 1 AS id")
    with duckdb.connect(str(path)), pytest.raises(SourceUnavailableError, match=FILE):
        await whole(source)
    assert await whole(source) == [{"id": 1}]
    await source.close()


async def test_what_is_no_duckdb_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"something else" * 1000)
    source = DuckDbSource(path)
    with pytest.raises(SourceUnavailableError, match=FILE):
        await source.describe(TABLE)
    await source.close()
