"""The outbox in memory, as the relay reads it."""

from qupersync_extractor.application.ports import OutboxDepth
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.kernel.ids import EventId, Lane, Log, PipelineName, Sequence


class MemoryOutboxReader:
    """The records of a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def next_records(
        self, pipeline: PipelineName, lane: Lane, log: Log, *, after: Sequence, limit: int, bytes_max: int
    ) -> list[OutboxRecord]:
        self._store.check()
        found: list[OutboxRecord] = []
        room = bytes_max
        for record in self._lane(pipeline, lane, log, after)[:limit]:
            room -= len(record.payload) + sum(len(name) + len(value) for name, value in record.headers.items())
            if found and room < 0:
                break
            found.append(record)
        return found

    async def find(self, event_id: EventId) -> OutboxRecord | None:
        self._store.check()
        return next((record for record in self._store.outbox.values() if record.id == event_id), None)

    async def depth(self, pipeline: PipelineName) -> OutboxDepth:
        self._store.check()
        row = self._store.pipelines.get(pipeline)
        waiting: list[OutboxRecord] = []
        for lane in range(row.state.lanes if row is not None else 0):
            log = row.state.log if row is not None else Log(1)
            place = self._store.cursors.get((pipeline, Lane(lane)))
            after = place.cursor.last_sequence if place is not None and place.cursor.log == log else Sequence(0)
            waiting.extend(self._lane(pipeline, Lane(lane), log, after))
        return OutboxDepth(
            records=len(waiting),
            bytes=sum(len(record.payload) for record in waiting),
            oldest=min((record.occurred_at for record in waiting), default=None),
        )

    async def wait(self, seconds: float) -> None:
        await self._store.wait(seconds)

    async def next_committed(self, seconds: float) -> frozenset[PipelineName] | None:
        self._store.check()
        return await self._store.next_written(seconds)

    async def behind(self) -> frozenset[PipelineName]:
        self._store.check()
        found = set()
        for (name, lane), row in self._store.cursors.items():
            known = self._store.pipelines.get(name)
            if known is None or lane >= known.state.lanes or row.cursor.log != known.state.log:
                continue
            if row.cursor.last_sequence < known.state.sequence:
                found.add(name)
        return frozenset(found)

    def _lane(self, pipeline: PipelineName, lane: Lane, log: Log, after: Sequence) -> list[OutboxRecord]:
        found = [
            record
            for key, record in self._store.outbox.items()
            if key[:3] == (pipeline, lane, log) and record.sequence > after
        ]
        return sorted(found, key=lambda record: record.sequence)
