"""Infinite dates and timestamps in COPY's binary form, which the encoder does not know.

To COPY a date is a whole number of days since 2000, a timestamp one of microseconds; the outermost ones are infinite.
So a column that holds infinity is encoded as whole numbers: the bytes are the same, and staging has the column's type.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_shared.contracts.infinity import INFINITE_DAYS, INFINITE_MICROSECONDS

_EPOCH_DAYS: Final = 10_957  # from 1970 to 2000
_EPOCH_MICROSECONDS: Final = _EPOCH_DAYS * 86_400_000_000


def with_infinity(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with columns that hold infinity as PostgreSQL's whole numbers; ValueError for what it has none of."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_date32(field.type):
            numbers = _numbers(rows.column(place).cast(pa.int32()), INFINITE_DAYS, _EPOCH_DAYS)
        elif pa.types.is_timestamp(field.type):
            numbers = _numbers(rows.column(place).cast(pa.int64()), INFINITE_MICROSECONDS, _EPOCH_MICROSECONDS)
        else:
            continue
        if numbers is not None:
            rows = rows.set_column(place, pa.field(field.name, numbers.type), numbers)
    return rows


def _numbers(values: pa.Array, infinite: int, epoch: int) -> pa.Array | None:
    """Counted from 2000, infinity as PostgreSQL has it; None where there is none."""
    bounds = pc.min_max(values).as_py()
    if bounds["max"] != infinite and bounds["min"] != -infinite:
        return None
    plus, minus = pc.equal(values, infinite), pc.equal(values, -infinite)
    finite = pc.if_else(pc.or_(plus, minus), pa.scalar(None, values.type), values)
    shifted = pc.subtract_checked(finite, pa.scalar(epoch, values.type))
    least = int(np.iinfo(values.type.to_pandas_dtype()).min)
    told = pc.if_else(minus, pa.scalar(least, values.type), shifted)
    return pc.if_else(plus, pa.scalar(infinite, values.type), told)
