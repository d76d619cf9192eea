"""From the rows of one read to pages that fit on the wire: reduced, checked, split into lanes, encoded, cut."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.domain.extraction import IncrementalPage, PageKind, RereadPage, SnapshotPage
from qupersync_extractor.domain.ordering import key_order, scalar_order
from qupersync_shared.contracts.payload import checksum, encode
from qupersync_shared.contracts.schema import GONE_COLUMN, SLOT_COLUMN, RowSchema
from qupersync_shared.contracts.slots import canonical_keys, canonical_texts, key_at, scalar_at, slots_of
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.errors import PageRefusedError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.kernel.positions import Key, Position, encode_key, encode_position

HEADER_BYTES = 4096
_OTHER_KEY = (
    "Keys with control characters or another collation cannot be paged: choose another key, or normalise it in a query"
)
_SLOT_FIELD = pa.field(SLOT_COLUMN, pa.int16(), nullable=False)
_GONE_FIELD = pa.field(GONE_COLUMN, pa.bool_(), nullable=False)
_REDRIVE_BYTES = 40  # an id in the headers, with its comma


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneBody:
    """What one page says to one lane, encoded."""

    lane: Lane
    rows: int
    body: bytes
    checksum: str
    withheld: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PageDraft:
    """A page ready to be committed: one body for every lane. `content` is what they say together."""

    kind: PageKind
    bodies: tuple[LaneBody, ...]
    rows: int
    bytes: int
    content: "Rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one read with their canonical keys; `duplicates` counts rows that were reduced away.

    `gone`, where it is set, says of each row whether it is only a key that the source no longer has.
    """

    batch: pa.RecordBatch
    canonical: pa.Array
    schema: RowSchema
    duplicates: int = 0
    gone: pa.Array | None = None

    @property
    def count(self) -> int:
        return int(self.batch.num_rows)

    def slice(self, start: int, count: int) -> "Rows":
        return replace(
            self,
            batch=self.batch.slice(start, count),
            canonical=self.canonical.slice(start, count),
            gone=None if self.gone is None else self.gone.slice(start, count),
        )

    def key(self, index: int) -> Key:
        return key_at(self.batch, self.schema, index)

    def here(self) -> pa.Array:
        """The canonical keys of rows that the source has."""
        return self.canonical if self.gone is None else self.canonical.filter(pc.invert(self.gone))


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
        rows, batch=batch, canonical=pa.concat_arrays([rows.canonical, absent]), gone=pa.array(flags, pa.bool_())
    )


def whole_rows(batch: pa.RecordBatch, schema: RowSchema, *, cursor: str | None, full: bool) -> Rows | None:
    """The rows of a read that may be followed by more (`full`) without its last group, which may be incomplete.

    A group is what shares key (and, in a read by cursor, cursor value), whether or not the source tells upper from
    lower case: a read after one of two keys that it takes for equal would pass over the other. None when the whole read
    is one group: it must be read again with a greater limit. An empty read is whole.
    """
    rows = Rows(batch=batch, canonical=canonical_keys(batch, schema), schema=schema)
    if not full or rows.count == 0:
        return rows
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
            scalar = scalar_at(rows.batch.column(cursor), rows.schema.column(cursor).type, index)
            moment = (0,) if scalar is None else (1, scalar_order(scalar))
        return moment, str(rows.batch.slice(index, 1).to_pylist())

    kept = sorted(max(group, key=rank) if len(group) > 1 else group[0] for group in groups.values())
    indices = pa.array(kept, pa.int64())
    return replace(
        rows,
        batch=rows.batch.take(indices),
        canonical=rows.canonical.take(indices),
        duplicates=rows.count - len(kept),
    )


def check_ascending(rows: Rows, *, after: Key | None, upto: Key | None) -> None:
    """PageRefusedError unless the keys ascend strictly inside (after, upto] as the target compares them."""
    if rows.count == 0:
        return
    broken = _first_descent(rows)
    if broken is not None:
        raise PageRefusedError(
            f"key {_show(rows.key(broken + 1))} follows {_show(rows.key(broken))}: "
            "source and target order keys differently",
            cure=_OTHER_KEY,
        )
    first, last = rows.key(0), rows.key(rows.count - 1)
    if after is not None and not key_order(first) > key_order(after):
        raise PageRefusedError(
            f"key {_show(first)} was read after {_show(after)}: source and target order keys differently",
            cure=_OTHER_KEY,
        )
    if upto is not None and key_order(last) > key_order(upto):
        raise PageRefusedError(
            f"key {_show(last)} lies beyond {_show(upto)}: source and target order keys differently", cure=_OTHER_KEY
        )


def draft_pages(rows: Rows, kind: PageKind, *, lanes: int, event_bytes_max: int) -> list[PageDraft]:
    """The page, cut into smaller ones where an event would exceed the limit (headers counted), in the read's order."""
    slots = slots_of(rows.canonical)
    return _draft(rows, slots, kind, lanes, event_bytes_max - HEADER_BYTES)


def empty_draft(schema: RowSchema, kind: PageKind, *, lanes: int) -> PageDraft:
    """A page without rows: an empty body for every lane."""
    batch = schema.arrow().empty_table().combine_chunks().to_batches()
    nothing = batch[0] if batch else pa.RecordBatch.from_pylist([], schema=schema.arrow())
    rows = Rows(batch=nothing, canonical=pa.array([], pa.string()), schema=schema)
    return _encode(rows, np.empty(0, np.int16), kind, lanes, 1 << 30)[0]


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


def _draft(rows: Rows, slots: np.ndarray, kind: PageKind, lanes: int, limit: int) -> list[PageDraft]:
    room = limit - _boundary_bytes(kind)
    draft, oversized = _encode(rows, slots, kind, lanes, room)
    if not oversized:
        return [draft]
    if rows.count <= 1:
        return [_withhold(rows, slots, kind, lanes, room)]
    middle = rows.count // 2
    first = _draft(rows.slice(0, middle), slots[:middle], boundary(rows, kind, middle - 1), lanes, limit)
    rest_kind = remainder(rows, kind, middle - 1)
    return first + _draft(rows.slice(middle, rows.count - middle), slots[middle:], rest_kind, lanes, limit)


def _encode(rows: Rows, slots: np.ndarray, kind: PageKind, lanes: int, limit: int) -> tuple[PageDraft, bool]:
    batch = rows.batch.append_column(_SLOT_FIELD, pa.array(slots, pa.int16()))
    if rows.gone is not None:
        batch = batch.append_column(_GONE_FIELD, rows.gone)
    lane_of = slots % lanes
    bodies = []
    for lane in range(lanes):
        part = batch if lanes == 1 else batch.take(pa.array(np.flatnonzero(lane_of == lane)))
        body = encode(part)
        bodies.append(LaneBody(lane=Lane(lane), rows=part.num_rows, body=body, checksum=checksum(body)))
    size = max(len(body.body) for body in bodies)
    total = sum(len(b.body) for b in bodies)
    draft = PageDraft(kind=kind, bodies=tuple(bodies), rows=rows.count, bytes=total, content=rows)
    return draft, size > limit


def _withhold(rows: Rows, slots: np.ndarray, kind: PageKind, lanes: int, limit: int) -> PageDraft:
    """The page of a single row that no event can carry: empty bodies, and its key listed as withheld."""
    empty, oversized = _encode(rows.slice(0, 0), slots[:0], kind, lanes, limit)
    if oversized:
        raise PageRefusedError(
            f"an event of {len(rows.schema.columns)} columns exceeds the event limit without a single row",
            cure="Raise extractor.event_bytes_max and the NATS server's max_payload, or leave columns out in a query",
        )
    lane = Lane(int(slots[0]) % lanes)
    key = rows.key(0)
    bodies = tuple(replace(b, withheld=(key,)) if b.lane == lane else b for b in empty.bodies)
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


def _first_descent(rows: Rows) -> int | None:
    """The first index whose key is not strictly below the next row's, compared column by column as binary values."""
    count = rows.count - 1
    if count < 1:
        return None
    less = pa.array(np.zeros(count, bool))
    equal = pa.array(np.ones(count, bool))
    for column in rows.schema.key_columns:
        values = _comparable(rows.batch.column(column.name), column.type.name, rows, column.name)
        one, two = values.slice(0, count), values.slice(1, count)
        less = pc.or_(less, pc.and_(equal, pc.less(one, two)))
        equal = pc.and_(equal, pc.equal(one, two))
    wrong = np.flatnonzero(~less.to_numpy(zero_copy_only=False))
    return int(wrong[0]) if len(wrong) else None


def _comparable(values: pa.Array, type_name: str, rows: Rows, name: str) -> pa.Array:
    if type_name == "boolean":
        return pc.cast(values, pa.int8())
    if type_name in {"varchar", "char"}:
        return pc.cast(canonical_texts(values, rows.schema.column(name).type), pa.binary())
    if type_name == "uuid":
        return pc.cast(values, pa.binary())
    return values


def _show(key: Key) -> str:
    return "(" + ", ".join(repr(scalar.text) for scalar in key) + ")"
