"""Slots and lanes: which lane a row's key belongs to, for ever and in every language.

A slot is XXH64 (seed 0) of the key's canonical bytes, modulo 4096. Canonical bytes are the netstrings
(`<bytes>:<text>,`) of the key columns' canonical texts (`Scalar`), joined in the key's order. lane = slot mod lanes.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.positions import Key, Scalar

SLOTS: Final = 4096


def slot_of_key(key: Key) -> int:
    """The slot of one key, 0 to 4095: the reference that `slots_of` must equal."""
    return xxhash.xxh64_intdigest(canonical_bytes(key)) % SLOTS


def canonical_bytes(key: Key) -> bytes:
    """The netstrings of the key's canonical texts, joined."""
    texts = [scalar.text.encode() for scalar in key]
    return b"".join(b"%d:%s," % (len(text), text) for text in texts)


def lane_of_slot(slot: int, lanes: int) -> int:
    """The lane of a slot, in loader, extractor and SQL alike."""
    return slot % lanes


def canonical_keys(rows: pa.RecordBatch | pa.Table, schema: RowSchema) -> pa.Array:
    """The canonical bytes of every row's key, as an Arrow string array; ValueError if a key holds a NULL."""
    parts: list[pa.Array] = []
    for column in schema.key_columns:
        text = canonical_texts(_flat(rows.column(column.name)), column.type)
        if text.null_count:
            raise ValueError(f"key column {column.name!r} holds NULL")
        length = pc.cast(pc.binary_length(text), pa.string())
        parts += [length, _repeat(":", len(text)), text, _repeat(",", len(text))]
    return pc.binary_join_element_wise(*parts, "")


def slots_of(canonical: pa.Array) -> np.ndarray:
    """The slots of canonical keys, as int16."""
    digest: Callable[[bytes], int] = xxhash.xxh64_intdigest
    values = canonical.cast(pa.binary()).to_pylist()
    return np.fromiter((digest(value) % SLOTS for value in values), dtype=np.int16, count=len(values))


def canonical_texts(values: pa.Array, logical: LogicalType) -> pa.Array:
    """The canonical text of every value (NULL stays NULL); the vectorised twin of `Scalar`'s description."""
    match logical.kind:
        case Kind.CHAR | Kind.VARCHAR:
            return pc.utf8_rtrim(values, characters=" ")
        case Kind.NUMERIC:
            return _canonical_numerics(values, logical)
        case Kind.VARBYTE | Kind.UUID:
            return pa.array([None if v is None else v.hex() for v in values.to_pylist()], pa.string())
        case _ if logical.scalar is None:
            raise ValueError(f"a column of type {logical.name} cannot be a key or a cursor")
        case _:
            text = pc.cast(values, pa.string())
            # Arrow writes years beyond 32767 as "<value out of range: …>": no key, and no two of them alike.
            if pc.any(pc.starts_with(text, "<")).as_py():
                raise ValueError(f"a {logical.name} beyond the year 32767 cannot be a key or a cursor")
            return text


def scalar_at(values: pa.Array, logical: LogicalType, index: int) -> Scalar | None:
    """One value of a key or cursor column in canonical form; None for NULL."""
    text = canonical_texts(values.slice(index, 1), logical)[0].as_py()
    if text is None:
        return None
    if logical.scalar is None:
        raise ValueError(f"a column of type {logical.name} cannot be a key or a cursor")
    return Scalar(logical.scalar, text)


def key_at(rows: pa.RecordBatch | pa.Table, schema: RowSchema, index: int) -> Key:
    """The key of one row; ValueError if it holds a NULL."""
    scalars = [scalar_at(_flat(rows.column(c.name)), c.type, index) for c in schema.key_columns]
    if any(scalar is None for scalar in scalars):
        raise ValueError("a key holds NULL")
    return tuple(scalar for scalar in scalars if scalar is not None)


def keys_of(rows: pa.RecordBatch | pa.Table, schema: RowSchema) -> list[Key]:
    """The key of every row, as `key_at` tells one; ValueError if one holds a NULL."""
    parts: list[list[Scalar]] = []
    for column in schema.key_columns:
        texts = canonical_texts(_flat(rows.column(column.name)), column.type).to_pylist()
        if column.type.scalar is None or None in texts:
            raise ValueError("a key holds NULL")
        parts.append([Scalar(column.type.scalar, text) for text in texts])
    return list(zip(*parts, strict=True))


def _canonical_numerics(values: pa.Array, logical: LogicalType) -> pa.Array:
    text = pc.cast(values, pa.string())
    scientific = pc.any(pc.match_substring(text, "E")).as_py()
    if scientific:
        text = pa.array([None if v is None else format(Decimal(v), "f") for v in text.to_pylist()], pa.string())
    if logical.scale:
        text = pc.utf8_rtrim(pc.utf8_rtrim(text, characters="0"), characters=".")
    return text


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _repeat(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)
