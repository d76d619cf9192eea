"""From the rows of one read to pages that fit on the wire: reduced, checked, split into lanes, encoded, cut."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.refused import without_refusals
from qupersync_extractor.domain.extraction import IncrementalPage, PageKind, RereadPage, SnapshotPage
from qupersync_extractor.domain.ordering import scalar_order
from qupersync_shared.contracts.infinity import plain_row
from qupersync_shared.contracts.payload import checksum, encode
from qupersync_shared.contracts.schema import GONE_COLUMN, SLOT_COLUMN, RowSchema
from qupersync_shared.contracts.slots import canonical_keys, canonical_texts, key_at, keys_of, scalar_at, slots_of
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.errors import PageRefusedError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.kernel.positions import Key, Position, encode_key, encode_keys, encode_position

HEADER_BYTES = 4096
# JetStream keeps a header block's length in 16 bits; the relay adds generation and fence.
HEADERS_BYTES_MAX = 65_000
OVERSIZED = (
    "the row alone exceeds the event limit: raise extractor.event_bytes_max together with the NATS server's "
    "max_payload, or leave wide columns out in a query"
)
_SLOT_FIELD = pa.field(SLOT_COLUMN, pa.int16(), nullable=False)
_GONE_FIELD = pa.field(GONE_COLUMN, pa.bool_(), nullable=False)
_REDRIVE_BYTES = 40  # an id in the headers, with its comma


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A row that its event does not carry, and why; the event lists its key."""

    key: Key
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneBody:
    """What one page says to one lane, encoded, and the rows that it withholds."""

    lane: Lane
    rows: int
    body: bytes
    checksum: str
    refusals: tuple[Refusal, ...] = ()

    @property
    def withheld(self) -> tuple[Key, ...]:
        return tuple(refusal.key for refusal in self.refusals)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageDraft:
    """A page ready to be committed: one body for every lane. `content` is what they say together; `rows` counts the
    rows that they carry.
    """

    kind: PageKind
    bodies: tuple[LaneBody, ...]
    rows: int
    bytes: int
    content: "Rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one read with their canonical keys; `duplicates` counts rows that were reduced away.

    `gone`, where it is set, says of each row whether it is only a key that the source no longer has. `refused`, where
    it is set, holds the reason why no event may carry the row, NULL for rows that travel.
    """

    batch: pa.RecordBatch
    canonical: pa.Array
    schema: RowSchema
    duplicates: int = 0
    gone: pa.Array | None = None
    refused: pa.Array | None = None

    @property
    def count(self) -> int:
        return int(self.batch.num_rows)

    def slice(self, start: int, count: int) -> "Rows":
        return replace(
            self,
            batch=self.batch.slice(start, count),
            canonical=self.canonical.slice(start, count),
            gone=None if self.gone is None else self.gone.slice(start, count),
            refused=None if self.refused is None else self.refused.slice(start, count),
        )

    def key(self, index: int) -> Key:
        return key_at(self.batch, self.schema, index)

    def here(self) -> pa.Array:
        """The canonical keys of rows that the source has."""
        return self.canonical if self.gone is None else self.canonical.filter(pc.invert(self.gone))


def read_rows(batch: pa.RecordBatch, schema: RowSchema) -> Rows:
    """The rows of a read as the source answered them, those that it refuses told apart; PageRefusedError where a key
    has no canonical form.
    """
    batch, refused = without_refusals(batch)
    try:
        canonical = canonical_keys(batch, schema)
    except ValueError as error:
        raise PageRefusedError(f"a key cannot be one: {error}", cure="Choose another key") from error
    return Rows(batch=batch, canonical=canonical, schema=schema, refused=refused)


def with_gone(rows: Rows, keys: Rows) -> Rows:
    """The rows, and after them those of `keys` that they do not hold, as gone."""
    if keys.count == 0:
        return rows
    absent = keys.canonical.filter(pc.invert(pc.is_in(keys.canonical, value_set=rows.canonical)))
    if len(absent) == 0:
        return rows
    lost = keys.batch.filter(pc.is_in(keys.canonical, value_set=absent))
    batch = pa.Table.from_batches([rows.batch, lost]).combine_chunks().to_batches()[0]
    flags = np.arange(batch.num_rows) >= rows.count
    return replace(
        rows,
        batch=batch,
        canonical=pa.concat_arrays([rows.canonical, absent]),
        gone=pa.array(flags, pa.bool_()),
        refused=None
        if rows.refused is None
        else pa.concat_arrays([rows.refused, pa.nulls(len(absent), rows.refused.type)]),
    )


def whole_rows(batch: pa.RecordBatch, schema: RowSchema, *, cursor: str | None, full: bool) -> Rows | None:
    """The rows of a read that may be followed by more (`full`) without its last group, which may be incomplete.

    A group is what shares key (and, in a read by cursor, cursor value), whether or not the source tells upper from
    lower case: a read after one of two keys that it takes for equal would pass over the other. None when the whole read
    is one group: it must be read again with a greater limit. An empty read is whole.
    """
    rows = read_rows(batch, schema)
    if not full or rows.count == 0:
        return rows
    batch = rows.batch
    parts = [_without_case(batch.column(column.name), column.type) for column in schema.key_columns]
    if cursor is not None:
        parts.append(batch.column(cursor))
    same = np.ones(rows.count, bool)
    for part in parts:
        same &= pc.equal(part, part[rows.count - 1]).to_numpy(zero_copy_only=False)
    others = np.flatnonzero(~same)
    if len(others) == 0:
        return None
    return rows.slice(0, int(others[-1]) + 1)


def _without_case(values: pa.Array, logical: LogicalType) -> pa.Array:
    """A key column's values, of texts what is left of them when neither trailing blanks nor case count."""
    return pc.utf8_lower(canonical_texts(values, logical)) if logical.is_text else values


def reduce_duplicates(rows: Rows, *, cursor: str | None) -> Rows:
    """One row per key: the last by cursor (NULL before all), then by the whole row's text; the order is kept."""
    if pc.count_distinct(rows.canonical).as_py() == rows.count:
        return rows
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(rows.canonical.to_pylist()):
        groups.setdefault(key, []).append(index)

    def rank(index: int) -> tuple[tuple[Any, ...], str]:
        moment: tuple[Any, ...] = (0,)
        if cursor is not None:
            moment = _moment(rows.batch.column(cursor), rows.schema.column(cursor).type, index)
        return moment, str(plain_row(rows.batch, index))

    kept = sorted(max(group, key=rank) if len(group) > 1 else group[0] for group in groups.values())
    indices = pa.array(kept, pa.int64())
    return replace(
        rows,
        batch=rows.batch.take(indices),
        canonical=rows.canonical.take(indices),
        refused=None if rows.refused is None else rows.refused.take(indices),
        duplicates=rows.count - len(kept),
    )


def _moment(cursor: pa.Array, logical: LogicalType, index: int) -> tuple[Any, ...]:
    """Where a row stands among others by its cursor: NULL first, then as the values do, infinite ones outermost."""
    value = cursor[index]
    if not value.is_valid:
        return (0,)
    if pa.types.is_temporal(value.type):
        return 1, value.value
    scalar = scalar_at(cursor, logical, index)
    return (0,) if scalar is None else (1, scalar_order(scalar))


def draft_pages(rows: Rows, kind: PageKind, *, lanes: int, event_bytes_max: int) -> list[PageDraft]:
    """The page, cut into smaller ones where an event would exceed the limit (headers counted), in the read's order.

    Refused rows are withheld: their lane's event lists the key, and carries the others.
    """
    slots = slots_of(rows.canonical)
    return _draft(rows, slots, kind, lanes, event_bytes_max - HEADER_BYTES)


def empty_draft(schema: RowSchema, kind: PageKind, *, lanes: int) -> PageDraft:
    """A page without rows: an empty body for every lane."""
    batch = schema.arrow().empty_table().combine_chunks().to_batches()
    nothing = batch[0] if batch else pa.RecordBatch.from_pylist([], schema=schema.arrow())
    rows = Rows(batch=nothing, canonical=pa.array([], pa.string()), schema=schema)
    return _encode(rows, np.empty(0, np.int16), kind, lanes, _room(kind, 1 << 30))[0]


def boundary(rows: Rows, kind: PageKind, index: int) -> PageKind:
    """The kind of the page that ends with row `index` of a page of this kind."""
    match kind:
        case SnapshotPage() | RereadPage(complete=True):
            return replace(kind, upto=rows.key(index))
        case IncrementalPage():
            return IncrementalPage(upto=_position(rows, kind, index), after=kind.after, cursor=kind.cursor)
        case _:
            return kind


def remainder(rows: Rows, kind: PageKind, index: int) -> PageKind:
    """The kind of the page that begins after row `index` of a page of this kind."""
    match kind:
        case SnapshotPage() | RereadPage(complete=True):
            return replace(kind, after=rows.key(index))
        case IncrementalPage():
            return replace(kind, after=_position(rows, kind, index))
        case _:
            return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """What is left for an event's body and its withheld keys together, and for those keys alone."""

    event: int
    listed: int


def _room(kind: PageKind, limit: int) -> _Room:
    ends = _boundary_bytes(kind)
    return _Room(event=limit - ends, listed=HEADERS_BYTES_MAX - 2 * HEADER_BYTES - ends)


def _draft(rows: Rows, slots: np.ndarray, kind: PageKind, lanes: int, limit: int) -> list[PageDraft]:
    room = _room(kind, limit)
    draft, oversized = _encode(rows, slots, kind, lanes, room)
    if not oversized:
        return [draft]
    if rows.count <= 1:
        return [_withhold(rows, slots, kind, lanes, room)]
    middle = rows.count // 2
    first = _draft(rows.slice(0, middle), slots[:middle], boundary(rows, kind, middle - 1), lanes, limit)
    rest_kind = remainder(rows, kind, middle - 1)
    return first + _draft(rows.slice(middle, rows.count - middle), slots[middle:], rest_kind, lanes, limit)


def _encode(rows: Rows, slots: np.ndarray, kind: PageKind, lanes: int, room: _Room) -> tuple[PageDraft, bool]:
    batch = rows.batch.append_column(_SLOT_FIELD, pa.array(slots, pa.int16()))
    if rows.gone is not None:
        batch = batch.append_column(_GONE_FIELD, rows.gone)
    lane_of, travelling = slots % lanes, _travelling(rows)
    whole = lanes == 1 and rows.refused is None
    bodies, oversized = [], False
    for lane in range(lanes):
        mine = lane_of == lane
        part = batch if whole else batch.take(pa.array(np.flatnonzero(mine & travelling)))
        refusals = _refusals(rows, np.flatnonzero(mine & ~travelling))
        body = encode(part)
        bodies.append(
            LaneBody(lane=Lane(lane), rows=part.num_rows, body=body, checksum=checksum(body), refusals=refusals)
        )
        listed = len(quote(encode_keys(bodies[-1].withheld))) if refusals else 0
        oversized |= len(body) + listed > room.event or listed > max(0, room.listed)
    carried, total = sum(b.rows for b in bodies), sum(len(b.body) for b in bodies)
    return PageDraft(kind=kind, bodies=tuple(bodies), rows=carried, bytes=total, content=rows), oversized


def _travelling(rows: Rows) -> np.ndarray:
    """Which rows an event may carry."""
    if rows.refused is None:
        return np.ones(rows.count, bool)
    travelling: np.ndarray = rows.refused.is_null().to_numpy(zero_copy_only=False)
    return travelling


def _refusals(rows: Rows, indices: np.ndarray) -> tuple[Refusal, ...]:
    if rows.refused is None or len(indices) == 0:
        return ()
    chosen = pa.array(indices)
    keys = keys_of(rows.batch.select(list(rows.schema.key)).take(chosen), rows.schema)
    reasons = rows.refused.take(chosen).to_pylist()
    return tuple(Refusal(key=key, reason=reason) for key, reason in zip(keys, reasons, strict=True))


def _withhold(rows: Rows, slots: np.ndarray, kind: PageKind, lanes: int, room: _Room) -> PageDraft:
    """The page of a single row that no event can carry: empty bodies, and its key listed as withheld."""
    empty, oversized = _encode(rows.slice(0, 0), slots[:0], kind, lanes, room)
    if oversized:
        raise PageRefusedError(
            f"an event of {len(rows.schema.columns)} columns exceeds the event limit without a single row",
            cure="Raise extractor.event_bytes_max and the NATS server's max_payload, or leave columns out in a query",
        )
    lane = Lane(int(slots[0]) % lanes)
    refused = _refusals(rows, np.flatnonzero(~_travelling(rows)))
    refusals = refused or (Refusal(key=rows.key(0), reason=OVERSIZED),)
    bodies = tuple(replace(b, refusals=refusals) if b.lane == lane else b for b in empty.bodies)
    return replace(empty, bodies=bodies)


def _boundary_bytes(kind: PageKind) -> int:
    """What the keys at a page's ends take in the headers: text keys may be long."""
    match kind:
        case SnapshotPage():
            ends = [encode_key(key) for key in (kind.after, kind.upto) if key is not None]
        case IncrementalPage():
            ends = [encode_position(end) for end in (kind.after, kind.upto) if end is not None]
        case RereadPage():
            ends = [encode_key(key) for key in (kind.after, kind.upto) if key is not None]
            ends += ["x" * _REDRIVE_BYTES] * len(kind.redrives)
        case _:
            ends = []
    return sum(len(quote(end)) for end in ends)


def _position(rows: Rows, kind: IncrementalPage, index: int) -> Position:
    name = _cursor_name(rows, kind)
    scalar = scalar_at(rows.batch.column(name), rows.schema.column(name).type, index)
    if scalar is None:
        raise PageRefusedError(f"cursor {name} is NULL in a read by cursor")
    return Position(cursor=scalar, key=rows.key(index))


def _cursor_name(rows: Rows, kind: IncrementalPage) -> str:
    if kind.cursor is None or kind.cursor not in rows.schema.names:
        raise ValueError("an incremental page with rows names its cursor column")
    return kind.cursor
