"""The bucket `qupersync_progress` in memory."""

from collections.abc import Sequence

from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat, lane_key, process_key
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName


class MemoryProgress:
    """`trouble`, while set, is raised by every call."""

    def __init__(self) -> None:
        self.trouble: QupersyncError | None = None
        self._lanes: dict[str, LaneProgress] = {}
        self._processes: dict[str, ProcessHeartbeat] = {}

    async def lanes(self, pipeline: PipelineName) -> list[LaneProgress]:
        self._raise_trouble()
        found = [entry for entry in self._lanes.values() if entry.pipeline == pipeline]
        return sorted(found, key=lambda entry: (entry.group, entry.lane))

    async def lanes_of(self, pipelines: Sequence[PipelineName]) -> list[LaneProgress]:
        self._raise_trouble()
        return [entry for entry in self._lanes.values() if entry.pipeline in pipelines]

    async def all_lanes(self) -> list[LaneProgress]:
        self._raise_trouble()
        return sorted(self._lanes.values(), key=lambda entry: (entry.pipeline, entry.group, entry.lane))

    async def beat(self, heartbeat: ProcessHeartbeat) -> None:
        self._raise_trouble()
        self._processes[process_key(heartbeat.role, heartbeat.instance)] = heartbeat

    async def leave(self, role: str, instance: str) -> None:
        self._raise_trouble()
        self._processes.pop(process_key(role, instance), None)

    async def processes(self) -> list[ProcessHeartbeat]:
        self._raise_trouble()
        return sorted(self._processes.values(), key=lambda entry: (entry.role, entry.instance))

    # What loaders and tests do to it.

    def report(self, entry: LaneProgress) -> None:
        """A loader group's word on one lane."""
        key = lane_key(GroupName(entry.group), PipelineName(entry.pipeline), Lane(entry.lane))
        self._lanes[key] = entry

    def forget(self) -> None:
        """The bucket was lost, or is not renewed yet."""
        self._lanes.clear()
        self._processes.clear()

    def _raise_trouble(self) -> None:
        if self.trouble is not None:
            raise self.trouble
