"""One event's transaction on the in-memory target: everything happens on copies that `commit` puts in place."""

import asyncio
import copy
from collections.abc import Collection
from dataclasses import replace
from typing import Any
from uuid import UUID

from qupersync_loader.application.content import Batch
from qupersync_loader.application.ports import Applied, DeadLetter, LaneState, Letters, NotPreparedError
from qupersync_loader.domain.pipeline import DeletePolicy, OnBadRow, TargetPipeline
from qupersync_loader.domain.watermark import SnapshotSeen, Watermark
from qupersync_loader.infrastructure.memory.store import MemoryStore
from qupersync_loader.infrastructure.memory.tables import (
    Letter,
    PipelineStore,
    Quarantined,
    StoredRow,
    Table,
    key_order,
    new_table,
)
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.infinity import plain_row
from qupersync_shared.contracts.schema import GONE_COLUMN, SLOT_COLUMN
from qupersync_shared.contracts.slots import lane_of_slot
from qupersync_shared.kernel.errors import EventRefusedError, RowsRefusedError
from qupersync_shared.kernel.ids import Lane, Log
from qupersync_shared.kernel.positions import Key


class MemoryWork:
    """The port `TargetWork`."""

    def __init__(self, store: MemoryStore, pipeline: TargetPipeline, lane: Lane) -> None:
        self._store = store
        self._pipeline = pipeline
        self._lane = lane
        self._batch: Batch | None = None
        self._locked = False
        self._own = PipelineStore(target=pipeline.target)
        self._table: Table | None = None
        self._emptied: tuple[str, ...] = ()

    async def look(self) -> LaneState:
        self._store.answer()
        return self._state(self._store.pipelines.get(self._pipeline.name))

    async def stage(self, batch: Batch) -> None:
        await asyncio.sleep(0)
        self._batch = batch

    async def lock(self, *, exclusive: bool) -> LaneState:  # noqa: ARG002  # one lock serves both
        self._store.answer()
        await self._store.lock.acquire()
        self._locked = True
        known = self._store.pipelines.get(self._pipeline.name)
        self._own = copy.deepcopy(known) if known is not None else self._own
        self._table = copy.deepcopy(self._store.tables.get(self._pipeline.target))
        return self._state(known)

    def release(self) -> None:
        if self._locked:
            self._locked = False
            self._store.lock.release()

    def _state(self, known: PipelineStore | None) -> LaneState:
        if known is None:
            return LaneState()
        watermark = known.watermarks.get(self._lane)
        parked = watermark is not None and any(
            letter.lane == self._lane and letter.resolution is None for letter in known.letters
        )
        log = Log(known.log) if known.log is not None else None
        return LaneState(log=log, lanes=known.lanes, watermark=watermark, parked=parked)

    # ----------------------------------------------------------------------------------------------- applying

    async def apply(self) -> Applied:
        batch = self._batch
        if batch is None:
            raise RuntimeError("nothing was staged")
        self._emptied = self._own.filled.to_empty(batch.schema.names, at=batch.place)
        if not self._own.filled.gone.issuperset(self._emptied):
            raise NotPreparedError
        self._table = self._table or new_table(batch.schema)
        rows = [(batch.key(i), plain_row(batch.rows, i)) for i in range(batch.count)]
        keys = [key for key, _ in rows]
        if len(set(keys)) != len(keys):
            raise EventRefusedError(f"event {batch.envelope.sequence} of lane {batch.envelope.lane} holds a key twice")
        gone = {key for key, values in rows if values.get(GONE_COLUMN)}
        reasons = {key: self._store.refuse(values) for key, values in rows if key not in gone}
        refused = {key: reason for key, reason in reasons.items() if reason is not None}
        if refused and self._pipeline.on_bad_row is OnBadRow.HALT:
            raise RowsRefusedError(f"{len(refused)} rows are refused, the first because {next(iter(refused.values()))}")
        removed = self._remove(batch.envelope, set(keys), gone)
        written = sum(
            self._upsert(batch, key, values) for key, values in rows if key not in refused and key not in gone
        )
        resolved = self._settle(batch.envelope, set(keys), gone, refused)
        self._quarantine(batch.envelope, rows, refused)
        return Applied(rows=batch.count, written=written, removed=removed, quarantined=len(refused), resolved=resolved)

    def _upsert(self, batch: Batch, key: Key, values: dict[str, Any]) -> int:
        table = self._known_table
        known = table.rows.get(key)
        slot = values[SLOT_COLUMN]
        content = {name: values.get(name) for name in batch.schema.names}
        merged = {**(known.values if known is not None else {}), **content, **dict.fromkeys(self._emptied)}
        same = known is not None and all(known.values.get(name) == value for name, value in merged.items())
        if known is not None and same and not known.deleted and known.slot == slot:
            return 0
        table.rows[key] = StoredRow(
            key=key, values=merged, slot=slot, sequence=batch.envelope.sequence, version=self._store.tick()
        )
        return 1

    def _remove(self, envelope: BatchEnvelope, keys: set[Key], gone: set[Key]) -> int:
        if self._pipeline.deletes is DeletePolicy.KEEP:
            return 0
        present = (keys - gone) | set(envelope.withheld_keys)
        absent = []
        for row in self._known_table.rows.values():
            listed = row.key in gone
            ranged = (
                envelope.covers_range
                and row.key not in present
                and lane_of_slot(row.slot, envelope.lanes) == envelope.lane
                and in_range(row.key, envelope)
            )
            if (listed or ranged) and not row.deleted:
                absent.append(row)
        for row in absent:
            del self._known_table.rows[row.key]
            if self._pipeline.deletes is DeletePolicy.SOFT:
                self._known_table.rows[row.key] = StoredRow(
                    key=row.key,
                    values=row.values,
                    slot=row.slot,
                    sequence=envelope.sequence,
                    version=self._store.tick(),
                    deleted=True,
                )
        return len(absent)

    @property
    def _known_table(self) -> Table:
        if self._table is None:
            raise RuntimeError("apply comes first")
        return self._table

    # ---------------------------------------------------------------------------------------------- quarantine

    def _settle(self, envelope: BatchEnvelope, keys: set[Key], gone: set[Key], refused: dict[Key, str]) -> int:
        count = 0
        for index, row in enumerate(self._own.quarantine):
            if row.resolution is not None or lane_of_slot(row.slot, envelope.lanes) != envelope.lane:
                continue
            resolution = None
            if self._batch is not None and not self._batch.could_hold(row.key):
                resolution = "gone" if envelope.is_baseline else None
            elif row.key in gone:
                resolution = "gone"
            elif row.key in keys:
                resolution = None if row.key in refused else "loaded"
            elif envelope.covers_range and row.key not in envelope.withheld_keys and in_range(row.key, envelope):
                resolution = "gone"
            if resolution == "gone" and self._pipeline.deletes is DeletePolicy.KEEP:
                resolution = None  # what is kept may be nowhere else
            if resolution is not None:
                self._own.quarantine[index] = replace(row, resolution=resolution)
                count += 1
        return count

    def _quarantine(
        self, envelope: BatchEnvelope, rows: list[tuple[Key, dict[str, Any]]], refused: dict[Key, str]
    ) -> None:
        for key, values in rows:
            if key not in refused:
                continue
            waits = [row for row in self._own.quarantine if row.key == key and row.resolution is None]
            self._own.quarantine = [row for row in self._own.quarantine if row not in waits]
            self._own.quarantine.append(
                Quarantined(
                    key=key,
                    slot=values[SLOT_COLUMN],
                    reason=refused[key],
                    event_id=envelope.id,
                    log=envelope.log,
                    sequence=envelope.sequence,
                    content=values,
                    times=1 + sum(row.times for row in waits),
                    reread_for=waits[0].reread_for if waits else None,
                )
            )

    # ------------------------------------------------------------------------------------------------- saving

    async def park(self, letter: DeadLetter) -> None:
        envelope = letter.envelope
        self._own.letters.append(
            Letter(
                event_id=envelope.id,
                lane=envelope.lane,
                lanes=envelope.lanes,
                log=envelope.log,
                sequence=envelope.sequence,
                snapshot_id=envelope.snapshot_id,
                reason=letter.reason,
            )
        )

    async def settle_letters(
        self, envelope: BatchEnvelope, *, redriven: Collection[UUID], snapshot: SnapshotSeen | None
    ) -> Letters:
        over = snapshot is not None and snapshot.over and self._pipeline.deletes is not DeletePolicy.KEEP
        letters = [letter for letter in self._own.letters if letter.lane == self._lane]
        reread = [x for x in letters if x.event_id in redriven and x.lanes == envelope.lanes]
        resolved = self._resolve(reread, "reread")
        if self._all_lanes_have(envelope):
            left = [x for x in self._own.letters if x.event_id in redriven and x.lanes != envelope.lanes]
            resolved += self._resolve(left, "reread")
        letters = [letter for letter in self._own.letters if letter.lane == self._lane]
        if over and snapshot is not None and not any(x.lacks and x.snapshot_id == snapshot.id for x in letters):
            before = (envelope.log, snapshot.first)
            older = [x for x in letters if x.lanes == envelope.lanes and (x.log, x.sequence) < before]
            resolved += self._resolve(older, "snapshot")
        held = any(x.lane == self._lane and x.log == envelope.log and x.resolution is None for x in self._own.letters)
        return Letters(resolved=resolved, held=held)

    def _all_lanes_have(self, envelope: BatchEnvelope) -> bool:
        """Whether every lane has applied its event of the page, this one's included."""
        page = (envelope.log, envelope.sequence)
        others = [
            mark
            for lane, mark in self._own.watermarks.items()
            if lane != self._lane and (mark.log, mark.lanes) == (envelope.log, envelope.lanes)
            if mark.sequence >= envelope.sequence
            if mark.snapshot is None or mark.snapshot.first <= envelope.sequence
        ]
        parked = any(letter.lacks and (letter.log, letter.sequence) == page for letter in self._own.letters)
        return len(others) == envelope.lanes - 1 and not parked

    def _resolve(self, letters: list[Letter], resolution: str) -> int:
        waiting = {letter.event_id for letter in letters if letter.resolution is None}
        self._own.letters = [
            replace(letter, resolution=resolution) if letter.event_id in waiting else letter
            for letter in self._own.letters
        ]
        return len(waiting)

    async def save(self, watermark: Watermark, envelope: BatchEnvelope) -> None:  # noqa: ARG002  # no positions here
        if (self._own.log, self._own.lanes) != (watermark.log, watermark.lanes):
            self._own.log, self._own.lanes = watermark.log, watermark.lanes
            self._own.watermarks = {n: w for n, w in self._own.watermarks.items() if n < watermark.lanes}
        self._own.watermarks[self._lane] = watermark

    async def commit(self) -> None:
        self._store.answer()
        self._store.pipelines[self._pipeline.name] = self._own
        if self._table is not None:
            self._store.tables[self._pipeline.target] = self._table


def in_range(key: Key, envelope: BatchEnvelope) -> bool:
    """Whether the page's range covers the key."""
    above = envelope.range_from is None or key_order(key) > key_order(envelope.range_from)
    return above and (envelope.range_to is None or key_order(key) <= key_order(envelope.range_to))
