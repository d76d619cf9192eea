"""Rows as the driver decodes them, turned into Arrow columns: the slow half of the seam between fetching and Arrow.

What arrives: numbers and booleans as Python's, NUMERIC as Decimal, dates and times as text (see `redshift_sql`),
SUPER as JSON text, VARBYTE as hexadecimal digits.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.infrastructure.sources.time_text import UnholdableError, arrow, dates, times, timestamps
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind
from qupersync_shared.kernel.errors import TerminalError

Row = Sequence[Any]


def to_batch(rows: Sequence[Row], schema: RowSchema) -> pa.RecordBatch:
    """The rows with exactly the columns of the schema; TerminalError naming column and key of what cannot travel."""
    # Not zip(*rows): one iterator for each row makes the garbage collector walk the whole page.
    arrays = [_column(rows, schema, place, [row[place] for row in rows]) for place in range(len(schema.columns))]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow())


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


def _column(rows: Sequence[Row], schema: RowSchema, place: int, values: Sequence[Any]) -> pa.Array:
    column = schema.columns[place]
    try:
        return to_array(values, column, in_key=column.name in schema.key)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        where = f" (key {_key(rows[error.index], schema)})" if isinstance(error, UnholdableError) else ""
        raise TerminalError(
            f"column {column.name!r} holds what {column.type.name} cannot carry: {error}{where}",
            cure="Mend the value at the source, or leave the column out or cast it in a query",
        ) from error


def _key(row: Row, schema: RowSchema) -> str:
    return ", ".join(str(row[schema.names.index(name)]) for name in schema.key)
