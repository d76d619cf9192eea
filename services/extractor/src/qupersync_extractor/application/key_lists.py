"""Keys that came from outside, as encoded texts: checked against the source's columns, and as rows of Arrow."""

from collections.abc import Sequence
from datetime import time
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa

from qupersync_extractor.domain.timeline import TEMPORAL
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import scalar_at
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind, decode_key


def fitted_key(text: str, schema: RowSchema) -> Key:
    """The key in canonical form; ValueError saying why it cannot be a key of this schema."""
    return fitted(decode_key(text), schema)


def fitted(key: Key, schema: RowSchema) -> Key:
    """The same for a key that was decoded."""
    columns = schema.key_columns
    if len(key) != len(columns):
        raise ValueError(f"a key of {len(key)} values for the {len(columns)} key columns ({', '.join(schema.key)})")
    return tuple(fitted_scalar(scalar, column.type, column.name) for scalar, column in zip(key, columns, strict=True))


def fitted_scalar(scalar: Scalar, logical: LogicalType, name: str) -> Scalar:
    """The value in canonical form; ValueError saying why column `name` of this type cannot hold it."""
    if scalar.kind is not logical.scalar:
        raise ValueError(f"column {name!r} is {logical.name} now, and the value is of kind {scalar.kind}")
    try:
        canonical = scalar_at(_array([scalar.text], logical), logical, 0)
    except (pa.ArrowException, ValueError, OverflowError, InvalidOperation) as error:
        raise ValueError(f"column {name!r}, {logical.name}, cannot hold {scalar.text[:100]!r}: {error}") from error
    # NumPy takes more than canonical forms for a date: "now", for instance.
    if canonical is None or (canonical.text != scalar.text and scalar.kind in TEMPORAL):
        raise ValueError(f"column {name!r}, {logical.name}, cannot hold {scalar.text[:100]!r}")
    return canonical


def key_rows(keys: Sequence[Key], schema: RowSchema) -> pa.RecordBatch:
    """One row a key, its other columns NULL. The keys were fitted to the schema."""
    places = {name: place for place, name in enumerate(schema.key)}
    arrays = [
        _array([key[places[column.name]].text for key in keys], column.type)
        if column.name in places
        else pa.nulls(len(keys), column.type.arrow)
        for column in schema.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow())


def _array(texts: list[str], logical: LogicalType) -> pa.Array:
    """Canonical texts as values of the column: the inverse of `canonical_texts`."""
    values: list[Any]
    match logical.scalar:
        case ScalarKind.DATE:
            return pa.array(np.array(texts, dtype="datetime64[D]")).cast(logical.arrow)
        case ScalarKind.TIMESTAMP | ScalarKind.TIMESTAMPTZ:
            stamps = np.array([text.removesuffix("Z") for text in texts], dtype="datetime64[us]")
            return pa.array(stamps).cast(pa.int64()).cast(logical.arrow)
        case ScalarKind.BOOLEAN:
            values = [{"true": True, "false": False}.get(text, text) for text in texts]
        case ScalarKind.INT:
            values = [int(text) for text in texts]
        case ScalarKind.NUMERIC:
            values = [Decimal(text) for text in texts]
        case ScalarKind.TIME:
            values = [time.fromisoformat(text) for text in texts]
        case ScalarKind.UUID | ScalarKind.BYTES:
            values = [bytes.fromhex(text) for text in texts]
        case _:
            values = list(texts)
    return pa.array(values, logical.arrow)
