"""The texts of a target's values for digests, as PostgreSQL writes them. The session's time zone is UTC, dates are ISO.

A column may be wider than the source's type, or of quite another one after somebody altered it: where it is neither the
type we would make nor one that is known to hold its values, its own text is what is compared.
"""

from collections.abc import Mapping
from typing import Final

from qupersync_loader.infrastructure.postgres.key_text import NUMBERS, is_numeric
from qupersync_loader.infrastructure.postgres.names import quote
from qupersync_shared.contracts.row_digests import BYTES_SEEN, NULL, UNTOLD, DigestedColumn, Form
from qupersync_shared.contracts.types import Kind

_INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})
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
    if column.type.kind in NUMBERS and (found in _INTEGERS or is_numeric(found)):
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


def _number(place: str, scale: int, found: str) -> str:
    if found in _INTEGERS and not scale:
        return f"{place}::text"
    finer = f"min_scale({place}::numeric) > {scale}"
    return f"CASE WHEN {finer} THEN {place}::text ELSE round({place}::numeric, {scale})::text END"
