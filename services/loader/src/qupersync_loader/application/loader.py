"""The loader as a whole: slots at work, lanes discovered, progress told, and the end when everything is loaded."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.baseline import BaselineKeeper, lane_has_begun
from qupersync_loader.application.claims import ClaimKeeper
from qupersync_loader.application.outcome import Ack, Cause, Nak
from qupersync_loader.application.parked import ParkedKeeper
from qupersync_loader.application.ports import LaneFeed, Parked, PipelineState, Target
from qupersync_loader.application.report import Reporter
from qupersync_loader.application.rotation import LaneRef, Rotation
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.standing import Standing
from qupersync_loader.application.troubles import CONFIGURATION, PREFLIGHT, PROCESS, STATE, STREAM, Troubles, lane_place
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.progress import HEARTBEAT_SECONDS
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import describe, get_logger
from qupersync_shared.runtime.retry import Backoff

_DISCOVER_SECONDS: Final = 30.0
_DRAIN_SECONDS: Final = 0.3
_BEAT_MIN_SECONDS: Final = 0.2

_STUCK: Final = (Cause.STALLED, Cause.FORKED, Cause.RESENT, Cause.AWAITS_BASELINE, Cause.PASSED_OVER)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How a run until drained has ended; `waiting` by pipeline, `reasons` of lanes that cannot go on."""

    waiting: dict[PipelineName, Parked]
    reasons: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not self.reasons and all(parked.nothing for parked in self.waiting.values())


class ChangingFeed(LaneFeed, Protocol):
    """A feed whose pipelines may be let go while it runs."""

    async def let_go(self, pipeline: TargetPipeline) -> None:
        """Gives back what nobody has taken; the consumers stay, they are the group's claim."""
        ...


class Loader:
    """Everything one process does, over its ports."""

    def __init__(
        self,
        *,
        group: GroupName,
        pipelines: Sequence[TargetPipeline],
        target: Target,
        feed: ChangingFeed,
        slots: Slots,
        slot_count: int,
        rotation: Rotation,
        baselines: BaselineKeeper,
        parked: ParkedKeeper,
        reporter: Reporter,
        troubles: Troubles,
        claims: ClaimKeeper | None = None,
        use_case: Callable[[TargetPipeline], ApplyEvent] | None = None,
    ) -> None:
        self._group = group
        self._wanted = list(pipelines)
        self._served: dict[PipelineName, TargetPipeline] = {}
        self._discovering: dict[PipelineName, asyncio.Task[None]] = {}
        self._target = target
        self._feed = feed
        self._slots = slots
        self._slot_count = slot_count
        self._rotation = rotation
        self._baselines = baselines
        self._parked = parked
        self._reporter = reporter
        self._troubles = troubles
        self._claims = claims
        self._use_case = use_case
        self._seen: dict[LaneRef, tuple[int, int] | None] = {}
        self._states: Mapping[PipelineName, PipelineState] | None = None
        self._has_looked = asyncio.Event()
        self._lost = asyncio.Event()
        self._telling = asyncio.Lock()

    async def run(self, stop: Stop) -> None:
        """Loads until the stop is requested; every slot ends after the event it is at."""
        beat = asyncio.create_task(self._tell())
        try:
            async with asyncio.TaskGroup() as tasks:
                for pipeline in self._wanted:
                    self._begin(pipeline, stop)
                for _ in range(self._slot_count):
                    tasks.create_task(self._slots.serve(stop))
                tasks.create_task(self._end_discovering(stop))
        finally:
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beat
            with contextlib.suppress(QupersyncError):
                await self._reporter.withdraw()

    async def run_until_drained(self, stop: Stop) -> Finish:
        """Loads what there is and ends; a lane that only a person can move counts as loaded, with its reason."""
        drained = asyncio.create_task(self._stop_when_drained(stop))
        try:
            await self.run(stop)
        finally:
            drained.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drained
        early = [] if not drained.cancelled() and drained.result() else ["the run was stopped before the end"]
        known = await self._target.states(self._group)
        states = {name: known.get(name, PipelineState()) for name in self._served}
        self._forget_overcome(states)
        blocked = self._blocked()
        return Finish(
            waiting={name: state.parked for name, state in states.items() if not state.parked.nothing},
            reasons=(*early, *sorted(blocked.values()), *([] if early else self._not_begun(states, blocked))),
        )

    def _not_begun(self, states: Mapping[PipelineName, PipelineState], named: Collection[LaneRef]) -> list[str]:
        """Lanes of which nothing was ever loaded: an earlier run may have acknowledged what it could not begin with."""
        return [
            f"{pipeline.name}, lane {lane} has nothing to begin with: a snapshot is yet to come"
            for pipeline, lane in sorted(self._rotation.lanes - set(named), key=lambda ref: (ref[0].name, ref[1]))
            if not lane_has_begun(pipeline, lane, states.get(pipeline.name))
        ]

    # ---------------------------------------------------------------------------------------------- pipelines

    async def change(self, pipelines: Sequence[TargetPipeline], stop: Stop) -> None:
        """From now on these pipelines are loaded; others are let go, each after the event it is at.

        One whose definition has changed is let go and begun anew.
        """
        wanted = {pipeline.name: pipeline for pipeline in pipelines}
        gone = [known for known in self._served.values() if wanted.get(known.name) != known]
        begun = [pipeline for pipeline in pipelines if pipeline not in self._served.values()]

        async def replace(known: TargetPipeline) -> None:
            await self._let_go(known)
            if known.name in wanted and not stop.requested:
                self._begin(wanted[known.name], stop)

        names = {known.name for known in gone}
        for pipeline in begun:
            if pipeline.name not in names:
                self._begin(pipeline, stop)
        await asyncio.gather(*(replace(known) for known in gone))

    def tell_of_configuration(self, trouble: str | None) -> None:
        """Shows why the configuration file is not in force, until it is."""
        self._troubles.set([PROCESS], CONFIGURATION, trouble)

    def tell_of_preflight(self, pipeline: str, *, failure: str | None, notices: Sequence[str]) -> None:
        """Shows what a look at the pipeline's target table has found; None and nothing: it is over."""
        name = PipelineName(pipeline)
        if name in self._served:
            self._troubles.set([name], PREFLIGHT, failure)
            self._troubles.note(name, notices)

    @property
    def served(self) -> Mapping[str, TargetPipeline]:
        """The pipelines that are loaded now, by name."""
        return {str(name): pipeline for name, pipeline in self._served.items()}

    @property
    def standing(self) -> Standing:
        """How this process stands now, for probes and metrics."""
        return Standing(
            group=self._group,
            tally=self._slots.tally,
            lanes=Counter(pipeline.name for pipeline, _ in self._rotation.lanes),
            served=tuple(self._served),
            states=self._states,
            slowest=self._slots.slowest,
        )

    def _begin(self, pipeline: TargetPipeline, stop: Stop) -> None:
        if self._use_case is not None:
            self._slots.join(pipeline, self._use_case(pipeline))
        self._served[pipeline.name] = pipeline
        self._discovering[pipeline.name] = asyncio.create_task(self._discover(pipeline, stop))

    async def _let_go(self, pipeline: TargetPipeline) -> None:
        if (discovering := self._discovering.pop(pipeline.name, None)) is not None:
            await end_tasks([discovering])
        self._rotation.drop(ref for ref in self._rotation.lanes if ref[0] == pipeline)
        await self._slots.leave(pipeline)
        await self._feed.let_go(pipeline)
        async with self._telling:  # else a look that is under way would speak of it once more
            del self._served[pipeline.name]
            self._seen = {ref: place for ref, place in self._seen.items() if ref[0] != pipeline}
            self._troubles.forget(pipeline.name)
            if self._claims is not None:
                self._claims.forget(pipeline)
        _log.info("pipeline_let_go", pipeline=pipeline.name)

    async def _end_discovering(self, stop: Stop) -> None:
        try:
            await stop.wait()
        finally:
            await end_tasks(self._discovering.values())

    # -------------------------------------------------------------------------------------------------- lanes

    async def _discover(self, pipeline: TargetPipeline, stop: Stop) -> None:
        """Finds the pipeline's lanes and declares their consumers, now and from time to time."""
        backoff = Backoff(first_seconds=0.2, cap_seconds=2.0)
        mine = asyncio.current_task()
        while not stop.requested and self._discovering.get(pipeline.name) is mine:
            lost = self._lost
            try:
                lanes = await self._lanes(pipeline)
            except QupersyncError as error:
                if self._troubles.reason(pipeline.name, STREAM) is None:
                    _log.warning("stream_unavailable", pipeline=pipeline.name, error=error)
                self._troubles.set([pipeline.name], STREAM, describe(error))
                await stop.wait(backoff.next())
                continue
            except Exception:  # noqa: BLE001  # a defect here must not leave the pipeline without its lanes
                _log.exception("lanes_not_found", pipeline=pipeline.name)
                await stop.wait(_DISCOVER_SECONDS)
                continue
            backoff.reset()
            self._troubles.set([pipeline.name], STREAM, None)
            self._rotation.add((pipeline, lane) for lane in lanes)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DISCOVER_SECONDS):
                    await lost.wait()

    async def _lanes(self, pipeline: TargetPipeline) -> frozenset[Lane]:
        """The lanes there are, with their consumers declared, and begun again where the target was lost."""
        found = await self._feed.discover(pipeline)
        if self._claims is None:
            return found
        await self._has_looked.wait()  # whether or not the target has answered
        if self._states is None:
            return found
        state = self._states.get(pipeline.name)
        await self._claims.begin_again_where_lost(pipeline, found, state)
        kept = await self._claims.end_where_left(pipeline, found, state)
        left = [ref for ref in self._rotation.lanes if ref[0] == pipeline and ref[1] not in kept]
        self._rotation.drop(left)
        self._slots.forget(left)
        for _, lane in left:
            self._troubles.set([pipeline.name], lane_place(lane), None)
        return found

    # ------------------------------------------------------------------------------------------------- telling

    async def _tell(self) -> None:
        """Reports until cancelled; what cannot be told now is told with the next beat."""
        while True:
            try:
                async with self._telling:
                    await self._beat()
            except Exception:  # noqa: BLE001  # a defect in telling must not end the loading
                _log.exception("report_failed")
            self._has_looked.set()
            await asyncio.sleep(_BEAT_MIN_SECONDS)
            await self._troubles.changed(HEARTBEAT_SECONDS - _BEAT_MIN_SECONDS)

    async def _beat(self) -> None:
        names = list(self._served)
        states: dict[PipelineName, PipelineState] | None = None
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                known = await self._target.states(self._group)
            states = {name: known[name] for name in names if name in known}
        except QupersyncError as error:
            self._states = None
            self._troubles.set(names, STATE, describe(error))
        except TimeoutError:
            self._states = None
            self._troubles.set(names, STATE, f"it did not answer within {HEARTBEAT_SECONDS:g} s")
        else:
            self._look_for_losses(known)
            self._states = known  # also of pipelines that are yet to join
            if self._claims is not None:
                self._claims.saw(known)
            self._troubles.set(names, STATE, None)
            self._forget_overcome(states)
        self._has_looked.set()
        try:
            await self._reporter.report(states)
            if states is not None:
                await self._baselines.look(self._rotation.lanes, states, self._slots.awaited)
                if self._served:
                    await self._parked.look(list(self._served.values()), states)
        except QupersyncError as error:
            _log.debug("progress_not_told", error=error)

    def _look_for_losses(self, states: Mapping[PipelineName, PipelineState]) -> None:
        """A target that has lost what it knew, or may have, makes us look for lanes at once: claims begin again."""
        before = self._states
        lost = [
            name
            for name, state in (before or {}).items()
            if state.watermarks and not states.get(name, PipelineState()).watermarks
        ]
        if lost or (before is None and self._has_looked.is_set()):
            self._lost.set()
            self._lost = asyncio.Event()

    def _forget_overcome(self, states: Mapping[PipelineName, PipelineState]) -> None:
        """A lane that has moved on, in whichever process, or that its log no longer has, left its trouble behind."""
        for ref in self._rotation.lanes:
            pipeline, lane = ref
            state = states.get(pipeline.name, PipelineState())
            known = state.watermarks.get(lane)
            place = None if known is None else (known.log, known.sequence)
            moved = place is not None and self._seen.get(ref, place) != place
            over = state.lanes is not None and lane >= state.lanes and isinstance(self._slots.last.get(ref), Ack)
            if moved or over:
                self._troubles.set([pipeline.name], lane_place(lane), None)
            self._seen[ref] = place

    # ---------------------------------------------------------------------------------------------- draining

    async def _stop_when_drained(self, stop: Stop) -> bool:
        """Requests the stop when all lanes were drained twice, with nothing applied in between; whether it did."""
        before = -1
        while not stop.requested:
            await stop.wait(_DRAIN_SECONDS)
            try:
                drained = await self._drained()
            except QupersyncError as error:
                _log.debug("backlog_unknown", error=error)
                drained = False
            except Exception:  # noqa: BLE001  # a defect in looking must not leave a run that never ends
                _log.exception("backlog_failed")
                drained = False
            now = self._slots.tally.applied if drained else -1
            if drained and now == before:
                stop.request()
                return True
            before = now
        return False

    async def _drained(self) -> bool:
        found = {ref[0].name for ref in self._rotation.lanes}
        if any(name not in found for name in self._served):
            return False
        for ref in self._rotation.lanes:
            if not await self._is_done(ref):
                return False
        return True

    async def _is_done(self, ref: LaneRef) -> bool:
        last = self._slots.last.get(ref)
        if isinstance(last, Nak) and last.halted:
            return True
        awaited = isinstance(last, Ack) and last.cause is Cause.RESENT
        if awaited and self._troubles.reason(ref[0].name, lane_place(ref[1])) is not None:
            return False  # what was asked for is on its way
        return (await self._feed.backlog(*ref)).drained

    def _blocked(self) -> dict[LaneRef, str]:
        """What keeps lanes from going on, as far as nobody has overcome it since."""
        blocked = {}
        for ref, last in self._slots.last.items():
            pipeline, lane = ref
            reason = self._troubles.reason(pipeline.name, lane_place(lane))
            stuck = isinstance(last, Nak) or last.cause in _STUCK
            if stuck and reason is not None:
                blocked[ref] = f"{pipeline.name}, {reason}"
        return blocked
