"""Progress and leases of lanes in memory."""

from dataclasses import replace
from datetime import timedelta

from qupersync_extractor.domain.records import RelayCursor
from qupersync_extractor.infrastructure.memory.store import CursorRow, Lease, MemoryStore
from qupersync_shared.kernel.ids import Generation, Lane, Log, PipelineName, Sequence


class MemoryRelayCursors:
    """The relay cursors of a MemoryStore; every change is atomic, since nothing is awaited before it is whole."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def claim(self, pipeline: PipelineName, owner: str, seconds: float) -> list[RelayCursor]:
        self._store.check()
        registered = self._store.pipelines.get(pipeline)
        claimed = []
        for lane in map(Lane, range(registered.state.lanes if registered is not None else 0)):
            log = registered.state.log if registered is not None else Log(1)
            fresh = RelayCursor(pipeline=pipeline, lane=lane, log=log)
            row = self._store.cursors.setdefault((pipeline, lane), CursorRow(cursor=fresh))
            if row.lease is not None and row.lease.owner != owner and row.lease.holds(self._store.now()):
                continue
            if row.cursor.log > log:
                continue
            if row.cursor.log < log:
                row.cursor = replace(
                    fresh,
                    last_stream_sequence=row.cursor.last_stream_sequence,
                    generation=Generation(row.cursor.generation + 1),
                )
            row.lease = self._lease(owner, seconds)
            claimed.append(row.cursor)
        return claimed

    async def renew(self, owner: str, seconds: float) -> None:
        self._store.check()
        for row in self._held(owner):
            row.lease = self._lease(owner, seconds)

    async def advance(self, cursor: RelayCursor, owner: str) -> bool:
        self._store.check()
        row = self._store.cursors.get((cursor.pipeline, cursor.lane))
        if row is None or row.lease is None or row.lease.owner != owner:
            return False
        if (row.cursor.log, row.cursor.generation) != (cursor.log, cursor.generation):
            return False
        row.cursor = cursor
        return True

    async def read(self, pipeline: PipelineName, lane: Lane) -> RelayCursor | None:
        self._store.check()
        row = self._store.cursors.get((pipeline, lane))
        return row.cursor if row is not None else None

    async def rewind(
        self, pipeline: PipelineName, lane: Lane, log: Log, *, from_sequence: Sequence
    ) -> Generation | None:
        self._store.check()
        registered, row = self._store.pipelines.get(pipeline), self._store.cursors.get((pipeline, lane))
        if registered is None or row is None or not registered.state.log == row.cursor.log == log:
            return None
        if (pipeline, lane, log, from_sequence) not in self._store.outbox:
            return None
        row.cursor = replace(
            row.cursor,
            last_sequence=Sequence(min(row.cursor.last_sequence, from_sequence - 1)),
            generation=Generation(row.cursor.generation + 1),
        )
        await self._store.ring({pipeline})
        return row.cursor.generation

    async def release(self, owner: str, pipeline: PipelineName | None = None) -> None:
        self._store.check()
        for row in self._held(owner):
            if pipeline in (None, row.cursor.pipeline):
                row.lease = None

    def _held(self, owner: str) -> list[CursorRow]:
        return [row for row in self._store.cursors.values() if row.lease is not None and row.lease.owner == owner]

    def _lease(self, owner: str, seconds: float) -> Lease:
        return Lease(owner=owner, until=self._store.now() + timedelta(seconds=seconds))
