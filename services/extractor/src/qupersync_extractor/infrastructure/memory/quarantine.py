"""The source quarantine in memory, as people and maintenance see it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from qupersync_extractor.application.quarantine import QuarantinedRow, Resolution, WithheldRow, row_id
from qupersync_extractor.infrastructure.memory.store import MemoryStore, WithheldState
from qupersync_shared.contracts.parked import REASONS_MAX, ReasonTold, kind_of_reason
from qupersync_shared.kernel.ids import PipelineName


class MemoryWithheldRows:
    """The withheld rows of a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def page(
        self,
        *,
        pipelines: Sequence[PipelineName],
        resolved: bool,
        after: str | None,
        limit: int,
        reason: str | None = None,
    ) -> tuple[list[QuarantinedRow], int]:
        rows = [
            row
            for row in self._rows()
            if (not pipelines or row.pipeline in pipelines)
            and (resolved or row.resolution is None)
            and (after is None or row.id > after)
            and (reason is None or kind_of_reason(row.reason) == reason)
        ]
        return rows[:limit], max(0, len(rows) - limit)

    async def reasons(self, pipeline: PipelineName) -> tuple[list[ReasonTold], int]:
        waiting = [row for row in self._rows() if row.pipeline == pipeline and row.resolution is None]
        kinds: dict[str, list[QuarantinedRow]] = defaultdict(list)
        for row in waiting:
            kinds[kind_of_reason(row.reason)].append(row)
        told = [
            ReasonTold(
                reason=kind,
                example=min(row.reason for row in rows),
                count=len(rows),
                first_seen=min(row.first_seen_at for row in rows),
                last_seen=max(row.last_seen_at for row in rows),
            )
            for kind, rows in kinds.items()
        ]
        return sorted(told, key=lambda one: (-one.count, one.reason))[:REASONS_MAX], len(waiting)

    async def counts(self, pipelines: Sequence[PipelineName]) -> dict[PipelineName, int]:
        return dict(Counter(row.pipeline for row in self._rows() if row.pipeline in pipelines and not row.resolution))

    async def keys(self, pipeline: PipelineName) -> frozenset[str]:
        return frozenset(row.key for row in self._rows() if row.pipeline == pipeline and row.resolution is None)

    async def find(self, ids: Sequence[str]) -> list[QuarantinedRow]:
        return [row for row in self._rows() if row.id in ids]

    async def discard(self, ids: Sequence[str]) -> list[str]:
        chosen = [row for row in self._rows() if row.id in ids and row.resolution is None]
        for row in chosen:
            resolve(self._store, row.pipeline, {row.key: Resolution.DISCARDED})
        return [row.id for row in chosen]

    async def forget(self, *, older_than: timedelta) -> int:
        self._store.check()
        border = self._store.now() - older_than
        states = self._store.withheld_states
        old = [place for place, state in states.items() if state.resolved_at is not None and state.resolved_at < border]
        for place in old:
            del states[place]
            del self._store.withheld[place]
        return len(old)

    def _rows(self) -> list[QuarantinedRow]:
        self._store.check()
        rows = [_row(row, self._store.withheld_states[place]) for place, row in self._store.withheld.items()]
        return sorted(rows, key=lambda row: row.id)


def withhold(store: MemoryStore, rows: Sequence[WithheldRow]) -> None:
    """What a committed page withheld, once per key."""
    for row in rows:
        place = (row.pipeline, row.key)
        state = store.withheld_states.setdefault(
            place, WithheldState(first_seen_at=store.now(), last_seen_at=store.now())
        )
        state.times += 1
        state.last_seen_at = store.now()
        state.resolved_at = state.resolution = None
        store.withheld[place] = row


def unresolved(store: MemoryStore, pipeline: PipelineName) -> list[str]:
    """The encoded keys of a pipeline that wait to be settled, those withheld longest ago first."""
    waiting = [
        (state.last_seen_at, key)
        for (name, key), state in store.withheld_states.items()
        if name == pipeline and state.resolution is None
    ]
    return [key for _, key in sorted(waiting)]


def resolve(store: MemoryStore, pipeline: PipelineName, settled: Mapping[str, Resolution]) -> None:
    """Marks keys as settled, if they are not so yet."""
    for key, resolution in settled.items():
        state = store.withheld_states.get((pipeline, key))
        if state is not None and state.resolution is None:
            state.resolved_at, state.resolution = store.now(), resolution


def _row(row: WithheldRow, state: WithheldState) -> QuarantinedRow:
    return QuarantinedRow(
        id=row_id(row.pipeline, row.key),
        pipeline=row.pipeline,
        key=row.key,
        reason=row.reason,
        event_id=row.event_id,
        times=state.times,
        first_seen_at=state.first_seen_at,
        last_seen_at=state.last_seen_at,
        resolved_at=state.resolved_at,
        resolution=state.resolution,
    )
