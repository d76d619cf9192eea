"""The port `ReplayTables` in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from qupersync_loader.application.rebuild.replay import LeftOut
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.memory.shadows import ShadowedTarget
from qupersync_loader.infrastructure.memory.store import MemoryStore
from qupersync_shared.kernel.errors import ConflictError, QupersyncError
from qupersync_shared.kernel.ids import GroupName


@dataclass(slots=True, kw_only=True)
class MemoryReplayTables:
    """`made`: tables that replays have made, and of which pipeline."""

    target: ShadowedTarget
    made: dict[str, str] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def claim(self, pipeline: TargetPipeline) -> AsyncIterator["MemoryReplayTable"]:
        if pipeline.target in self.claimed:
            raise ConflictError(f"another process replays into {pipeline.target}")
        self.claimed.add(pipeline.target)
        try:
            yield MemoryReplayTable(self, pipeline)
        finally:
            self.claimed.discard(pipeline.target)


class MemoryReplayTable:
    """The port `ReplayTable`; the table is among the target's once it is finished."""

    def __init__(self, tables: MemoryReplayTables, pipeline: TargetPipeline) -> None:
        self._tables = tables
        self.pipeline = replace(pipeline, group=GroupName(f"{pipeline.group}~replay~{pipeline.target}"))

    async def make_way(self) -> None:
        target, into = self._tables.target, self.pipeline.target
        if any(known.target == into for known in target.store.pipelines.values()):
            raise QupersyncError(f"{into} is the table of a pipeline")
        table = target.store.tables.get(into)
        if table is not None and table.rows and self._tables.made.get(into) != self.pipeline.name:
            raise QupersyncError(f"{into} has rows that no replay of {self.pipeline.name} wrote")
        target.store.tables.pop(into, None)
        target.hidden.pop(self.pipeline.group, None)

    async def finish(self) -> LeftOut:
        store = self._tables.target.hidden.pop(self.pipeline.group, MemoryStore())
        self._tables.target.store.tables[self.pipeline.target] = store.tables[self.pipeline.target]
        self._tables.made[self.pipeline.target] = self.pipeline.name
        refused = [row for known in store.pipelines.values() for row in known.quarantine if row.resolution is None]
        parked = [letter for known in store.pipelines.values() for letter in known.letters if letter.resolution is None]
        reasons = sorted({*(row.reason for row in refused), *(letter.reason for letter in parked)})
        return LeftOut(rows=len(refused), events=len(parked), reasons=reasons[:5])
