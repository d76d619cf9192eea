"""The last run of each pipeline in memory."""

from collections.abc import Sequence

from qupersync_extractor.application.appointments import LastRun
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_shared.kernel.ids import PipelineName


class MemoryLastRuns:
    """Those of a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def read(self, pipelines: Sequence[PipelineName]) -> dict[PipelineName, LastRun]:
        self._store.check()
        return {name: run for name, run in self._store.last_runs.items() if name in pipelines}

    async def record(self, pipeline: PipelineName, run: LastRun) -> None:
        self._store.check()
        self._store.last_runs[pipeline] = run
