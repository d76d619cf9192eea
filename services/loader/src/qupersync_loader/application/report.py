"""What the process tells of itself every three seconds, and at once when a trouble comes or goes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qupersync_loader.application.ports import PipelineState, ProgressBoard
from qupersync_loader.application.troubles import Troubles, lane_place
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName

ROLE: Final = "loader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is."""

    instance: str
    group: GroupName
    version: str
    started_at: datetime


class Reporter:
    """Writes the heartbeat and the lanes' progress to the board."""

    def __init__(self, identity: Identity, board: ProgressBoard, troubles: Troubles, clock: Clock) -> None:
        self._identity = identity
        self._board = board
        self._troubles = troubles
        self._clock = clock

    async def report(self, states: dict[PipelineName, PipelineState] | None) -> None:
        """One report; `states` None where the target does not answer: the lanes' last word stands."""
        reasons = self._troubles.lanes()
        lanes: list[LaneProgress] = []
        for name, state in (states or {}).items():
            for lane, progress in state.watermarks.items():
                reason = reasons.get((name, lane_place(Lane(lane))))
                lanes.append(progress.model_copy(update={"trouble": reason}) if reason else progress)
        await self._board.publish(self._heartbeat(), lanes)

    async def withdraw(self) -> None:
        """Takes the heartbeat back when the process ends in order."""
        await self._board.withdraw(self._heartbeat())

    def _heartbeat(self) -> ProcessHeartbeat:
        return ProcessHeartbeat(
            role=ROLE,
            instance=self._identity.instance,
            group=self._identity.group,
            started_at=self._identity.started_at,
            beat_at=self._clock.now(),
            version=self._identity.version,
            troubles=self._troubles.by_pipeline(),
            notices=self._troubles.notices(),
        )
