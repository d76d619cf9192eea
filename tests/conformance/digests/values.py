"""Rows with a column of every type, and values that engines are known to write in different ways."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType

COMMON = (
    *("smallint", "integer", "bigint", "real", "double", "numeric(18,4)", "numeric(38,38)", "numeric(38,0)"),
    *("boolean", "varchar", "date", "timestamp", "timestamptz", "time", "timetz", "super", "varbyte"),
)
TEXTS: Mapping[str, Sequence[Any]] = {
    "smallint": [0, -32768, 32767],
    "integer": [0, -(2**31), 2**31 - 1],
    "bigint": [0, -(2**63), 2**63 - 1],
    "real": ["0", "-0.0", "1.5", "0.1", "3.4028235e+38", "1e-45", "1e20", "123456.5", "NaN", "Infinity", "-Infinity"],
    "double": ["0", "-0.0", "0.1", "1e300", "5e-324", "123456789012345680", "1e15", "1e-5", "NaN", "-Infinity"],
    "numeric(18,4)": [Decimal(0), Decimal("-0.05"), Decimal("99999999999999.9999"), Decimal("1.5")],
    "numeric(38,38)": [Decimal(0), Decimal("0." + "9" * 38), Decimal("-0." + "0" * 37 + "1")],
    "numeric(38,0)": [Decimal(0), Decimal("9" * 38), Decimal("-" + "9" * 38)],
    "boolean": [True, False],
    "varchar": ["", " ", "a  ", "\u00fc\U0001f642", "it's \\ \"", "line\nbreak", "x" * 3000],
    "char": ["", "a", "a  b"],
    "date": ["2024-02-29", "0001-01-01", "9999-12-31", "1582-10-14", "12024-01-01", "infinity", "-infinity"],
    "timestamp": [
        "2024-02-29 23:59:59.999999",
        "0001-01-01 00:00:00",
        "9999-12-31 12:00:00.5",
        "12024-06-01 01:02:03",
        "-infinity",
    ],
    "timestamptz": ["2024-02-29 23:59:59.999999+00", "0001-01-01 00:00:00+00", "2024-07-01 12:00:00.1+02", "infinity"],
    "time": ["00:00:00", "23:59:59.999999", "12:00:00.5"],
    "timetz": ["00:00:00+00", "10:00:00.5+02", "01:00:00-05:30", "23:59:59.999999+00"],
    "super": ['{"b": 1, "a": [1.50, null]}', "null", '"x"', "[]"],
    "varbyte": [b"", b"\x00\xff", b"ab" * 40_000],
    "uuid": ["00000000-0000-0000-0000-000000000000", "12345678-9abc-def0-1234-56789abcdef0"],
}


def schema_of(types: Sequence[str], key: Sequence[str] = ("id",)) -> RowSchema:
    """`id`, and a column c0, c1, … of each type."""
    columns = [Column("id", LogicalType.parse("bigint"))]
    columns += [Column(f"c{place}", LogicalType.parse(name)) for place, name in enumerate(types)]
    return RowSchema(columns=tuple(columns), key=tuple(key))


def nasty_rows(types: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each value, other columns NULL, and a row of NULLs."""
    rows: list[dict[str, Any]] = [{"id": 0}]
    for place, name in enumerate(types):
        rows += [{"id": len(rows) + n, f"c{place}": value} for n, value in enumerate(TEXTS[name])]
    return rows


_DIGITS = st.integers(min_value=-(10**17), max_value=10**17)
_MOMENTS = st.datetimes().map(lambda moment: moment.isoformat(" "))
STRATEGIES: Mapping[str, st.SearchStrategy[Any]] = {
    "smallint": st.integers(min_value=-(2**15), max_value=2**15 - 1),
    "integer": st.integers(min_value=-(2**31), max_value=2**31 - 1),
    "bigint": st.integers(min_value=-(2**63), max_value=2**63 - 1),
    "real": st.floats(width=32).map(repr),
    "double": st.floats().map(repr),
    "numeric(18,4)": _DIGITS.map(lambda digits: Decimal(digits).scaleb(-4)),
    "numeric(38,38)": _DIGITS.map(lambda digits: Decimal(digits).scaleb(-38)),
    "numeric(38,0)": _DIGITS.map(Decimal),
    "boolean": st.booleans(),
    "varchar": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    "char": st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12),
    "date": st.dates().map(lambda day: day.isoformat()),
    "timestamp": _MOMENTS,
    "timestamptz": _MOMENTS.map(lambda text: text + "+00"),
    "time": st.times().map(lambda moment: moment.isoformat()),
    "timetz": st.times().map(lambda moment: moment.isoformat() + "+00"),
    "super": st.sampled_from(TEXTS["super"]),
    "varbyte": st.binary(max_size=40),
    "uuid": st.uuids().map(str),
}


def rows_of(types: Sequence[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows of random values."""
    cells = {f"c{place}": st.none() | STRATEGIES[name] for place, name in enumerate(types)}
    return st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=12).map(
        lambda rows: [{"id": place, **row} for place, row in enumerate(rows)]
    )
