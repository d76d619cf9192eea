"""A target's key values in the canonical form of keys (`Scalar`), as PostgreSQL writes them in UTC with ISO dates."""

from collections.abc import Mapping
from typing import Final

from qupersync_shared.contracts.types import Kind, LogicalType

NUMBERS: Final = frozenset({Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT, Kind.NUMERIC})
_FORMS: Final[Mapping[tuple[Kind, str], str]] = {
    (Kind.TIME, "time without time zone"): "to_char({}::interval, 'HH24:MI:SS.US')",
    (Kind.VARBYTE, "bytea"): "encode({}, 'hex')",
    (Kind.UUID, "uuid"): "replace({}::text, '-', '')",
}
_DATED: Final[Mapping[tuple[Kind, str], str]] = {
    (Kind.DATE, "date"): "'-MM-DD'",
    (Kind.TIMESTAMP, "timestamp without time zone"): "'-MM-DD HH24:MI:SS.US'",
    (Kind.TIMESTAMPTZ, "timestamp with time zone"): "'-MM-DD HH24:MI:SS.US'",
}


def key_text(place: str, logical: LogicalType, found: str) -> str:
    """The text of a key column of this type; `found` is the target column's own type, as `format_type` prints it."""
    if logical.kind in NUMBERS and is_numeric(found):
        return f"trim_scale({place})::text"
    pattern = _DATED.get((logical.kind, found))
    if pattern is not None:
        zoned = logical.kind is Kind.TIMESTAMPTZ
        return _with_year(f"({place} AT TIME ZONE 'UTC')" if zoned else place, pattern) + (" || 'Z'" if zoned else "")
    return _FORMS.get((logical.kind, found), "{}::text").replace("{}", place)


def fitted_key_text(place: str, logical: LogicalType) -> str:
    """The same where the table is known to fit, so that the column can only be wider in its numbers."""
    return key_text(place, logical, "numeric" if logical.kind in NUMBERS else logical.postgres)


def is_numeric(found: str) -> bool:
    return found == "numeric" or found.startswith("numeric(")


def _with_year(place: str, rest: str) -> str:
    """Year 1 BC is the year 0000, 2 BC is -0001."""
    year = f"extract(year FROM {place})::int"
    before = f"CASE {year} WHEN -1 THEN '' ELSE '-' END || lpad((-1 - {year})::text, 4, '0')"
    whole = f"CASE WHEN {year} < 0 THEN {before} ELSE to_char({place}::timestamp, 'YYYY') END"
    return f"CASE WHEN isfinite({place}) THEN {whole} || to_char({place}::timestamp, {rest}) ELSE {place}::text END"
