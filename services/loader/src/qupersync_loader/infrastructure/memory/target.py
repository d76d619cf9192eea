"""The port `Target` in memory, for tests of everything above it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from qupersync_loader.application.fitting import Fits, Refused, Widen, fit
from qupersync_loader.application.ports import DueReread, Parked, PipelineState
from qupersync_loader.domain.filled import FilledColumns, Place
from qupersync_loader.domain.pipeline import DeletePolicy, SchemaPolicy, TargetPipeline
from qupersync_loader.infrastructure.memory.store import MemoryStore
from qupersync_loader.infrastructure.memory.tables import PipelineStore, Table, new_table
from qupersync_loader.infrastructure.memory.work import MemoryWork
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import lane_of_slot
from qupersync_shared.kernel.errors import SchemaRefusedError
from qupersync_shared.kernel.ids import GroupName, Lane, Log, PipelineName
from qupersync_shared.kernel.positions import encode_key


class MemorySession:
    """The port `TargetSession`."""

    def __init__(self, store: MemoryStore, pipeline: TargetPipeline) -> None:
        self._store = store
        self._pipeline = pipeline

    def is_prepared(self, schema: RowSchema) -> bool:
        table = self._store.tables.get(self._pipeline.target)
        known = self._store.pipelines.get(self._pipeline.name)
        if known is None or table is None or not known.filled.columns.keys() >= {*schema.names}:
            return False
        return all(_holds(table, column) for column in schema.columns)

    async def prepare(self, schema: RowSchema, at: Place) -> None:
        self._store.answer()
        async with self._store.lock:
            self._fit(schema, at)

    def _fit(self, schema: RowSchema, at: Place) -> None:
        for name, other in self._store.pipelines.items():
            if other.target == self._pipeline.target and name != self._pipeline.name:
                raise SchemaRefusedError(f"{self._pipeline.target} belongs to pipeline {name}")
        known = self._store.pipelines.setdefault(self._pipeline.name, PipelineStore(target=self._pipeline.target))
        table = self._store.tables.get(self._pipeline.target)
        if (table is None and known.made) or known.target != self._pipeline.target:
            known.watermarks.clear()
        if known.target != self._pipeline.target:
            known.filled = FilledColumns()
        known.target, known.made = self._pipeline.target, True
        if table is None:
            self._store.tables[self._pipeline.target] = new_table(schema)
            known.filled = FilledColumns().fitting(schema.names, at=at, present=())
            return
        filled = known.filled.fitting(schema.names, at=at, present=table.types)
        changes = _changes(table, schema, known)
        frozen = self._pipeline.schema_policy is SchemaPolicy.FREEZE
        if frozen and filled.gone - known.filled.gone:
            raise SchemaRefusedError(f"the source has dropped columns: {sorted(filled.gone)}")
        if frozen and changes:
            raise SchemaRefusedError(f"{self._pipeline.target} would need: {changes}")
        table.types.update(changes)
        known.filled = filled

    @asynccontextmanager
    async def work(self, lane: Lane) -> AsyncIterator[MemoryWork]:
        work = MemoryWork(self._store, self._pipeline, lane)
        try:
            yield work
        finally:
            work.release()


def _changes(table: Table, schema: RowSchema, known: PipelineStore) -> dict[str, str]:
    """Columns that are to have other types, or to be made; SchemaRefusedError where that would mean another content."""
    changes: dict[str, str] = {}
    for column in schema.columns:
        held = table.types.get(column.name)
        fitting = Widen(column.type.postgres) if held is None else fit(held, column.type)
        if isinstance(fitting, Widen):
            changes[column.name] = fitting.to
        if isinstance(fitting, Refused):
            vacant = all(row.values.get(column.name) is None for row in table.rows.values())
            gone = known.filled.gone
            if column.name not in gone or column.name in schema.key or not vacant or _is_awaited(known, column.name):
                raise SchemaRefusedError(f"column {column.name!r} is {held}, the source's is {column.type.name}")
            changes[column.name] = column.type.postgres
    return changes


def _is_awaited(known: PipelineStore, name: str) -> bool:
    """Whether some lane may bring values from before the column was dropped."""
    gone = known.filled.columns[name].gone
    passed = [mark for mark in known.watermarks.values() if gone is not None and (mark.log, mark.sequence) >= gone]
    return len(passed) < (known.lanes or 0)


def _holds(table: Table, column: Column) -> bool:
    held = table.types.get(column.name)
    return held is not None and isinstance(fit(held, column.type), Fits)


class MemoryTarget:
    """Owns the store."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()

    @asynccontextmanager
    async def session(self, pipeline: TargetPipeline) -> AsyncIterator[MemorySession]:
        self.store.answer()
        yield MemorySession(self.store, pipeline)

    async def states(self, group: GroupName) -> Mapping[PipelineName, PipelineState]:
        self.store.answer()
        return {name: _state(group, name, known) for name, known in self.store.pipelines.items()}

    async def due_rereads(self, pipelines: Sequence[TargetPipeline]) -> Sequence[DueReread]:
        self.store.answer()
        return [due for pipeline in pipelines for due in _due(pipeline, self.store.pipelines.get(pipeline.name))]

    async def saw_asked(self, due: DueReread) -> None:
        self.store.answer()
        known = self.store.pipelines[due.pipeline]
        known.quarantine = [
            replace(row, reread_for=due.snapshot)
            if row.resolution is None and encode_key(row.key) in due.rows.values()
            else row
            for row in known.quarantine
        ]

    async def tidy(self, pipelines: Sequence[TargetPipeline], *, keep_days: int) -> None:  # noqa: ARG002  # no times here
        self.store.answer()
        for pipeline in pipelines:
            known = self.store.pipelines.get(pipeline.name)
            if known is not None and pipeline.deletes is not DeletePolicy.KEEP and _all_lanes_have_it_all(known):
                known.letters = [
                    replace(letter, resolution="snapshot")
                    if letter.resolution is None and letter.log < (known.log or 0) and letter.lanes != known.lanes
                    else letter
                    for letter in known.letters
                ]

    async def close(self) -> None:
        """Nothing is held."""


def _due(pipeline: TargetPipeline, known: PipelineStore | None) -> list[DueReread]:
    due = []
    for lane, watermark in sorted(known.watermarks.items()) if known is not None else ():
        seen = watermark.snapshot
        if known is None or seen is None or seen.last is None or watermark.log != known.log:
            continue
        rows = {
            index: encode_key(row.key)
            for index, row in enumerate(known.quarantine)
            if row.resolution is None and row.reread_for != seen.id and lane_of_slot(row.slot, watermark.lanes) == lane
            if (row.log, row.sequence) <= (watermark.log, seen.last)
        }
        if rows:
            due.append(
                DueReread(group=pipeline.group, pipeline=pipeline.name, lane=Lane(lane), snapshot=seen.id, rows=rows)
            )
    return due


def _all_lanes_have_it_all(known: PipelineStore) -> bool:
    """Whether every lane of the pipeline's log has had a snapshot, and lacks none of its pages."""
    seen = {
        lane: mark.snapshot.id
        for lane, mark in known.watermarks.items()
        if mark.log == known.log and mark.snapshot is not None and mark.snapshot.over
    }
    lacking = any(x.lacks and x.snapshot_id is not None and x.snapshot_id == seen.get(x.lane) for x in known.letters)
    return len(seen) == known.lanes and not lacking


def _state(group: GroupName, name: PipelineName, known: PipelineStore) -> PipelineState:
    return PipelineState(
        log=Log(known.log) if known.log is not None else None,
        lanes=known.lanes,
        watermarks={
            Lane(lane): LaneProgress(
                group=group,
                pipeline=name,
                lane=lane,
                lanes=watermark.lanes,
                log=watermark.log,
                sequence=watermark.sequence,
                event_id=watermark.event_id,
                building=watermark.building,
                snapshot_whole=watermark.snapshot_whole,
                honest_time=watermark.honest_time,
                applied_at=datetime.now(UTC),
                quarantined=sum(
                    row.resolution is None and lane_of_slot(row.slot, watermark.lanes) == lane
                    for row in known.quarantine
                ),
                dead_letters=sum(
                    letter.resolution is None and letter.lane % watermark.lanes == lane for letter in known.letters
                ),
            )
            for lane, watermark in known.watermarks.items()
        },
        parked=Parked(
            quarantined=sum(row.resolution is None for row in known.quarantine),
            dead_letters=sum(letter.resolution is None for letter in known.letters),
        ),
    )
