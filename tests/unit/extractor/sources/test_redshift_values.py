"""Row descriptions to logical types, and rows as the driver decodes them to Arrow."""

from decimal import Decimal
from typing import Any

import pytest

from qupersync_extractor.application.refused import without_refusals
from qupersync_extractor.infrastructure.sources.redshift_types import DescribedColumn, logical_type
from qupersync_extractor.infrastructure.sources.redshift_values import to_batch
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.errors import TerminalError


def described(oid: int, modifier: int = -1) -> DescribedColumn:
    return DescribedColumn(name="c", oid=oid, modifier=modifier)


def schema(*types: str, key: tuple[str, ...] = ("c0",)) -> RowSchema:
    return RowSchema(columns=tuple(Column(f"c{n}", LogicalType.parse(name)) for n, name in enumerate(types)), key=key)


@pytest.mark.parametrize(
    ("oid", "modifier", "name"),
    [
        (16, -1, "boolean"),
        (21, -1, "smallint"),
        (23, -1, "integer"),
        (20, -1, "bigint"),
        (700, -1, "real"),
        (701, -1, "double"),
        (1700, (18 << 16) + 4 + 4, "numeric(18,4)"),
        (1700, (38 << 16) + 38 + 4, "numeric(38,38)"),
        (1700, (1 << 16) + 4, "numeric(1,0)"),
        (1042, 14, "char"),
        (1043, 260, "varchar"),
        (25, -1, "varchar"),
        (1082, -1, "date"),
        (1083, -1, "time"),
        (1266, -1, "timetz"),
        (1114, -1, "timestamp"),
        (1184, -1, "timestamptz"),
        (4000, -1, "super"),
        (6551, -1, "varbyte"),
        (3000, -1, "varchar"),
        (1190, -1, "varchar"),
    ],
)
def test_types(oid: int, modifier: int, name: str) -> None:
    assert logical_type(described(oid, modifier)).name == name


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (described(1700), "without precision"),
        (described(1700, (50 << 16) + 4 + 4), "out of range"),
        (described(2935), "number 2935"),
        (described(1007), "INTEGER_ARRAY"),
    ],
)
def test_what_cannot_travel_is_named(column: DescribedColumn, words: str) -> None:
    with pytest.raises(TerminalError, match=words) as caught:
        logical_type(column)
    assert "'c'" in caught.value.message
    assert "query" in caught.value.cure


def test_rows_become_columns_by_position() -> None:
    wanted = schema("integer", "varchar", "varchar", "char", "varbyte", "numeric(38,10)", "double", key=("c0", "c1"))
    rows: list[list[Any]] = [
        [1, "k  ", "v  ", "ab   ", "00ff", Decimal("1.5"), float("inf")],
        [2, "", None, None, None, None, None],
    ]
    batch = to_batch(rows, wanted)
    assert batch.schema.equals(wanted.arrow(), check_metadata=True)
    assert [list(row.values()) for row in batch.to_pylist()] == [
        [1, "k", "v  ", "ab", b"\x00\xff", Decimal("1.5000000000"), float("inf")],
        [2, "", None, None, None, None, None],
    ]


def test_no_rows_are_an_empty_batch() -> None:
    batch = to_batch([], schema("integer", "timestamp"))
    assert batch.num_rows == 0
    assert batch.schema.equals(schema("integer", "timestamp").arrow(), check_metadata=True)


@pytest.mark.parametrize(
    ("name", "value"), [("smallint", 70_000), ("numeric(4,2)", Decimal("123.45")), ("varbyte", "zz"), ("varchar", 5)]
)
def test_a_row_with_what_does_not_fit_is_refused_and_the_others_travel(name: str, value: Any) -> None:
    rows, refused = without_refusals(to_batch([[1, None], [2, value], [3, None]], schema("integer", name)))
    assert rows.to_pylist() == [{"c0": n, "c1": None} for n in (1, 2, 3)]
    assert refused is not None
    assert ["'c1' holds what" in reason if reason else None for reason in refused.to_pylist()] == [None, True, None]


@pytest.mark.parametrize(("name", "value"), [("smallint", 70_000), ("date", "infinity"), ("time", "24:00:00")])
def test_a_key_or_cursor_that_does_not_fit_is_terminal_and_names_its_column(name: str, value: Any) -> None:
    rows = [[1, value]]
    with pytest.raises(TerminalError, match=r"'c1' holds what"):
        to_batch(rows, schema("integer", name, key=("c0", "c1")))
    with pytest.raises(TerminalError, match=r"'c1' holds what"):
        to_batch(rows, schema("integer", name), cursor="c1")
