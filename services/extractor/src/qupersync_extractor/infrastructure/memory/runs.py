"""The history of runs in memory."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from qupersync_extractor.application.runs import (
    INTERRUPTED,
    KEPT_MAX,
    LISTING,
    STREAK_RECORDS_MAX,
    RunCounts,
    RunRecord,
    RunSpan,
    prolonged,
)
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.kernel.ids import PipelineName, RunId
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.records.listing import select


class MemoryRuns:
    """The runs of a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def start(
        self,
        run: RunId,
        pipeline: PipelineName,
        *,
        mode: str,
        cause: str,
        trace_id: str | None = None,
        seconds: float = 0.0,
        span: RunSpan | None = None,
    ) -> None:
        self._store.check()
        now = self._store.now()
        for left in [found for found in self._store.runs.values() if found.pipeline == pipeline and not found.ended_at]:
            self._store.runs[left.id] = replace(left, ended_at=now, error=INTERRUPTED)
        began = now - timedelta(seconds=max(0.0, seconds))
        self._store.runs[run] = RunRecord(
            id=run, pipeline=pipeline, mode=mode, cause=cause, started_at=began, trace_id=trace_id, span=span
        )

    async def advance(self, run: RunId, *, counts: RunCounts, mode: str, span: RunSpan | None = None) -> None:
        self._store.check()
        found = self._store.runs.get(run)
        if found is not None and found.ended_at is None:
            self._store.runs[run] = replace(found, counts=counts, mode=mode, span=span or found.span)

    async def end(
        self,
        run: RunId,
        *,
        counts: RunCounts,
        error: str | None = None,
        mode: str | None = None,
        span: RunSpan | None = None,
    ) -> None:
        self._store.check()
        found = self._store.runs.get(run)
        if found is not None and found.ended_at is None:
            ended = replace(found, counts=counts, ended_at=self._store.now(), error=error)
            self._store.runs[run] = replace(ended, mode=mode or found.mode, span=span or found.span)

    async def fail(
        self, run: RunId, pipeline: PipelineName, *, mode: str, cause: str, error: str, seconds: float = 0.0
    ) -> None:
        self._store.check()
        now = self._store.now()
        runs = sorted((one for one in self._store.runs.values() if one.pipeline == pipeline), key=_order, reverse=True)
        found = prolonged(runs[:STREAK_RECORDS_MAX], error)
        if found is not None:
            again = self._store.runs[found]
            self._store.runs[found] = replace(again, ended_at=now, error=error, attempts=again.attempts + 1)
            return
        began = now - timedelta(seconds=max(0.0, seconds))
        self._store.runs[run] = RunRecord(
            id=run, pipeline=pipeline, mode=mode, cause=cause, started_at=began, ended_at=now, error=error
        )

    async def page(self, query: Query) -> Page[RunRecord]:
        self._store.check()
        removed = {name for name, control in self._store.controls.items() if control.deleted}
        named = any(query.filters.get(name) is not None for name in ("pipeline", "id"))
        return select(
            LISTING, query, [run for run in self._store.runs.values() if named or run.pipeline not in removed]
        )

    async def forget(self, *, older_than: timedelta, newest: int = KEPT_MAX) -> int:
        self._store.check()
        border = self._store.now() - older_than
        counts: Counter[PipelineName] = Counter()
        old = []
        for run in sorted(self._store.runs.values(), key=_order, reverse=True):
            counts[run.pipeline] += 1
            if run.ended_at is not None and (run.ended_at < border or counts[run.pipeline] > newest):
                old.append(run.id)
        for id_ in old:
            del self._store.runs[id_]
        return len(old)


def _order(run: RunRecord) -> tuple[datetime, RunId]:
    return run.started_at, run.id
