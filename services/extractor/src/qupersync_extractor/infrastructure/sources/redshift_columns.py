"""Columns decoded from rows on the wire, a whole column at a time, into exactly what the driver's own values give.

Each column is told by the driver's decoder for it (format and function); rows with a column that is not known here are
left to the slow way. A value that does not fit refuses its row.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qupersync_extractor.application.refused import Refusals
from qupersync_extractor.infrastructure.sources.redshift_frames import RawRows
from qupersync_extractor.infrastructure.sources.redshift_values import to_array
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Nulls = npt.NDArray[np.bool_]
_NARROW, _WIDE = 8, 16  # bytes of a NUMERIC in binary
_INVALID: Final = 0xFF
_OFFSETS_MAX: Final = (1 << 31) - 1


class UnknownFormError(Exception):
    """The fast way does not know these rows; the slow way decides."""


class _Wire:
    """One column of the rows: where each value begins in the buffer, how long it is, and which are NULL."""

    def __init__(self, data: Bytes, starts: Places, lengths: Places) -> None:
        self.data = data
        self.nulls: Nulls = lengths < 0
        self.lengths = np.where(self.nulls, 0, lengths)
        self.starts = starts
        self.has_nulls = bool(self.nulls.any())

    def part(self, start: int, end: int) -> "_Wire":
        """The same column of some of the rows."""
        if end - start == len(self.starts):
            return self
        return _Wire(self.data, self.starts[start:end], np.where(self.nulls, -1, self.lengths)[start:end])

    @property
    def mask(self) -> Nulls | None:
        return self.nulls if self.has_nulls else None

    def fixed(self, width: int, kind: str) -> npt.NDArray[Any]:
        """Values of one width, in the machine's byte order; NULL has some value. UnknownFormError for another width."""
        if not bool((self.lengths[~self.nulls] == width).all()):
            raise UnknownFormError
        starts = np.where(self.nulls, 0, self.starts)
        gathered = self.data[starts[:, None] + np.arange(width)]
        return gathered.view(kind)[:, 0].astype(np.dtype(kind).newbyteorder("="))

    def binary(self) -> pa.Array:
        """The values as they stand: Arrow copies them out of an array whose every other element is a gap."""
        count = len(self.starts)
        if len(self.data) > _OFFSETS_MAX:
            raise UnknownFormError
        edges = np.empty(2 * count + 1, np.int32)
        edges[0:-1:2] = self.starts
        edges[1::2] = self.starts + self.lengths
        edges[-1] = edges[-2] if count else 0
        gapped = pa.Array.from_buffers(
            pa.binary(), 2 * count, [None, pa.py_buffer(edges.tobytes()), pa.py_buffer(self.data)]
        )
        return gapped.take(pa.array(np.arange(0, 2 * count, 2, dtype=np.int32), mask=self.mask))

    def text(self) -> pa.Array:
        """UTF-8, checked."""
        array = self.binary().view(pa.string())
        array.validate(full=True)
        return array


def _integers(width: int, kind: str) -> Callable[[_Wire], pa.Array]:
    return lambda wire: pa.array(wire.fixed(width, kind), mask=wire.mask)


def _booleans(wire: _Wire) -> pa.Array:
    return pa.array(wire.fixed(1, "u1") == 1, mask=wire.mask)


def _hexadecimal(wire: _Wire) -> pa.Array:
    return pa.array([None if value is None else value.hex() for value in wire.binary().to_pylist()], pa.string())


# The driver's decoders by format (1 is binary) and name.
_FORMS: Final[dict[tuple[int, str], Callable[[_Wire], pa.Array]]] = {
    (1, "bool_recv"): _booleans,
    (1, "int2_recv"): _integers(2, ">i2"),
    (1, "int4_recv"): _integers(4, ">i4"),
    (1, "int8_recv"): _integers(8, ">i8"),
    (1, "oid_recv"): _integers(4, ">u4"),
    (1, "float4_recv"): _integers(4, ">f4"),
    (1, "float8_recv"): _integers(8, ">f8"),
    (1, "geographyhex_recv"): _hexadecimal,
    (0, "text_recv"): _Wire.text,
    (1, "text_recv"): _Wire.text,
    (0, "numeric_in"): _Wire.text,
}


def to_batch(
    rows: RawRows, described: Sequence[dict[str, Any]], schema: RowSchema, *, cursor: str | None = None
) -> pa.RecordBatch:
    """The rows with exactly the columns of the schema, and those told that hold what cannot travel (`refused`);
    UnknownFormError where the fast way does not know a column.

    `described` is the driver's row description, column by column.
    """
    data = np.frombuffer(rows.buffer, np.uint8)
    position = np.frombuffer(rows.starts, np.int64).copy()
    width = len(described)
    if len(schema.columns) != width or (len(rows) and not _all_have(data, position, width)):
        raise UnknownFormError
    position += 2
    refusals = Refusals(schema, len(rows), cursor=cursor)
    arrays = []
    for field, column in zip(described, schema.columns, strict=True):
        lengths = _signed(data, position)
        wire = _Wire(data, position + 4, lengths)
        arrays.append(refusals.column(column, partial(_column, wire, field, column, column.name in schema.key)))
        position = wire.starts + wire.lengths
    if not np.array_equal(position, np.frombuffer(rows.ends, np.int64)):
        raise UnknownFormError
    return refusals.batch(arrays)


def _column(whole: _Wire, field: dict[str, Any], column: Column, in_key: bool, start: int, end: int) -> pa.Array:
    wire = whole.part(start, end)
    form = (int(field["redshift_connector_fc"]), field["func"].__name__)
    if form == (1, "numeric_in_binary"):
        if column.type.kind is not Kind.NUMERIC:
            raise UnknownFormError
        return _decimals(wire, column)
    decode = _FORMS.get(form)
    if decode is None:
        raise UnknownFormError
    values = decode(wire)
    if column.type.kind is Kind.VARBYTE:
        return _bytes_of(values)
    return to_array(values, column, in_key=in_key)


def _decimals(wire: _Wire, column: Column) -> pa.Array:
    """NUMERIC in binary: a whole number of 8 or 16 bytes, its scale is the column's."""
    count = len(wire.starts)
    little = np.zeros((count, _WIDE), np.uint8)
    wide = wire.lengths == _WIDE
    narrow = (wire.lengths == _NARROW) & ~wire.nulls
    if not bool((wide | narrow | wire.nulls).all()):
        raise UnknownFormError
    if bool(wide.any()):
        little[wide] = wire.data[wire.starts[wide][:, None] + np.arange(_WIDE)][:, ::-1]
    if bool(narrow.any()):
        digits = wire.data[wire.starts[narrow][:, None] + np.arange(_NARROW)]
        little[narrow, :_NARROW] = digits[:, ::-1]
        little[narrow, _NARROW:] = np.where(digits[:, :1] & 0x80, 0xFF, 0)
    valid = None if not wire.has_nulls else pa.array(~wire.nulls).buffers()[1]
    array = pa.Array.from_buffers(column.type.arrow, count, [valid, pa.py_buffer(little.tobytes())])
    array.validate(full=True)  # more digits than the precision has
    return array


_DIGITS: Final = np.full(256, _INVALID, np.uint8)
for _value, _letters in enumerate(
    ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "aA", "bB", "cC", "dD", "eE", "fF")
):
    for _letter in _letters:
        _DIGITS[ord(_letter)] = _value


def _bytes_of(texts: pa.Array) -> pa.Array:
    """Hexadecimal digits to bytes."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if bool((np.diff(offsets) % 2).any()):
        raise UnknownFormError
    letters = texts.buffers()[2]
    first, last = (int(offsets[0]), int(offsets[-1])) if len(texts) else (0, 0)
    digits = _DIGITS[np.frombuffer(letters or b"", np.uint8)[first:last]]
    if bool((digits == _INVALID).any()):
        raise UnknownFormError
    packed = (digits[0::2] << 4) | digits[1::2]
    halved = ((offsets - first) // 2).astype(np.int32)
    valid = pa.array(texts.is_valid()).buffers()[1] if texts.null_count else None
    return pa.Array.from_buffers(
        pa.binary(), len(texts), [valid, pa.py_buffer(halved.tobytes()), pa.py_buffer(packed.tobytes())]
    )


def _signed(data: Bytes, position: Places) -> Places:
    """The length that stands before a value; -1 is NULL."""
    lengths: Places = data[position[:, None] + np.arange(4)].view(">i4")[:, 0].astype(np.int64)
    return lengths


def _all_have(data: Bytes, position: Places, width: int) -> bool:
    return bool((data[position[:, None] + np.arange(2)].view(">i2")[:, 0] == width).all())
