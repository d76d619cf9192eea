"""The statement that finds quarantined keys within a page's range, however many wait. Pure text."""

from qupersync_loader.infrastructure.postgres.statements import parameter
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.kernel.positions import ScalarKind

_MOMENTS = frozenset({ScalarKind.DATE, ScalarKind.TIMESTAMP, ScalarKind.TIMESTAMPTZ})
_NUMBERS = frozenset({ScalarKind.INT, ScalarKind.NUMERIC})
_YEAR_MAX = 294_276  # the last that PostgreSQL knows
# JSON with a NUL in it becomes no text, nor jsonb: an odd number of backslashes makes it one.
_NUL = r"strpos(key, '\u0000') > 0 AND key ~ '[^\\](\\\\)*\\u0000'"


def quarantined_in_range(schema: RowSchema, *, after: int, upto: int) -> str:
    """Rows (`id`, `key`) of one lane that wait in quarantine and whose key a range covers.

    $1 group, $2 pipeline, $3 lanes, $4 lane, $5 whether keys that are not of this schema count too, then the texts of
    the lower and of the upper bound; `after` and `upto` say how many columns a bound has, 0: there is none. Of a key
    that is `unread`, because no target can hold it, only the caller can tell whether it is of this schema.
    """
    columns = schema.key_columns
    kinds = " AND ".join(f"q.parts -> {i} ->> 0 = '{_kind(column)}'" for i, column in enumerate(columns))
    storable = " AND ".join(("true", *(_storable(column, i) for i, column in enumerate(columns))))
    return (
        "SELECT q.id, q.key, q.parts IS NULL AS unread FROM ("  # noqa: S608  # numbers, and kinds of the contract
        f"SELECT id, key, CASE WHEN {_NUL} THEN NULL ELSE key::jsonb -> 'key' END AS parts "
        "FROM public.qupersync_quarantine "
        "WHERE group_name = $1 AND pipeline = $2 AND resolved_at IS NULL AND mod(slot, $3) = $4 "
        "OFFSET 0) AS q WHERE CASE "  # the fence: every key is read once
        "WHEN q.parts IS NULL THEN $5::boolean "
        f"WHEN NOT (jsonb_array_length(q.parts) = {len(columns)} AND {kinds}) THEN $5::boolean "
        f"WHEN NOT ({storable}) THEN false "
        f"ELSE {_within(columns, after=after, upto=upto)} END"
    )


def _kind(column: Column) -> str:
    if column.type.scalar is None:
        raise ValueError(f"column {column.name!r} cannot be a key")
    return column.type.scalar.value


def _text(place: int) -> str:
    return f"(q.parts -> {place} ->> 1)"


def _storable(column: Column, place: int) -> str:
    """Whether PostgreSQL can have the value: of moments, all whose years it knows."""
    if column.type.scalar not in _MOMENTS:
        return "true"
    year = f"split_part({_text(place)}, '-', 1)"
    return f"CASE WHEN {year} ~ '^[0-9]{{1,6}}$' THEN {year}::integer <= {_YEAR_MAX} ELSE false END"


def _own(column: Column, place: int) -> str:
    """The value of a key that came when its column may have been wider."""
    if column.type.scalar in _NUMBERS:
        return f"{_text(place)}::numeric"
    return parameter(column, _text(place))


def _within(columns: tuple[Column, ...], *, after: int, upto: int) -> str:
    conditions = ["true"]
    number = 6
    for width, operator in ((after, ">"), (upto, "<=")):
        if width:
            bounds = [parameter(column, f"${number + i}::text") for i, column in enumerate(columns[:width])]
            own = ", ".join(_own(column, i) for i, column in enumerate(columns[:width]))
            conditions.append(f"({own}) {operator} ({', '.join(bounds)})")
            number += width
    return " AND ".join(conditions)
