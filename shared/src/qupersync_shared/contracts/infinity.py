"""Infinite dates and timestamps: Redshift, DuckDB and PostgreSQL know them, Arrow does not.

They travel as the outermost numbers of their Arrow type, which are no moment in any of the three databases: 2^63 - 1
and -(2^63 - 1) microseconds, 2^31 - 1 and -(2^31 - 1) days.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_shared.contracts.types import Kind

INFINITE_MICROSECONDS: Final = (1 << 63) - 1
INFINITE_DAYS: Final = (1 << 31) - 1
INFINITE_TEXTS: Final = {"infinity": 1, "-infinity": -1}

_NUMBERS: Final[dict[Kind, tuple[pa.DataType, int]]] = {
    Kind.DATE: (pa.int32(), INFINITE_DAYS),
    Kind.TIMESTAMP: (pa.int64(), INFINITE_MICROSECONDS),
    Kind.TIMESTAMPTZ: (pa.int64(), INFINITE_MICROSECONDS),
}


def has_infinity(values: pa.Array, kind: Kind) -> bool:
    """Whether a column of this kind, in its Arrow type, holds an infinite date or timestamp."""
    known = _NUMBERS.get(kind)
    if known is None or not len(values):
        return False
    number, infinite = known
    bounds = pc.min_max(values.cast(number))
    return bool(bounds["max"].as_py() == infinite or bounds["min"].as_py() == -infinite)


def plain(scalar: pa.Scalar) -> Any:
    """A value as Python has it; as text where Python has none: infinite, or beyond the years 1 to 9999."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        pass
    of_days = pa.types.is_date32(scalar.type)
    infinite = INFINITE_DAYS if of_days else INFINITE_MICROSECONDS
    for word, sign in INFINITE_TEXTS.items():
        if scalar.value == sign * infinite:
            return word
    # Arrow writes no year beyond 32767.
    moment = np.datetime64(scalar.value, "D") if of_days else np.datetime64(scalar.value, "us")
    text = str(moment).replace("T", " ")
    return text + "Z" if getattr(scalar.type, "tz", None) else text


def plain_row(rows: pa.RecordBatch, index: int) -> dict[str, Any]:
    """One row, each value as `plain` has it."""
    return {name: plain(rows.column(place)[index]) for place, name in enumerate(rows.schema.names)}
