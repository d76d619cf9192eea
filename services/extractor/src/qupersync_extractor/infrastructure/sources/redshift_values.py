"""Rows as the driver decodes them, turned into Arrow columns: the slow half of the seam between fetching and Arrow.

What arrives: numbers and booleans as Python's, NUMERIC as Decimal, dates and times as text (see `redshift_sql`),
SUPER as JSON text, VARBYTE as hexadecimal digits.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.refused import Refusals
from qupersync_extractor.infrastructure.sources.time_text import arrow, dates, times, timestamps
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind

Row = Sequence[Any]


def to_batch(rows: Sequence[Row], schema: RowSchema, *, cursor: str | None = None) -> pa.RecordBatch:
    """The rows with exactly the columns of the schema, and those told that hold what cannot travel (`refused`)."""
    refusals = Refusals(schema, len(rows), cursor=cursor)
    # Not zip(*rows): one iterator for each row makes the garbage collector walk the whole page.
    arrays = [_column(refusals, schema, place, [row[place] for row in rows]) for place in range(len(schema.columns))]
    return refusals.batch(arrays)


def to_array(values: Sequence[Any] | pa.Array, column: Column, *, in_key: bool) -> pa.Array:
    """One column in its Arrow type, from Python's values or Arrow's; UnholdableError or Arrow's errors for what does
    not fit.

    CHAR is padded with blanks, which are no part of its value; text in a key has its canonical form.
    """
    kind = column.type.kind
    if kind is Kind.CHAR or (kind is Kind.VARCHAR and in_key):
        return pc.utf8_rtrim(arrow(values, pa.string()), characters=" ")
    match kind:
        case Kind.DATE:
            return dates(values)
        case Kind.TIME:
            return times(values)
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return timestamps(values, zone=kind is Kind.TIMESTAMPTZ)
        case Kind.VARBYTE:
            return pa.array([None if value is None else bytes.fromhex(value) for value in values], pa.binary())
        case _:
            return arrow(values, column.type.arrow)


def _column(refusals: Refusals, schema: RowSchema, place: int, values: Sequence[Any]) -> pa.Array:
    column = schema.columns[place]
    in_key = column.name in schema.key
    return refusals.column(column, lambda start, end: to_array(values[start:end], column, in_key=in_key))
