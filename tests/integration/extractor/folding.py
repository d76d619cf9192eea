"""A reference consumer: folds the outbox's events into rows, by the rules of the contract and nothing else.

What the events say must be the source's content; the loader is not needed to see whether the extractor lost anything.
"""

from dataclasses import dataclass, field
from typing import Any

from qupersync_extractor.domain.ordering import key_order
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.contracts.payload import checksum, decode
from qupersync_shared.contracts.schema import GONE_COLUMN, SLOT_COLUMN, RowSchema, schema_of_arrow
from qupersync_shared.contracts.slots import key_at, lane_of_slot, slot_of_key
from qupersync_shared.kernel.positions import Key


@dataclass
class Fold:
    """Rows by key, as the events so far say; every rule of the envelope is checked on the way."""

    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)
    previous: dict[int, BatchEnvelope] = field(default_factory=dict)
    envelopes: list[BatchEnvelope] = field(default_factory=list)

    def feed(self, records: list[OutboxRecord]) -> None:
        for record in sorted(records, key=lambda r: (r.log, r.sequence, r.lane)):
            self._event(BatchEnvelope.from_headers(dict(record.headers)), record.payload)

    def _event(self, event: BatchEnvelope, body: bytes) -> None:
        before = self.previous.get(event.lane)
        if before is not None and before.log == event.log:
            assert event.sequence == before.sequence + 1
            assert event.previous_id == before.id
        elif before is None or before.log < event.log:
            assert event.sequence == 1
            assert event.previous_id is None
        self.previous[event.lane] = event
        self.envelopes.append(event)
        assert checksum(body) == event.checksum
        batch = decode(body)
        schema = schema_of_arrow(batch.schema, event.key_columns)
        assert schema.fingerprint == event.schema_fingerprint
        assert batch.num_rows == event.row_count
        self._apply(event, schema, batch)

    def _apply(self, event: BatchEnvelope, schema: RowSchema, batch: Any) -> None:
        keys = [key_at(batch, schema, index) for index in range(batch.num_rows)]
        assert len(set(keys)) == len(keys), "a key stands twice in one event"
        plain = batch.select(list(schema.names)).to_pylist()
        slots = batch.column(SLOT_COLUMN).to_pylist()
        for key, slot in zip(keys, slots, strict=True):
            assert slot == slot_of_key(key)
            assert lane_of_slot(slot, event.lanes) == event.lane
        gone = batch.column(GONE_COLUMN).to_pylist() if GONE_COLUMN in batch.schema.names else [False] * len(keys)
        assert event.mode is Mode.REREAD or not any(gone)
        if event.covers_range:
            present = set(keys) | set(event.withheld_keys)
            for key in [k for k in self.rows if self._covers(event, k) and k not in present]:
                del self.rows[key]
        for key, row, lost in zip(keys, plain, gone, strict=True):
            if lost:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    @staticmethod
    def _covers(event: BatchEnvelope, key: Key) -> bool:
        if lane_of_slot(slot_of_key(key), event.lanes) != event.lane:
            return False
        above = event.range_from is None or key_order(key) > key_order(event.range_from)
        return above and (event.range_to is None or key_order(key) <= key_order(event.range_to))
