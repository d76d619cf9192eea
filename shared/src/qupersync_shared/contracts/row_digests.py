"""Digests of rows by which source and target are compared without moving the rows: the definition, in Python.

Every value has one **canonical text** in every engine. A row's digest is the MD5 over the MD5s (hexadecimal) of its
columns' texts in order, `-` for NULL; a range's sums add up the first and the next 60 bits of its rows' digests.

| type | canonical text | what it does not tell |
|---|---|---|
| smallint, integer, bigint | decimal digits | |
| numeric(p,s) | plain digits, all s of them | |
| real, double | 6 or 15 significant digits (`%g`), -0 as 0; `NaN`, `Infinity` | what is below those digits |
| boolean | `true`, `false` | |
| char, text in a key | without trailing blanks | |
| varchar | as it is | |
| date | `YYYY-MM-DD`, with ` BC`; `infinity` | |
| timestamp, timestamptz (in UTC) | `YYYY-MM-DD HH24:MI:SS.US BC` or `AD`; `infinity` | |
| time; timetz (in UTC) | on 2000-01-01: `DD HH24:MI:SS.US` | the zone of a timetz |
| varbyte | length, `:`, and the first 32,000 bytes in hexadecimal | bytes behind those |
| uuid | 32 hexadecimal digits | |
| super, and geometry of Redshift | only whether it is NULL (`Form.PRESENCE`) | everything else |

What digests do not tell is told by the **exact text** of rows that are looked at one by one; of JSON that is nested
deeper than 200 levels it tells no more than that.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_shared.contracts.infinity import INFINITE_DAYS, INFINITE_MICROSECONDS
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType

BYTES_SEEN: Final = 32_000
LEVELS_SEEN: Final = 200  # of JSON: the same on both sides, and well below what Python's stack holds
NULL: Final = "-"
UNTOLD: Final = "!"  # in place of an MD5 where an engine has no text for a value
PART_BITS: Final = 60
_PART_DIGITS: Final = PART_BITS // 4
_EXACT_DIGITS: Final = 16
_SIGNIFICANT: Final = {Kind.REAL: "%.6g", Kind.DOUBLE: "%.15g"}
_WORDS: Final = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN", "-0": "0"}
_TIME_WITH_ZONE: Final = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?([+-]\d\d)(?::?(\d\d))?(?::?(\d\d))?")
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_JSON_BRACKET: Final = re.compile(r"[\[\]{}]")
_EXACTLY: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_DAY: Final = 86_400_000_000
_FIRST_OF_2000: Final = np.datetime64("2000-01-01", "us")


class Form(StrEnum):
    """What of a column a digest covers: its value, its value without trailing blanks, or whether there is one."""

    VALUE = "value"
    TRIMMED = "trimmed"
    PRESENCE = "presence"


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestedColumn:
    """A column of the source and its form."""

    column: Column
    form: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """How many rows, and the sums over the two parts of their digests."""

    rows: int = 0
    first: int = 0
    second: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(rows=self.rows + other.rows, first=self.first + other.first, second=self.second + other.second)


def digested_columns(schema: RowSchema, opaque: frozenset[str] = frozenset()) -> tuple[DigestedColumn, ...]:
    """The columns with their forms; `opaque` names those that the source's engine cannot write as text."""
    return tuple(DigestedColumn(column=column, form=_form(column, schema, opaque)) for column in schema.columns)


def _form(column: Column, schema: RowSchema, opaque: frozenset[str]) -> Form:
    if column.type.kind is Kind.SUPER or column.name in opaque:
        return Form.PRESENCE
    trimmed = column.type.kind is Kind.CHAR or (column.type.is_text and column.name in schema.key)
    return Form.TRIMMED if trimmed else Form.VALUE


# ------------------------------------------------------------------------------------------------------------- digests


def row_digests(rows: pa.RecordBatch, columns: Sequence[DigestedColumn]) -> list[str]:
    """The digest of every row, 32 hexadecimal digits: the reference that every engine's must equal."""
    parts = [_column_digests(rows.column(one.column.name), one) for one in columns]
    return [_md5("".join(row)) for row in zip(*parts, strict=True)]


def sums_of(digests: Sequence[str]) -> Sums:
    """The sums over rows with these digests."""
    first = sum(int(digest[:_PART_DIGITS], 16) for digest in digests)
    second = sum(int(digest[_PART_DIGITS : 2 * _PART_DIGITS], 16) for digest in digests)
    return Sums(rows=len(digests), first=first, second=second)


def _column_digests(values: pa.Array, one: DigestedColumn) -> list[str]:
    if one.form is Form.PRESENCE:
        return [NULL if null else "+" for null in values.is_null().to_pylist()]
    return [NULL if text is None else _md5(text) for text in canonical_texts_of(values, one)]


def canonical_texts_of(values: pa.Array, one: DigestedColumn) -> list[str | None]:
    """The canonical text of every value of a column whose form is not `PRESENCE`; None for NULL."""
    logical = one.column.type
    match logical.kind:
        case Kind.REAL | Kind.DOUBLE:
            return [None if value is None else _rounded(value, logical.kind) for value in values.to_pylist()]
        case Kind.NUMERIC:
            return [None if value is None else f"{value:f}" for value in values.to_pylist()]
        case Kind.TIMETZ:
            return [None if text is None else _instant(text) for text in values.to_pylist()]
        case Kind.VARBYTE:
            return [None if v is None else f"{len(v)}:{v[:BYTES_SEEN].hex()}" for v in values.to_pylist()]
        case _:
            texts = plain_texts(values, logical)
            return [None if text is None else text.rstrip(" ") for text in texts] if one.form is Form.TRIMMED else texts


def _rounded(value: float, kind: Kind) -> str:
    text = _SIGNIFICANT[kind] % value
    return _WORDS.get(text, text)


def _instant(text: str) -> str:
    known = _TIME_WITH_ZONE.fullmatch(text)
    if known is None:
        return text
    micros, offset = _of_day(known)
    return _on_a_day(micros - offset)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


# --------------------------------------------------------------------------------------------------------- exact texts


def exact_texts(values: pa.Array, logical: LogicalType) -> list[str | None]:
    """The exact text of every value of a source's column; None for NULL."""
    if logical.kind in (Kind.REAL, Kind.DOUBLE, Kind.NUMERIC):
        texts = [None if value is None else str(value) for value in values.to_pylist()]
    elif logical.kind is Kind.VARBYTE:
        texts = [None if value is None else value.hex() for value in values.to_pylist()]
    else:
        texts = plain_texts(values, logical)
    return [None if text is None else normal_text(text, logical) for text in texts]


def normal_text(text: str, logical: LogicalType) -> str:
    """The exact text of a value that an engine wrote as `text`: two that are the same value have the same one."""
    try:
        return _NORMAL.get(logical.kind, str)(text)
    except (ValueError, InvalidOperation):
        return text  # a column of another type, altered by hand: its own text tells


def exact_digest(text: str | None, one: DigestedColumn, *, without_nul: bool = False) -> str | None:
    """A digest of an exact text, for comparison; None for NULL. `without_nul`: the owner has NUL bytes taken out."""
    if text is None:
        return None
    if one.form is Form.TRIMMED:
        text = text.rstrip(" ")
    return _md5(text.replace("\0", "") if without_nul else text)[:_EXACT_DIGITS]


def _normal_number(text: str) -> str:
    """With an exponent: some numbers have more zeros than memory has room for."""
    number = Decimal(text)
    if not number.is_finite():
        return str(number)
    return str(_EXACTLY.normalize(number)) if number else "0"


def _normal_float(text: str) -> str:
    return repr(float(text) + 0.0)


def _normal_json(text: str) -> str:
    if _levels(text) > LEVELS_SEEN:
        return f"more than {LEVELS_SEEN} levels"
    loaded = json.loads(text, parse_int=_Number, parse_float=_Number)
    return _written(loaded)


def _levels(text: str) -> int:
    """How deeply a JSON text is nested."""
    if text.count("[") + text.count("{") <= LEVELS_SEEN:
        return 0
    deepest = level = 0
    for bracket in _JSON_BRACKET.finditer(_JSON_STRING.sub("", text)):
        level += 1 if bracket[0] in "[{" else -1
        deepest = max(deepest, level)
    return deepest


class _Number(str):
    """A JSON number, in one spelling for each value."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, _normal_number(text))


def _written(value: Any) -> str:
    match value:
        case _Number():
            return str(value)
        case dict():
            members = (f"{json.dumps(name)}:{_written(value[name])}" for name in sorted(value))
            return "{" + ",".join(members) + "}"
        case list():
            return "[" + ",".join(map(_written, value)) + "]"
        case _:
            return json.dumps(value)


def _normal_time_with_zone(text: str) -> str:
    known = _TIME_WITH_ZONE.fullmatch(text)
    if known is None:
        return text
    micros, offset = _of_day(known)
    return f"{micros}@{offset}"


_NORMAL: Final[dict[Kind, Callable[[str], str]]] = {
    Kind.NUMERIC: _normal_number,
    Kind.SMALLINT: _normal_number,
    Kind.INTEGER: _normal_number,
    Kind.BIGINT: _normal_number,
    Kind.REAL: _normal_float,
    Kind.DOUBLE: _normal_float,
    Kind.SUPER: _normal_json,
    Kind.TIMETZ: _normal_time_with_zone,
}

# -------------------------------------------------------------------------------------------- texts from Arrow's values


def plain_texts(values: pa.Array, logical: LogicalType) -> list[str | None]:
    """Texts of types that have just one: canonical and exact at once."""
    match logical.kind:
        case Kind.DATE:
            return [None if days is None else _date(days) for days in values.cast(pa.int32()).to_pylist()]
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return [None if micros is None else _timestamp(micros) for micros in values.cast(pa.int64()).to_pylist()]
        case Kind.TIME:
            return [None if micros is None else _on_a_day(micros) for micros in values.cast(pa.int64()).to_pylist()]
        case Kind.UUID:
            return [None if value is None else value.hex() for value in values.to_pylist()]
        case Kind.BOOLEAN:
            return [None if value is None else str(value).lower() for value in values.to_pylist()]
        case _:
            texts: list[str | None] = pc.cast(values, pa.string()).to_pylist()
            return texts


def _date(days: int) -> str:
    if abs(days) == INFINITE_DAYS:
        return "infinity" if days > 0 else "-infinity"
    day, before = _civil(np.datetime64(days, "D"))
    return day + (" BC" if before else "")


def _timestamp(micros: int) -> str:
    if abs(micros) == INFINITE_MICROSECONDS:
        return "infinity" if micros > 0 else "-infinity"
    moment, before = _civil(np.datetime64(micros, "us"))
    return moment.replace("T", " ") + (" BC" if before else " AD")


def _civil(moment: np.datetime64) -> tuple[str, bool]:
    """ISO text with a year of at least four digits counted from 1 on, and whether it is before Christ."""
    text = str(moment)
    sign, rest = ("-", text[1:]) if text.startswith("-") else ("", text)
    year, _, tail = rest.partition("-")
    number = int(sign + year)
    return f"{number if number > 0 else 1 - number:04d}-{tail}", number < 1


def _on_a_day(micros: int) -> str:
    moment = str(_FIRST_OF_2000 + np.timedelta64(micros, "us"))
    return moment[len("2000-01-") :].replace("T", " ")


def _of_day(known: re.Match[str]) -> tuple[int, int]:
    """Microseconds of the day, and of the zone east of UTC."""
    hour, minute, second, fraction, zone, minutes, seconds = known.groups()
    micros = (int(hour) * 3600 + int(minute) * 60 + int(second)) * 1_000_000 + int((fraction or "").ljust(6, "0"))
    offset = (abs(int(zone)) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)) * 1_000_000
    return micros, -offset if zone.startswith("-") else offset
