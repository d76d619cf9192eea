"""What every source promises of reads: bounds, order, ties, NULLs, exact values."""

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.source.reading import by_cursor, by_key, column, naive, number, page, rows, text

from qupersync_extractor.application.ports import CursorRange, KeyList, KeyRange, ReadRequest
from qupersync_extractor.application.refused import without_refusals
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.positions import Key, Position, Scalar, ScalarKind

START = naive(2024, 1, 1)
FAR = Scalar(ScalarKind.TIMESTAMP, "2100-01-01 00:00:00.000000")

ID = column("id", "integer")
NAME = column("name", "varchar")
AT = column("at", "timestamp")
PAIRS = RowSchema(columns=(NAME, ID, column("payload", "varchar")), key=("name", "id"))
EVENTS = RowSchema(columns=(ID, AT, NAME), key=("id",))


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def stamp(minutes: float) -> Scalar:
    return Scalar(ScalarKind.TIMESTAMP, f"{at(minutes):%Y-%m-%d %H:%M:%S.%f}")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_by_key_tell_every_row_once_in_order(warehouse: Any, limit: int) -> None:
    given_rows = [{"name": name, "id": n, "payload": f"{name}{n}"} for name in "bac" for n in (30, -1, 200)]
    relation = await warehouse.create(PAIRS.columns, given_rows)
    found = await by_key(warehouse.source, relation, PAIRS, limit)
    assert found == sorted(given_rows, key=lambda row: (row["name"], row["id"]))


async def test_a_key_range_holds_its_upper_end_and_not_its_lower(warehouse: Any) -> None:
    relation = await warehouse.create(PAIRS.columns, [{"name": n, "id": i} for n in "abc" for i in (1, 2, 3)])

    async def keys(after: Key | None, upto: Key | None) -> list[str]:
        found = await rows(warehouse.source, relation, PAIRS, KeyRange(after=after, upto=upto))
        return [f"{row['name']}{row['id']}" for row in found]

    assert await keys((text("a"), number(2)), (text("b"), number(2))) == ["a3", "b1", "b2"]
    assert await keys((text("a"), number(9)), (text("b"), number(0))) == []
    assert await keys(None, (text("a"), number(2))) == ["a1", "a2"]
    assert await keys((text("c"), number(1)), None) == ["c2", "c3"]
    assert len(await keys(None, None)) == 9


async def test_text_keys_ascend_in_binary_utf8_order(warehouse: Any) -> None:
    names = ["a", "Z", "é", "e", "\U0001f600", "￿", "a b", "ab", "", "_", "0", "ß", "zz", "z"]
    relation = await warehouse.create(PAIRS.columns, [{"name": name, "id": 1} for name in names])
    found = await by_key(warehouse.source, relation, PAIRS, 3)
    assert [row["name"] for row in found] == sorted(names, key=str.encode)


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
async def test_pages_by_cursor_go_through_ties(warehouse: Any, limit: int) -> None:
    given_rows = [{"id": (n * 7) % 20, "at": at(n // 6), "name": None} for n in range(20)]
    relation = await warehouse.create(EVENTS.columns, given_rows)
    found = await by_cursor(warehouse.source, relation, EVENTS, "at", FAR, limit)
    assert found == sorted(given_rows, key=lambda row: (row["at"], row["id"]))


async def test_a_position_stands_before_at_or_after_its_cursor_value(warehouse: Any) -> None:
    relation = await warehouse.create(EVENTS.columns, [{"id": n, "at": at(n // 3), "name": None} for n in range(9)])

    async def ids(after: Position | None, upto: Scalar = FAR) -> list[int]:
        found = await rows(warehouse.source, relation, EVENTS, CursorRange(cursor="at", after=after, upto=upto))
        return [row["id"] for row in found]

    assert await ids(Position.before(stamp(1))) == [3, 4, 5, 6, 7, 8]
    assert await ids(Position(cursor=stamp(1), key=(number(4),))) == [5, 6, 7, 8]
    assert await ids(Position.after(stamp(1))) == [6, 7, 8]
    assert await ids(None, stamp(0)) == [0, 1, 2]
    assert await ids(Position.before(stamp(1)), stamp(1)) == [3, 4, 5]
    assert await ids(Position.after(stamp(1)), stamp(1)) == []
    assert await ids(None, stamp(-1)) == []


async def test_a_compound_key_breaks_ties_of_the_cursor(warehouse: Any) -> None:
    schema = RowSchema(columns=(NAME, ID, AT), key=("name", "id"))
    given_rows = [{"name": name, "id": n, "at": at(0)} for name in "ba" for n in (2, 1, 3)]
    relation = await warehouse.create(schema.columns, given_rows)
    found = await by_cursor(warehouse.source, relation, schema, "at", FAR, 2)
    assert found == sorted(given_rows, key=lambda row: (row["name"], row["id"]))


async def test_a_null_in_the_key_is_never_read(warehouse: Any) -> None:
    relation = await warehouse.create(
        PAIRS.columns, [{"name": "a", "id": None}, {"name": None, "id": 1}, {"name": "a", "id": 1, "payload": None}]
    )
    assert await by_key(warehouse.source, relation, PAIRS, 10) == [{"name": "a", "id": 1, "payload": None}]


async def test_a_null_cursor_is_read_by_key_only(warehouse: Any) -> None:
    relation = await warehouse.create(
        EVENTS.columns, [{"id": 1, "at": None}, {"id": 2, "at": at(0)}, {"id": None, "at": at(0)}]
    )
    assert [row["id"] for row in await by_key(warehouse.source, relation, EVENTS, 10)] == [1, 2]
    assert [row["id"] for row in await by_cursor(warehouse.source, relation, EVENTS, "at", FAR, 10)] == [2]


async def test_a_key_list_finds_what_is_there_in_order(warehouse: Any) -> None:
    relation = await warehouse.create(PAIRS.columns, [{"name": n, "id": i} for n in "abc" for i in (1, 2, 3)])
    wanted: tuple[Key, ...] = tuple((text(n), number(i)) for n, i in (("c", 3), ("a", 1), ("b", 9), ("b", 2), ("a", 1)))
    found = await rows(warehouse.source, relation, PAIRS, KeyList(keys=wanted))
    assert [(row["name"], row["id"]) for row in found] == [("a", 1), ("b", 2), ("c", 3)]
    assert await rows(warehouse.source, relation, PAIRS, KeyList(keys=())) == []
    single = RowSchema(columns=(NAME, ID), key=("name",))
    assert (
        await rows(warehouse.source, await warehouse.create(single.columns), single, KeyList(keys=((text("a"),),)))
        == []
    )
    all_c = await rows(
        warehouse.source, relation, RowSchema(columns=PAIRS.columns, key=("name",)), KeyList(keys=((text("c"),),))
    )
    assert sorted(row["id"] for row in all_c) == [1, 2, 3]


async def test_duplicates_come_one_after_the_other(warehouse: Any) -> None:
    schema = RowSchema(columns=(ID, NAME), key=("id",))
    relation = await warehouse.create(schema.columns, [{"id": n, "name": word} for word in "xy" for n in (2, 1)])
    found = await by_key(warehouse.source, relation, schema, 10)
    assert [row["id"] for row in found] == [1, 1, 2, 2]
    assert sorted(row["name"] for row in found[:2]) == ["x", "y"]


async def test_text_in_a_key_has_no_trailing_blanks_and_other_text_keeps_them(warehouse: Any) -> None:
    schema = RowSchema(columns=(NAME, column("payload", "varchar")), key=("name",))
    relation = await warehouse.create(schema.columns, [{"name": "k  ", "payload": "  p  "}])
    assert await rows(warehouse.source, relation, schema, KeyRange(after=None)) == [{"name": "k", "payload": "  p  "}]


@pytest.mark.needs("char")
async def test_char_has_no_padding(warehouse: Any) -> None:
    schema = RowSchema(columns=(column("code", "char"), ID), key=("code",))
    relation = await warehouse.create(schema.columns, [{"code": "b ", "id": 1}, {"code": " a", "id": 2}])
    assert await by_key(warehouse.source, relation, schema, 1) == [{"code": " a", "id": 2}, {"code": "b", "id": 1}]


async def test_a_changed_row_is_seen_by_the_next_read(warehouse: Any) -> None:
    schema = RowSchema(columns=(ID, NAME), key=("id",))
    relation = await warehouse.create(schema.columns, [{"id": 1, "name": "a"}])
    assert len(await by_key(warehouse.source, relation, schema, 10)) == 1
    await warehouse.insert(relation, schema.columns, [{"id": 2, "name": "b"}])
    assert len(await by_key(warehouse.source, relation, schema, 10)) == 2


KEYS: dict[str, list[Any]] = {
    "smallint": [-32768, -1, 0, 32767],
    "bigint": [-(2**63), -1, 0, 2**63 - 1],
    "numeric(38,10)": [
        Decimal("-9999999999999999999999999999.9999999999"),
        Decimal("1E-10"),
        Decimal(1),
        Decimal("10.5"),
    ],
    "boolean": [False, True],
    "date": [date(1, 1, 1), date(1582, 10, 4), date(1582, 10, 15), date(9999, 12, 31)],
    "timestamp": [naive(1, 1, 1), naive(1969, 12, 31, 23, 59, 59, 999999), naive(9999, 12, 31, 23, 59, 59, 999999)],
    "timestamptz": [datetime(1, 1, 2, tzinfo=UTC), datetime(2024, 3, 31, 1, 0, 0, 1, tzinfo=UTC)],
    "time": [time(0), time(0, 0, 0, 1), time(23, 59, 59, 999999)],
    "uuid": [bytes(16), bytes(range(16)), b"\xff" * 16],
}


@pytest.mark.parametrize("logical", [pytest.param(name, marks=pytest.mark.needs(name)) for name in KEYS])
async def test_every_key_type_pages(warehouse: Any, logical: str) -> None:
    schema = RowSchema(columns=(column("k", logical), NAME), key=("k",))
    relation = await warehouse.create(schema.columns, [{"k": k, "name": "x"} for k in reversed(KEYS[logical])])
    assert [row["k"] for row in await by_key(warehouse.source, relation, schema, 1)] == KEYS[logical]
    batch = await page(warehouse.source, relation, schema, KeyRange(after=None))
    listed = KeyList(keys=tuple(key_at(batch, schema, index) for index in range(batch.num_rows)))
    assert [row["k"] for row in await rows(warehouse.source, relation, schema, listed)] == KEYS[logical]


@pytest.mark.parametrize("logical", ["integer", "date", "timestamptz"])
async def test_every_cursor_type_pages(warehouse: Any, logical: str) -> None:
    cursors: dict[str, list[Any]] = {
        "integer": [-5, 0, 0, 9],
        "date": [date(2023, 12, 31), date(2024, 1, 1), date(2024, 1, 1), date(2024, 2, 29)],
        "timestamptz": [datetime(2024, 1, 1, h, 0, 0, 1, tzinfo=UTC) for h in (0, 1, 1, 2)],
    }
    schema = RowSchema(columns=(ID, column("c", logical)), key=("id",))
    relation = await warehouse.create(
        schema.columns, [{"id": n, "c": value} for n, value in enumerate(cursors[logical])]
    )
    upto = await warehouse.source.highest(relation, schema.column("c"))
    assert [row["id"] for row in await by_cursor(warehouse.source, relation, schema, "c", upto, 1)] == [0, 1, 2, 3]


# --- exact values ------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab\"'\\ é", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=5,
)
MOMENTS = st.datetimes()
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(width=32),
    "double": st.floats(),
    "numeric(18,4)": st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n: Decimal(n).scaleb(-4)),
    "numeric(38,10)": st.integers(-(10**38) + 1, 10**38 - 1).map(
        lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -10))
    ),
    "boolean": st.booleans(),
    "varchar": TEXT,
    "date": st.dates(),
    "timestamp": MOMENTS,
    "timestamptz": MOMENTS.filter(lambda m: m.year > 1).map(lambda m: m.replace(tzinfo=UTC)),
    "time": st.times(),
    "timetz": st.sampled_from(["00:00:00+00", "12:34:56.789+02", "23:59:59.999999-08"]),
    "super": JSON.map(json.dumps),
    "varbyte": st.binary(max_size=8),
    "char": st.text("abcdé", max_size=12),
    "uuid": st.binary(min_size=16, max_size=16),
}


def same(one: Any, other: Any) -> bool:
    """Equal, with NaN equal to itself and a zero's sign told apart."""
    if not (isinstance(one, float) and isinstance(other, float)):
        return bool(one == other)
    if math.isnan(one):
        return math.isnan(other)
    return one == other and math.copysign(1, one) == math.copysign(1, other)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), max_size=15))
async def test_every_type_is_exact(warehouse: Any, made: list[dict[str, Any]]) -> None:
    columns = (ID, *(Column(name, LogicalType.parse(name)) for name in warehouse.types))
    schema = RowSchema(columns=columns, key=("id",))
    held = [
        {"id": n, **{name: warehouse.kept(name, row[name]) for name in warehouse.types}} for n, row in enumerate(made)
    ]
    relation = await warehouse.create(columns, held)
    found = await by_key(warehouse.source, relation, schema, 100)
    assert [row["id"] for row in found] == [row["id"] for row in held]
    for told, put in zip(found, held, strict=True):
        for name in warehouse.types:
            one, other = told[name], put[name]
            if name == "super" and one is not None and other is not None:
                one, other = json.loads(one), json.loads(other)
            assert same(one, other), f"{name}: {put[name]!r} was told as {told[name]!r}"


async def test_a_row_with_a_value_beyond_its_type_is_refused_alone(warehouse: Any) -> None:
    columns = (ID, column("at", "time"), NAME)
    held = [{"id": n, "at": "24:00:00" if n == 2 else None, "name": "x"} for n in range(4)]
    relation = await warehouse.create(columns, held)
    schema = RowSchema(columns=columns, key=("id",))
    wanted = ReadRequest(relation=relation, schema=schema, range=KeyRange(after=None), limit=10)
    told, refused = without_refusals(await warehouse.source.read(wanted))
    assert told.schema.equals(schema.arrow(), check_metadata=True)
    assert told.to_pylist() == [{"id": n, "at": None, "name": "x"} for n in range(4)]
    assert refused is not None
    assert [reason is not None for reason in refused.to_pylist()] == [False, False, True, False]
    assert "'at' holds what" in refused[2].as_py()
