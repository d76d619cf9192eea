"""The port `Target` in memory, for tests of everything above it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from qupersync_loader.application.fitting import Fits, Refused, Widen, fit
from qupersync_loader.application.ports import Parked, PipelineState
from qupersync_loader.domain.pipeline import SchemaPolicy, TargetPipeline
from qupersync_loader.infrastructure.memory.store import MemoryStore
from qupersync_loader.infrastructure.memory.tables import PipelineStore, Table, new_table
from qupersync_loader.infrastructure.memory.work import MemoryWork
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.kernel.errors import SchemaRefusedError
from qupersync_shared.kernel.ids import GroupName, Lane, Log, PipelineName


class MemorySession:
    """The port `TargetSession`."""

    def __init__(self, store: MemoryStore, pipeline: TargetPipeline) -> None:
        self._store = store
        self._pipeline = pipeline

    def is_prepared(self, schema: RowSchema) -> bool:
        table = self._store.tables.get(self._pipeline.target)
        known = self._pipeline.name in self._store.pipelines
        return known and table is not None and all(_holds(table, column) for column in schema.columns)

    async def prepare(self, schema: RowSchema) -> None:
        self._store.answer()
        for name, other in self._store.pipelines.items():
            if other.target == self._pipeline.target and name != self._pipeline.name:
                raise SchemaRefusedError(f"{self._pipeline.target} belongs to pipeline {name}")
        known = self._store.pipelines.setdefault(self._pipeline.name, PipelineStore(target=self._pipeline.target))
        table = self._store.tables.get(self._pipeline.target)
        if (table is None and known.made) or known.target != self._pipeline.target:
            known.watermarks.clear()
        known.target, known.made = self._pipeline.target, True
        if table is None:
            self._store.tables[self._pipeline.target] = new_table(schema)
            return
        changes: dict[str, str] = {}
        for column in schema.columns:
            held = table.types.get(column.name)
            fitting = Widen(column.type.postgres) if held is None else fit(held, column.type)
            if isinstance(fitting, Refused):
                raise SchemaRefusedError(f"column {column.name!r} is {held}, the source's is {column.type.name}")
            if isinstance(fitting, Widen):
                changes[column.name] = fitting.to
        if changes and self._pipeline.schema_policy is SchemaPolicy.FREEZE:
            raise SchemaRefusedError(f"{self._pipeline.target} would need: {changes}")
        table.types.update(changes)

    @asynccontextmanager
    async def work(self, lane: Lane) -> AsyncIterator[MemoryWork]:
        work = MemoryWork(self._store, self._pipeline, lane)
        try:
            yield work
        finally:
            work.release()


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

    async def close(self) -> None:
        """Nothing is held."""


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
            )
            for lane, watermark in known.watermarks.items()
        },
        parked=Parked(
            quarantined=sum(row.resolution is None for row in known.quarantine),
            dead_letters=sum(not letter.resolved for letter in known.letters),
        ),
    )
