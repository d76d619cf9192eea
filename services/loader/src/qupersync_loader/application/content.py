"""From the bytes of an event to rows that are known to be what the envelope says."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.filled import Place
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.contracts.payload import checksum, decode
from qupersync_shared.contracts.schema import GONE_COLUMN, SLOT_COLUMN, RowSchema, schema_of_arrow
from qupersync_shared.contracts.slots import SLOTS, canonical_texts, key_at
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.ids import EventId, Generation, Lane, Log, Sequence, SnapshotId
from qupersync_shared.kernel.positions import CODEC_VERSION, Key

_OWN_COLUMNS: Final = {SLOT_COLUMN: pa.int16(), GONE_COLUMN: pa.bool_()}


class ChecksumError(EventRefusedError):
    """The body is not the one the envelope was made for; a resend may bring the right one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A verified event: source columns in the schema's order, then `_qs_slot` and, in a reread, `_qs_gone`."""

    envelope: BatchEnvelope
    schema: RowSchema
    rows: pa.RecordBatch

    @property
    def count(self) -> int:
        return int(self.rows.num_rows)

    @property
    def has_gone(self) -> bool:
        """Whether some of the keys are gone at the source."""
        return GONE_COLUMN in self.rows.schema.names

    @property
    def place(self) -> Place:
        return (self.envelope.log, self.envelope.sequence)

    def gone(self) -> frozenset[int]:
        """The indexes of rows whose keys are gone at the source."""
        flags = self.rows.column(GONE_COLUMN).to_pylist() if self.has_gone else []
        return frozenset(index for index, gone in enumerate(flags) if gone)

    def key(self, index: int) -> Key:
        """The key of one row; EventRefusedError if it cannot be one."""
        with _refused_keys():
            return key_at(self.rows, self.schema, index)

    def could_hold(self, key: Key) -> bool:
        """Whether a key is of these key columns' kinds, and not of columns that were the key before."""
        return [scalar.kind for scalar in key] == [column.type.scalar for column in self.schema.key_columns]

    def encoded_keys(self) -> list[str]:
        """Every row's key as `encode_key` writes it; EventRefusedError if one cannot be a key."""
        with _refused_keys():
            columns = [
                (column.type.scalar, canonical_texts(self.rows.column(column.name), column.type).to_pylist())
                for column in self.schema.key_columns
            ]
        parts = [[f'["{kind}",{json.dumps(text)}]' for text in texts] for kind, texts in columns]
        return [f'{{"v":{CODEC_VERSION},"key":[{",".join(key)}]}}' for key in zip(*parts, strict=True)]


@contextlib.contextmanager
def _refused_keys() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise EventRefusedError(f"a key has no canonical form: {error}") from error


def facts_of(envelope: BatchEnvelope) -> EventFacts:
    """What the judge must know of the event."""
    return EventFacts(
        event_id=EventId(envelope.id),
        lane=Lane(envelope.lane),
        lanes=envelope.lanes,
        log=Log(envelope.log),
        sequence=Sequence(envelope.sequence),
        previous_id=EventId(envelope.previous_id) if envelope.previous_id else None,
        generation=Generation(envelope.generation),
        snapshot_id=SnapshotId(envelope.snapshot_id) if envelope.snapshot_id else None,
        snapshot_first=envelope.snapshot_first,
        snapshot_last=envelope.snapshot_last,
        honest_time=envelope.honest_time,
    )


def open_event(envelope: BatchEnvelope, body: bytes) -> Batch:
    """The event's rows, verified; ChecksumError or EventRefusedError say what is wrong with it. Takes milliseconds."""
    if checksum(body) != envelope.checksum:
        raise ChecksumError("the body does not have the checksum that the envelope names")
    try:
        rows = decode(body)
        schema = schema_of_arrow(rows.schema, envelope.key_columns)
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise EventRefusedError(f"the body cannot be decoded: {error}") from error
    if schema.fingerprint != envelope.schema_fingerprint:
        raise EventRefusedError(f"the body has schema {schema.fingerprint}, the envelope {envelope.schema_fingerprint}")
    if rows.num_rows != envelope.row_count:
        raise EventRefusedError(f"the body has {rows.num_rows} rows, the envelope says {envelope.row_count}")
    _check_keys(envelope, schema)
    _check_own_columns(rows, envelope)
    _check_slots(rows, envelope)
    for name in schema.key:
        if rows.column(name).null_count:
            raise EventRefusedError(f"key column {name!r} holds NULL")
    order = [*schema.names, *(name for name in _OWN_COLUMNS if name in rows.schema.names)]
    return Batch(envelope=envelope, schema=schema, rows=rows.select(order))


def _check_keys(envelope: BatchEnvelope, schema: RowSchema) -> None:
    """Every key that the envelope names must be one of this schema: ranges are compared with the table's own keys."""
    kinds = [column.type.scalar for column in schema.key_columns]
    bounds = [("range_from", envelope.range_from), ("range_to", envelope.range_to)]
    for place, key in (*bounds, *(("withheld_keys", key) for key in envelope.withheld_keys)):
        if key is not None and [scalar.kind for scalar in key] != kinds:
            named = ", ".join(scalar.kind for scalar in key)
            raise EventRefusedError(f"{place} holds a key ({named}) that is none of {', '.join(schema.key)}")


def without_nul_bytes(batch: Batch) -> tuple[Batch, list[int]]:
    """The batch with no NUL byte in any text beside the key, and the indexes of rows in which there was one."""
    rows, touched = batch.rows, np.zeros(batch.count, bool)
    for index, column in enumerate(batch.schema.columns):
        if column.type.is_text and column.name not in batch.schema.key:
            found = pc.fill_null(pc.match_substring(rows.column(index), "\0"), False).to_numpy(zero_copy_only=False)
            if found.any():
                touched |= found
                cleaned = pc.replace_substring(rows.column(index), pattern="\0", replacement="")
                rows = rows.set_column(index, rows.schema.field(index), cleaned)
    return replace(batch, rows=rows), [int(index) for index in np.flatnonzero(touched)]


def _check_own_columns(rows: pa.RecordBatch, envelope: BatchEnvelope) -> None:
    wanted = {SLOT_COLUMN, GONE_COLUMN} if envelope.mode is Mode.REREAD else {SLOT_COLUMN}
    own = {field.name: field.type for field in rows.schema if field.name.startswith("_qs_")}
    if SLOT_COLUMN not in own or not own.keys() <= wanted:
        raise EventRefusedError(f"a {envelope.mode} event cannot have the columns {sorted(own)}")
    for name, kind in own.items():
        if kind != _OWN_COLUMNS[name] or rows.column(name).null_count:
            raise EventRefusedError(f"column {name} is {kind} or holds NULL, not {_OWN_COLUMNS[name]} without NULL")
    if rows.schema.names.count(SLOT_COLUMN) != 1:
        raise EventRefusedError(f"column {SLOT_COLUMN} stands twice")


def _check_slots(rows: pa.RecordBatch, envelope: BatchEnvelope) -> None:
    if not rows.num_rows:
        return
    slots = rows.column(SLOT_COLUMN)
    bounds = pc.min_max(slots).as_py()
    if bounds["min"] < 0 or bounds["max"] >= SLOTS:
        raise EventRefusedError(f"a slot lies outside 0 to {SLOTS - 1}")
    strangers = int(np.count_nonzero(slots.to_numpy() % envelope.lanes != envelope.lane))
    if strangers:
        raise EventRefusedError(f"{strangers} rows do not belong to lane {envelope.lane} of {envelope.lanes}")
