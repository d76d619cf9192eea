"""Rows of a read that hold a value which no event can carry: found one by one, so that the rest of the page travels.

A source tells them in a last column of its batch, `_qs_refused`, which is there only where there is such a row: its
value says why, and the value that is refused stands as NULL. Their keys are withheld from the page's events.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from qupersync_shared.contracts.infinity import has_infinity
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.kernel.errors import TerminalError

REFUSED_COLUMN: Final = "_qs_refused"
CURE: Final = "Mend the value at the source, or leave the column out or cast it in a query"
_REASON_MAX: Final = 500
_VALUES: Final = re.compile(r"'[^']*'|\"[^\"]*\"|(?<!\w)[-+]?\d[\d_.,]*(?:[eE][-+]?\d+)?")
_ERRORS: Final = (pa.ArrowException, ValueError, TypeError, OverflowError)

Convert = Callable[[int, int], pa.Array]


class Refusals:
    """Turns the columns of one page into Arrow, and remembers which rows hold what cannot be turned."""

    def __init__(self, schema: RowSchema, count: int, *, cursor: str | None = None) -> None:
        self._schema = schema
        self._count = count
        self._named = frozenset(schema.key) | ({cursor} if cursor is not None else frozenset())
        self._reasons: dict[int, str] = {}

    def column(self, column: Column, convert: Convert) -> pa.Array:
        """`convert(start, end)` of all rows, with NULL where it fails for a row alone.

        TerminalError where that row's key or cursor is refused: nobody could say which row it is, or where it stands.
        """
        named = column.name in self._named
        try:
            array = convert(0, self._count)
            if named and has_infinity(array, column.type.kind):
                raise ValueError("infinity is no place in an order of rows")
        except _ERRORS as error:
            if named:
                raise TerminalError(_reason(column, error), cure=CURE) from error
        else:
            return array
        parts, pending = [], [(0, self._count)]
        while pending:
            start, end = pending.pop()
            try:
                parts.append(convert(start, end))
            except _ERRORS as error:
                if end - start > 1:
                    middle = (start + end) // 2
                    pending += [(middle, end), (start, middle)]
                    continue
                self._reasons.setdefault(start, _reason(column, error))
                parts.append(pa.nulls(1, column.type.arrow))
        return pa.concat_arrays(parts)

    def batch(self, arrays: list[pa.Array]) -> pa.RecordBatch:
        """The page: the schema's columns, and why rows are refused if some are."""
        return with_refusals(pa.RecordBatch.from_arrays(arrays, schema=self._schema.arrow()), self._reasons)


def with_refusals(batch: pa.RecordBatch, reasons: Mapping[int, str]) -> pa.RecordBatch:
    """The batch with the reasons of its refused rows (by index) in a last column; as it is if there are none."""
    if not reasons:
        return batch
    told = pa.array([reasons.get(index) for index in range(batch.num_rows)], pa.string())
    return batch.append_column(pa.field(REFUSED_COLUMN, pa.string()), told)


def without_refusals(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Array | None]:
    """The batch without that column, and the column."""
    if REFUSED_COLUMN not in batch.schema.names:
        return batch, None
    place = batch.schema.get_field_index(REFUSED_COLUMN)
    return batch.remove_column(place), batch.column(place)


def without_values(words: str) -> str:
    """The words without the numbers and quoted texts that may be a row's values: they do not belong in logs."""
    return _VALUES.sub("…", words)


def _reason(column: Column, error: Exception) -> str:
    words = without_values(str(error))
    shown = words if len(words) <= _REASON_MAX else words[: _REASON_MAX - 1] + "…"
    return f"column {column.name!r} holds what {column.type.name} cannot carry: {shown}"
