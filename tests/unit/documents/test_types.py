"""The table of types in docs/types.md says what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from qupersync_extractor.infrastructure.sources import duckdb_types, redshift_types
from qupersync_extractor.infrastructure.sources.redshift_types import DescribedColumn
from qupersync_shared.contracts.types import Kind, LogicalType

TEXT = (Path(__file__).parents[3] / "docs/types.md").read_text("utf-8")
# Names of Redshift's types, as people write them, and their numbers on the wire.
REDSHIFT = {
    "boolean": 16, '"char"': 18, "name": 19, "bigint": 20, "smallint": 21, "integer": 23, "text": 25, "oid": 26,
    "real": 700, "double precision": 701, "unknown": 705, "char": 1042, "varchar": 1043, "date": 1082, "time": 1083,
    "timestamp": 1114, "timestamptz": 1184, "interval": 1186, "interval year to month": 1188,
    "interval day to second": 1190, "timetz": 1266, "numeric": 1700, "geometry": 3000, "geography": 3001,
    "geometryhex": 3999, "super": 4000, "varbyte": 6551,
}  # fmt: skip
# One of each of DuckDB's types that needs more than its name to be made.
DUCKDB = {
    "DECIMAL": "DECIMAL(7,3)", "ENUM": "ENUM('a')", "LIST": "INTEGER[]", "ARRAY": "INTEGER[2]",
    "STRUCT": "STRUCT(a INTEGER)", "MAP": "MAP(INTEGER, INTEGER)", "UNION": "UNION(a INTEGER)",
}  # fmt: skip


def rows() -> Iterator[tuple[list[str], list[str], Kind, str, str]]:
    """Redshift's types, DuckDB's, and what they become."""
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[2].startswith("`"):
            redshift, duck = (re.findall(r"`([^`]+)`", cell) for cell in cells[:2])
            logical, arrow, postgres = (cell.strip("`") for cell in cells[2:5])
            yield redshift, duck, Kind(logical.partition("(")[0]), arrow, postgres


TABLE = list(rows())


def test_every_logical_type_has_one_line() -> None:
    assert sorted(kind for *_, kind, _, _ in TABLE) == sorted(Kind)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[2])
def test_what_it_travels_as_and_becomes(row: Any) -> None:
    *_, kind, arrow, postgres = row
    numeric = kind is Kind.NUMERIC
    logical = LogicalType(kind, 12, 5) if numeric else LogicalType(kind)
    said = (arrow.replace("p, s", "12, 5"), postgres.replace("p,s", "12,5")) if numeric else (arrow, postgres)
    assert (str(logical.arrow), logical.postgres) == said


def test_every_type_of_redshift_is_in_its_line() -> None:
    said = {REDSHIFT[name]: kind for names, _, kind, _, _ in TABLE for name in names}
    assert set(said) == set(redshift_types.KINDS) | {redshift_types.NUMERIC}
    for oid, kind in said.items():
        modifier = (12 << 16) + 5 + 4 if oid == redshift_types.NUMERIC else -1
        found = redshift_types.logical_type(DescribedColumn(name="c", oid=oid, modifier=modifier))
        assert found.kind is kind, oid


def test_every_type_of_duckdb_is_in_its_line() -> None:
    said = {name: kind for _, names, kind, _, _ in TABLE for name in names}
    assert set(said) == {name.upper() for name in duckdb_types.TYPES} | {"DECIMAL", "JSON"}
    with duckdb.connect() as connection:
        for name, kind in said.items():
            if name == "TUPLE":
                (found,) = connection.sql("SELECT row(1, 2)").types
            else:
                (found,) = connection.sql(f"SELECT CAST(NULL AS {DUCKDB.get(name, name)})").types
            assert duckdb_types.logical_type("c", found).kind is kind, name
