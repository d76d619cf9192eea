"""The texts of a target's values for digests, as PostgreSQL writes them. The session's time zone is UTC, dates are ISO.

A column may be wider than the source's type, or of quite another one after somebody altered it: where it is neither the
type we would make nor one that is known to hold its values, its own text is what is compared.
"""

from collections.abc import Mapping
from typing import Final

from qupersync_loader.infrastructure.postgres.names import quote
from qupersync_shared.contracts.row_digests import BYTES_SEEN, NULL, UNTOLD, DigestedColumn, Form
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import Kind

_INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})
_NUMBERS: Final = frozenset({Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT, Kind.NUMERIC})
_AS_IT_IS: Final = "{}::text"
_MOMENT: Final = "'YYYY-MM-DD HH24:MI:SS.US BC'"
_OF_DAY: Final = "'DD HH24:MI:SS.US'"
_IS_REAL: Final = "abs({}) BETWEEN 1.4e-45 AND 3.4028235e38 OR {} IN (0, 'Infinity', '-Infinity', 'NaN')"

# By the source's kind and the column's type as it is, `{}` being the column.
_CANONICAL: Final[dict[tuple[Kind, str], str]] = {
    (Kind.REAL, "real"): "({} + 0::real)::text",
    (Kind.REAL, "double precision"): f"CASE WHEN {_IS_REAL} THEN ({{}}::real + 0::real)::text ELSE {{}}::text END",
    (Kind.DOUBLE, "double precision"): "({} + 0)::text",
    (Kind.TIMESTAMP, "timestamp without time zone"): f"coalesce(to_char({{}}, {_MOMENT}), {{}}::text)",
    (Kind.TIMESTAMPTZ, "timestamp with time zone"): (
        f"coalesce(to_char({{}} AT TIME ZONE 'UTC', {_MOMENT}), {{}}::text)"
    ),
    (Kind.TIME, "time without time zone"): f"to_char(date '2000-01-01' + {{}}, {_OF_DAY})",
    (Kind.TIMETZ, "time with time zone"): f"to_char((date '2000-01-01' + {{}}) AT TIME ZONE 'UTC', {_OF_DAY})",
    (Kind.VARBYTE, "bytea"): f"length({{}})::text || ':' || encode(substr({{}}, 1, {BYTES_SEEN}), 'hex')",
    (Kind.UUID, "uuid"): "replace({}::text, '-', '')",
}
_OF_KEYS: Final[dict[tuple[Kind, str], str]] = {
    (Kind.TIME, "time without time zone"): "to_char({}::interval, 'HH24:MI:SS.US')",
    (Kind.VARBYTE, "bytea"): "encode({}, 'hex')",
    (Kind.UUID, "uuid"): "replace({}::text, '-', '')",
}
_DATED: Final[dict[tuple[Kind, str], str]] = {
    (Kind.DATE, "date"): "'-MM-DD'",
    (Kind.TIMESTAMP, "timestamp without time zone"): "'-MM-DD HH24:MI:SS.US'",
    (Kind.TIMESTAMPTZ, "timestamp with time zone"): "'-MM-DD HH24:MI:SS.US'",
}

Types = Mapping[str, str]
"""The type of every column of the table, as `format_type` prints it."""


def row_digest(columns: tuple[DigestedColumn, ...], types: Types) -> str:
    """The digest of row `t`; floats as `extra_float_digits = 0` writes them."""
    parts = [_column_digest(one, types[one.column.name]) for one in columns]
    return f"md5({' || '.join(parts)})"


def _column_digest(one: DigestedColumn, found: str) -> str:
    place = f"t.{quote(one.column.name)}"
    if one.form is Form.PRESENCE:
        return f"CASE WHEN {place} IS NULL THEN '{NULL}' ELSE '+' END"
    text = canonical_text(one, found)
    return f"CASE WHEN {place} IS NULL THEN '{NULL}' ELSE coalesce(md5({text}), '{UNTOLD}') END"


def canonical_text(one: DigestedColumn, found: str) -> str:
    """The canonical text of a column of row `t` (contract: `row_digests`)."""
    column = one.column
    place = f"t.{quote(column.name)}"
    if one.form is Form.TRIMMED:
        return f"rtrim({place}::text, ' ')"
    if column.type.kind in _NUMBERS and (found in _INTEGERS or _is_numeric(found)):
        return _number(place, column.type.scale or 0, found)
    return _CANONICAL.get((column.type.kind, found), _AS_IT_IS).replace("{}", place)


def exact_text(one: DigestedColumn, found: str) -> str:
    """The exact text of a column of row `t`; floats as `extra_float_digits = 1` writes them."""
    place = f"t.{quote(one.column.name)}"
    match one.column.type.kind:
        case Kind.REAL | Kind.DOUBLE if found in {"real", "double precision"}:
            return f"{place}::double precision::text"
        case Kind.VARBYTE if found == "bytea":
            return f"encode({place}, 'hex')"
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ | Kind.TIME | Kind.UUID:
            return canonical_text(one, found)
        case _:
            return f"{place}::text"


def key_text(column: Column, found: str) -> str:
    """A key's value of row `t` as the canonical form of keys (`Scalar`) writes it."""
    place = f"t.{quote(column.name)}"
    if column.type.kind in _NUMBERS and _is_numeric(found):
        return f"trim_scale({place})::text"
    pattern = _DATED.get((column.type.kind, found))
    if pattern is not None:
        zoned = column.type.kind is Kind.TIMESTAMPTZ
        return _with_year(f"({place} AT TIME ZONE 'UTC')" if zoned else place, pattern) + (" || 'Z'" if zoned else "")
    return _OF_KEYS.get((column.type.kind, found), _AS_IT_IS).replace("{}", place)


def _number(place: str, scale: int, found: str) -> str:
    if found in _INTEGERS and not scale:
        return f"{place}::text"
    finer = f"min_scale({place}::numeric) > {scale}"
    return f"CASE WHEN {finer} THEN {place}::text ELSE round({place}::numeric, {scale})::text END"


def _with_year(place: str, rest: str) -> str:
    """Year 1 BC is the year 0000, 2 BC is -0001."""
    year = f"extract(year FROM {place})::int"
    before = f"CASE {year} WHEN -1 THEN '' ELSE '-' END || lpad((-1 - {year})::text, 4, '0')"
    whole = f"CASE WHEN {year} < 0 THEN {before} ELSE to_char({place}::timestamp, 'YYYY') END"
    return f"CASE WHEN isfinite({place}) THEN {whole} || to_char({place}::timestamp, {rest}) ELSE {place}::text END"


def _is_numeric(found: str) -> bool:
    return found == "numeric" or found.startswith("numeric(")
