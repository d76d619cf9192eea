"""Keys that came from outside: what fits the source's columns becomes rows again, and what does not says why."""

import pyarrow as pa
import pytest

from qupersync_extractor.application.key_lists import fitted_key, key_rows
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind, encode_key

CANONICAL = {
    "smallint": "-7",
    "bigint": "9223372036854775807",
    "numeric(38,10)": "-1234567890123456789012345678.0123456789",
    "numeric(10,2)": "0",
    "boolean": "false",
    "varchar": "Ünïcode \0 'quoted' \"",
    "char": "",
    "date": "-0044-03-15",
    "timestamp": "12024-02-29 23:59:59.999999",
    "timestamptz": "1969-12-31 23:59:59.999999Z",
    "time": "23:59:59.999999",
    "uuid": "0123456789abcdef0123456789abcdef",
    "varbyte": "00ff",
}


def schema(kind: str) -> RowSchema:
    columns = (
        Column("note", LogicalType.parse("varchar")),
        Column("b", LogicalType.parse(kind)),
        Column("a", LogicalType.parse("bigint")),
    )
    return RowSchema(columns=columns, key=("a", "b"))


def key(kind: str, text: str) -> Key:
    scalar = LogicalType.parse(kind).scalar
    assert scalar is not None
    return Scalar(ScalarKind.INT, "5"), Scalar(scalar, text)


@pytest.mark.parametrize(("kind", "text"), CANONICAL.items(), ids=list(CANONICAL))
def test_a_key_of_every_kind_comes_back_as_it_was(kind: str, text: str) -> None:
    made = fitted_key(encode_key(key(kind, text)), schema(kind))
    assert made == key(kind, text)
    rows = key_rows([made, made], schema(kind))
    assert rows.schema == schema(kind).arrow()
    assert key_at(rows, schema(kind), 1) == made
    assert rows.column("note").null_count == 2


@pytest.mark.parametrize(("kind", "text", "canonical"), [("varchar", "a  ", "a"), ("numeric(10,2)", "1.50", "1.5")])
def test_a_key_that_is_not_canonical_is_made_so(kind: str, text: str, canonical: str) -> None:
    assert fitted_key(encode_key(key(kind, text)), schema(kind)) == key(kind, canonical)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("smallint", "70000"),
        ("bigint", "a"),
        ("numeric(4,2)", "1.234"),
        ("numeric(4,2)", "NaN"),
        ("boolean", "yes"),
        ("date", "now"),
        ("date", "NaT"),
        ("timestamp", ""),
        ("time", "25:00:00"),
        ("uuid", "00"),
        ("varbyte", "zz"),
    ],
)
def test_what_a_column_cannot_hold_is_refused_by_name(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match="column 'b'"):
        fitted_key(encode_key(key(kind, text)), schema(kind))


def test_keys_of_other_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="a key of 1 values for the 2 key columns"):
        fitted_key(encode_key((Scalar(ScalarKind.INT, "5"),)), schema("bigint"))
    with pytest.raises(ValueError, match="column 'b' is varchar now"):
        fitted_key(encode_key(key("bigint", "5")), schema("varchar"))
    with pytest.raises(ValueError, match="not a position or key"):
        fitted_key("garbage", schema("bigint"))


def test_no_keys_are_no_rows() -> None:
    assert key_rows([], schema("bigint")) == pa.RecordBatch.from_pylist([], schema=schema("bigint").arrow())
