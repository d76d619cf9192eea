"""DataRows in bulk: finding their ends, and NUMERIC values as Redshift's protocol 2 sends them (scaled integers).

The hot path of the stand-in: no objects per row, no await per row.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from qupersync_local.standin.wire import NUMERIC, Column

_LENGTH = struct.Struct("!i")
_HEAD = struct.Struct("!hhH")  # digits, weight, sign; the display scale that follows is not needed
_DIGITS = tuple(struct.Struct(f"!{count}H") for count in range(64))
_POWERS = tuple(10**exponent for exponent in range(400))
_NEGATIVE = 0x4000
_BASE_DIGITS = 4
_HEAD_BYTES = 8


class NotANumberError(ValueError):
    """NaN or an infinity in a NUMERIC column: Redshift has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericColumn:
    """Where the next NUMERIC of a row is and what becomes of it."""

    skip: int  # columns between the previous NUMERIC (or the beginning) and this one
    scale: int
    width: int


def numeric_columns(columns: Sequence[Column]) -> tuple[NumericColumn, ...]:
    """The NUMERIC columns that arrive in binary, in the order of the row."""
    found, previous = [], -1
    for index, column in enumerate(columns):
        if column.type == NUMERIC and column.format == 1:
            found.append(NumericColumn(skip=index - previous - 1, scale=column.scale, width=column.width))
            previous = index
    return tuple(found)


def rows_end(buffer: bytes, start: int, stop: int, rows_max: int) -> tuple[int, int]:
    """Where the DataRows that begin at `start` end (complete ones, at most `rows_max`), and how many they are."""
    place, rows = start, 0
    from_bytes = int.from_bytes
    while rows < rows_max and place + 5 <= stop and buffer[place] == 68:  # noqa: PLR2004 - D, DataRow
        end = place + 1 + from_bytes(buffer[place + 1 : place + 5], "big")
        if end > stop:
            break
        place = end
        rows += 1
    return place, rows


def scaled(buffer: bytes, place: int, scale: int) -> int:
    """PostgreSQL's binary NUMERIC at `place` as an integer of units of 10^-scale."""
    count, weight, sign = _HEAD.unpack_from(buffer, place)
    if sign > _NEGATIVE:
        raise NotANumberError("NaN and infinities do not exist in Redshift's NUMERIC")
    number: int = 0
    if count < len(_DIGITS):
        for digit in _DIGITS[count].unpack_from(buffer, place + _HEAD_BYTES):
            number = number * 10000 + digit
    exponent = _BASE_DIGITS * (weight - count + 1) + scale
    number = number * _POWERS[exponent] if exponent >= 0 else number // _POWERS[-exponent]
    return -number if sign else number


def rescaled(buffer: bytes, start: int, stop: int, plan: Sequence[NumericColumn]) -> bytes:
    """The DataRows between `start` and `stop` with each NUMERIC of `plan` as a scaled integer."""
    steps = [(range(column.skip), column.scale, column.width, _LENGTH.pack(column.width)) for column in plan]
    unpack, pack = _LENGTH.unpack_from, _LENGTH.pack
    parts: list[bytes] = []
    add = parts.append
    place = start
    while place < stop:
        (size,) = unpack(buffer, place + 1)
        end = place + 1 + size
        kept = place + 5  # from here on nothing has been copied yet
        head = len(parts)
        add(b"")
        at = place + 7
        for skip, scale, width, prefix in steps:
            for _ in skip:
                (length,) = unpack(buffer, at)
                at += 4 + length if length > 0 else 4
            (length,) = unpack(buffer, at)
            if length < 0:
                at += 4
                continue
            add(buffer[kept:at])
            add(prefix)
            add(scaled(buffer, at + 4, scale).to_bytes(width, "big", signed=True))
            size += width - length
            at += 4 + length
            kept = at
        add(buffer[kept:end])
        parts[head] = b"D" + pack(size)
        place = end
    return b"".join(parts)
