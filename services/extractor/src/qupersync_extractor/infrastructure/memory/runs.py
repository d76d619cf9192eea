"""The history of runs in memory."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from qupersync_extractor.application.runs import INTERRUPTED, KEPT_MAX, LISTING, RunCounts, RunRecord
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.kernel.ids import PipelineName, RunId
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.records.listing import select


class MemoryRuns:
    """The runs of a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def start(
        self, run: RunId, pipeline: PipelineName, *, mode: str, cause: str, trace_id: str | None = None
    ) -> None:
        self._store.check()
        now = self._store.now()
        for left in [found for found in self._store.runs.values() if found.pipeline == pipeline and not found.ended_at]:
            self._store.runs[left.id] = replace(left, ended_at=now, error=INTERRUPTED)
        self._store.runs[run] = RunRecord(
            id=run, pipeline=pipeline, mode=mode, cause=cause, started_at=now, trace_id=trace_id
        )

    async def end(self, run: RunId, *, counts: RunCounts, error: str | None = None) -> None:
        self._store.check()
        found = self._store.runs.get(run)
        if found is not None and found.ended_at is None:
            self._store.runs[run] = replace(found, counts=counts, ended_at=self._store.now(), error=error)

    async def page(self, query: Query) -> Page[RunRecord]:
        self._store.check()
        removed = {name for name, control in self._store.controls.items() if control.deleted}
        named = query.filters.get("pipeline") is not None
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
            if run.ended_at is not None and (run.started_at < border or counts[run.pipeline] > newest):
                old.append(run.id)
        for id_ in old:
            del self._store.runs[id_]
        return len(old)


def _order(run: RunRecord) -> tuple[datetime, RunId]:
    return run.started_at, run.id
