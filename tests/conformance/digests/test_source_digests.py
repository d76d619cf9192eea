"""Every engine computes the digests that the definition says, of every type, and cuts ranges where keys say."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.digests.conftest import WHOLE, Digesting
from tests.conformance.digests.values import nasty_rows, rows_of, schema_of

from qupersync_extractor.application.ports import KeyRange
from qupersync_extractor.domain.ordering import key_order
from qupersync_shared.contracts.row_digests import Form, sums_of
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind

COMPOSITE = RowSchema(
    columns=(
        Column("name", LogicalType.parse("varchar")),
        Column("part", LogicalType.parse("numeric(18,4)")),
        Column("value", LogicalType.parse("integer")),
    ),
    key=("name", "part"),
)


async def test_digests_of_every_type_are_those_of_the_definition(sql_engine: Digesting) -> None:
    compared = await sql_engine.compared(schema_of(sql_engine.types), nasty_rows(sql_engine.types))
    told = await sql_engine.digests.rows(compared, WHOLE, limit=1000)
    expected = await sql_engine.reference(compared)
    assert [row.digest for row in told] == expected
    assert len(set(expected)) > len(expected) * 0.9  # those that only presence tells may be alike


async def test_the_two_zeros_of_floats_are_one(engine: Digesting) -> None:
    """A loader holds them to be equal, and rewrites no row for the sign."""
    schema = schema_of(["real", "double"])
    rows = [{"id": 0, "c0": "0", "c1": "0"}, {"id": 1, "c0": "-0.0", "c1": "-0.0"}]
    compared = await engine.compared(schema, rows)
    floats = replace(compared, columns=compared.columns[1:])
    plus, minus = await engine.digests.rows(floats, WHOLE, limit=10)
    assert plus.digest == minus.digest


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_rows=st.data())
async def test_digests_of_random_values_are_those_of_the_definition(sql_engine: Digesting, given_rows: Any) -> None:
    rows = given_rows.draw(rows_of(sql_engine.types))
    compared = await sql_engine.compared(schema_of(sql_engine.types), rows)
    told = await sql_engine.digests.rows(compared, WHOLE, limit=1000)
    assert [row.digest for row in told] == await sql_engine.reference(compared)


def composite(count: int) -> list[dict[str, Any]]:
    return [{"name": f"n{n // 3}", "part": Decimal(f"{n % 3}.5"), "value": n} for n in range(count)]


async def test_ranges_end_where_the_keys_say_and_sum_up_their_rows(engine: Digesting) -> None:
    compared = await engine.compared(COMPOSITE, [*composite(20), {"name": None, "part": Decimal(1), "value": 99}])
    rows = await engine.digests.rows(compared, WHOLE, limit=100)
    assert [key_order(row.key) for row in rows] == sorted(key_order(row.key) for row in rows)
    assert len(rows) == 20  # a row whose key holds a NULL does not exist
    parts = await engine.digests.ranges(compared, WHOLE, keys=8)
    assert [part.last for part in parts] == [rows[7].key, rows[15].key, rows[19].key]
    assert [part.sums for part in parts] == [
        sums_of([row.digest for row in rows[start : start + 8]]) for start in (0, 8, 16)
    ]
    within = KeyRange(after=rows[3].key, upto=rows[9].key)
    assert [row.key for row in await engine.digests.rows(compared, within, limit=4)] == [row.key for row in rows[4:8]]
    part = await engine.digests.ranges(compared, within, keys=100)
    assert [(one.last, one.sums.rows) for one in part] == [(rows[9].key, 6)]


async def test_a_stretch_ends_at_a_row_or_not_at_all(engine: Digesting) -> None:
    compared = await engine.compared(COMPOSITE, composite(9))
    rows = await engine.digests.rows(compared, WHOLE, limit=100)
    assert await engine.digests.stretch_end(compared, WHOLE, rows=4) == rows[3].key
    assert await engine.digests.stretch_end(compared, KeyRange(after=rows[3].key), rows=5) == rows[8].key
    assert await engine.digests.stretch_end(compared, KeyRange(after=rows[3].key), rows=6) is None
    nothing = KeyRange(after=(Scalar(ScalarKind.TEXT, "z"), Scalar(ScalarKind.NUMERIC, "1")))
    assert await engine.digests.ranges(compared, nothing, keys=10) == []


async def test_duplicates_of_a_key_stay_in_one_range(engine: Digesting) -> None:
    rows = [{"name": "a", "part": Decimal(1), "value": n} for n in range(5)] + composite(3)
    compared = await engine.compared(COMPOSITE, rows)
    parts = await engine.digests.ranges(compared, WHOLE, keys=1)
    assert [part.sums.rows for part in parts] == [5, 1, 1, 1]
    assert len(await engine.digests.rows(compared, WHOLE, limit=100)) == 8


async def test_nothing_is_opaque_but_what_no_engine_writes_as_text(engine: Digesting) -> None:
    compared = await engine.compared(schema_of(["super", "varchar"]), [{"id": 1}])
    assert await engine.digests.opaque(compared) == frozenset()
    assert [one.form for one in compared.columns] == [Form.VALUE, Form.PRESENCE, Form.VALUE]


async def test_text_keys_are_ordered_as_bytes_and_have_no_trailing_blanks(engine: Digesting) -> None:
    schema = RowSchema(columns=(Column("k", LogicalType.parse("varchar")),), key=("k",))
    compared = await engine.compared(schema, [{"k": text} for text in ("b", "B", "a  ", "ä", "")])
    keys = [row.key for row in await engine.digests.rows(compared, WHOLE, limit=10)]
    assert keys == [_text(text) for text in ("", "B", "a", "b", "ä")]
    assert [row.key for row in await engine.digests.rows(compared, KeyRange(after=_text("B")), limit=2)] == [
        _text("a"),
        _text("b"),
    ]


def _text(text: str) -> Key:
    return (Scalar(ScalarKind.TEXT, text),)
