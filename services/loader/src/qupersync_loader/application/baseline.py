"""Lanes that cannot begin: a drained one without a watermark asks for a snapshot, patiently."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from qupersync_loader.application.ports import Commands, LaneFeed, PipelineState
from qupersync_loader.application.rotation import LaneRef
from qupersync_loader.application.troubles import Troubles, lane_place
from qupersync_loader.domain.judge import has_begun
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.commands import SnapshotRequest
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import Lane, Log, PipelineName
from qupersync_shared.runtime.logs import get_logger

# A baseline may be on its way through the outbox: asking at once would start its snapshot all over again.
GRACE: Final = timedelta(seconds=5)
ASK_AGAIN: Final = timedelta(seconds=30)
_FIRST_LOG: Final = Log(1)

_log = get_logger(__name__)


class BaselineKeeper:
    """Asks for a snapshot where a lane has drained its stream and has still not begun in the pipeline's log."""

    def __init__(self, feed: LaneFeed, commands: Commands, troubles: Troubles, clock: Clock) -> None:
        self._feed = feed
        self._commands = commands
        self._troubles = troubles
        self._clock = clock
        self._drained_since: dict[LaneRef, datetime] = {}
        self._asked_at: dict[PipelineName, datetime] = {}

    async def look(
        self,
        lanes: Iterable[LaneRef],
        states: Mapping[PipelineName, PipelineState],
        awaited: Mapping[LaneRef, Log] | None = None,
    ) -> None:
        """One look at all lanes; StreamUnavailableError where NATS cannot say what waits.

        `awaited`: logs of which lanes have met events without having met a baseline.
        """
        waiting: dict[PipelineName, tuple[TargetPipeline, list[Lane]]] = {}
        now = self._clock.now()
        for pipeline, lane in sorted(lanes, key=lambda ref: (ref[0].name, ref[1])):
            ref = (pipeline, lane)
            state = states.get(pipeline.name)
            behind = _is_left_behind(state, (awaited or {}).get(ref))
            begun = lane_has_begun(pipeline, lane, state) and not behind
            if begun or not (await self._feed.backlog(pipeline, lane)).drained:
                self._drained_since.pop(ref, None)
            elif abs(now - self._drained_since.setdefault(ref, now)) >= GRACE:  # whatever was done to the clock
                waiting.setdefault(pipeline.name, (pipeline, []))[1].append(lane)
        for pipeline, without in waiting.values():
            await self._ask(pipeline, without, states.get(pipeline.name), now)

    async def _ask(
        self, pipeline: TargetPipeline, lanes: list[Lane], state: PipelineState | None, now: datetime
    ) -> None:
        asked = self._asked_at.get(pipeline.name)
        if asked is not None and abs(now - asked) < ASK_AGAIN:
            return
        self._asked_at[pipeline.name] = now
        names = ", ".join(str(lane) for lane in lanes)
        accepted = await self._commands.request_snapshot(
            SnapshotRequest(
                group=pipeline.group,
                pipeline=pipeline.name,
                log=(state.log if state is not None else None) or _FIRST_LOG,
                reason=f"lanes {names} have nothing to begin with",
            )
        )
        _log.info("snapshot_requested", pipeline=pipeline.name, lanes=lanes, accepted=accepted)
        answer = "one was asked for" if accepted else "no extractor answers the request for one"
        for lane in lanes:
            self._troubles.set([pipeline.name], lane_place(lane), f"lane {lane} waits for a snapshot: {answer}")


def _is_left_behind(state: PipelineState | None, awaited: Log | None) -> bool:
    """Whether the stream has gone on to a greater log whose baseline it lost: a watermark in the old one is no use."""
    return awaited is not None and state is not None and state.log is not None and state.log < awaited


def lane_has_begun(pipeline: TargetPipeline, lane: Lane, state: PipelineState | None) -> bool:
    """Whether nothing need be asked: the lane has a watermark in the pipeline's log, or the log has no such lane."""
    if state is None or state.log is None or state.lanes is None:
        return lane >= pipeline.lanes
    known = state.watermarks.get(lane)
    return lane >= state.lanes or has_begun(pipeline_log=state.log, pipeline_lanes=state.lanes, watermark=known)
