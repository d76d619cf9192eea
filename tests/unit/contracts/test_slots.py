"""The vectorised slots equal the scalar reference, for every kind that a key may have."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import (
    SLOTS,
    canonical_bytes,
    canonical_keys,
    canonical_texts,
    key_at,
    keys_of,
    scalar_at,
    slot_of_key,
    slots_of,
)
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.positions import Scalar, ScalarKind

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    return st.integers(-limit, limit).map(lambda number: Decimal((number < 0, _digits(number), -scale)))


def _digits(number: int) -> tuple[int, ...]:
    return tuple(int(digit) for digit in str(abs(number)))


def plain(value: Decimal) -> str:
    """The reference for numerics: plain digits without trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def stamp(moment: datetime | date) -> str:
    rest = f" {moment:%H:%M:%S.%f}" if isinstance(moment, datetime) else ""
    return f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}{rest}"


# logical type → its values, and the canonical text by a reference that knows no Arrow
VALUES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], str]]] = {
    "smallint": (st.integers(-(2**15), 2**15 - 1), str),
    "integer": (st.integers(-(2**31), 2**31 - 1), str),
    "bigint": (st.integers(-(2**63), 2**63 - 1), str),
    "numeric(38,10)": (decimals(38, 10), plain),
    "numeric(38,38)": (decimals(38, 38), plain),
    "numeric(20,0)": (decimals(20, 0), plain),
    "boolean": (st.booleans(), lambda value: "true" if value else "false"),
    "char": (TEXTS, lambda value: value.rstrip(" ")),
    "varchar": (TEXTS, lambda value: value.rstrip(" ")),
    "date": (st.dates(), stamp),
    "timestamp": (st.datetimes(), stamp),
    "timestamptz": (st.datetimes(timezones=st.just(UTC)), lambda value: stamp(value) + "Z"),
    "time": (st.times(), lambda value: f"{value:%H:%M:%S.%f}"),
    "varbyte": (st.binary(max_size=20), lambda value: value.hex()),
    "uuid": (st.uuids().map(lambda value: value.bytes), lambda value: value.hex()),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.RecordBatch, RowSchema, list[tuple[Scalar, ...]]]:
    """Some rows with a key of one to three columns, and their keys by the reference."""
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3))
    count = draw(st.integers(0, 6))
    columns, arrays, texts = [], [], []
    for number, name in enumerate(kinds):
        strategy, reference = VALUES[name]
        values = draw(st.lists(strategy, min_size=count, max_size=count))
        logical = LogicalType.parse(name)
        assert logical.scalar is not None
        columns.append(Column(f"k{number}", logical))
        arrays.append(pa.array(values, logical.arrow))
        texts.append([Scalar(logical.scalar, reference(value)) for value in values])
    schema = RowSchema(columns=tuple(columns), key=tuple(column.name for column in columns))
    keys = [tuple(part[row] for part in texts) for row in range(count)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow()), schema, keys


@given(tables())
def test_vectorised_slots_equal_the_scalar_reference(
    given_table: tuple[pa.RecordBatch, RowSchema, list[tuple[Scalar, ...]]],
) -> None:
    batch, schema, keys = given_table

    canonical = canonical_keys(batch, schema)

    assert canonical.cast(pa.binary()).to_pylist() == [canonical_bytes(key) for key in keys]
    assert slots_of(canonical).tolist() == [slot_of_key(key) for key in keys]
    assert [key_at(batch, schema, row) for row in range(len(keys))] == keys
    assert keys_of(batch, schema) == keys


@given(tables())
def test_chunks_and_slices_make_no_difference(
    given_table: tuple[pa.RecordBatch, RowSchema, list[tuple[Scalar, ...]]],
) -> None:
    batch, schema, keys = given_table
    half = len(keys) // 2

    table = pa.Table.from_batches([batch.slice(0, half), batch.slice(half)], schema=schema.arrow())

    assert canonical_keys(table, schema).equals(canonical_keys(batch, schema))
    assert canonical_keys(batch.slice(half), schema).to_pylist() == canonical_keys(batch, schema).to_pylist()[half:]


@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=4))
def test_different_keys_have_different_canonical_bytes(one: list[str], other: list[str]) -> None:
    keys = [tuple(Scalar(ScalarKind.TEXT, text) for text in texts) for texts in (one, other)]

    assert (canonical_bytes(keys[0]) == canonical_bytes(keys[1])) == (one == other)


def test_every_kind_that_may_be_a_key_is_tried_here() -> None:
    tried = {LogicalType.parse(name).kind for name in VALUES}
    numeric = LogicalType(Kind.NUMERIC, 1, 0)

    assert tried == {
        kind for kind in Kind if (numeric if kind is Kind.NUMERIC else LogicalType(kind)).scalar is not None
    }


def test_a_slot_lies_between_0_and_4095() -> None:
    slots = [slot_of_key((Scalar(ScalarKind.INT, str(number)),)) for number in range(20_000)]

    assert (min(slots), max(slots), SLOTS) == (0, 4095, 4096)
    assert len(set(slots)) > 4000


def test_a_null_in_a_key_is_refused_with_its_column() -> None:
    schema = RowSchema(columns=(Column("id", LogicalType.parse("bigint")),), key=("id",))
    batch = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int64())], schema=schema.arrow())

    with pytest.raises(ValueError, match="'id' holds NULL"):
        canonical_keys(batch, schema)
    with pytest.raises(ValueError, match="holds NULL"):
        key_at(batch, schema, 1)
    with pytest.raises(ValueError, match="NULL"):
        keys_of(batch, schema)
    assert scalar_at(batch.column("id"), LogicalType.parse("bigint"), 1) is None


def test_a_float_is_never_a_key_or_a_cursor() -> None:
    with pytest.raises(ValueError, match="cannot be a key or a cursor"):
        canonical_texts(pa.array([0.5]), LogicalType.parse("double"))


def test_edges_of_time_have_their_canonical_text() -> None:
    moments = pa.array([time(0, 0), time(23, 59, 59, 999999)], pa.time64("us"))

    assert canonical_texts(moments, LogicalType.parse("time")).to_pylist() == ["00:00:00.000000", "23:59:59.999999"]
