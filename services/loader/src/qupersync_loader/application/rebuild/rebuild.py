"""The use case: a table made anew from the stream beside live loading, compared with the live one, put in its place."""

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.ports import Target
from qupersync_loader.application.rebuild.catching_up import CatchUp
from qupersync_loader.application.rebuild.history import History, Size, WholeSnapshot
from qupersync_loader.application.rebuild.lane_reader import Filling
from qupersync_loader.application.rebuild.level import Levelling, Patience, noted, unbroken
from qupersync_loader.application.rebuild.silent import SilentCommands
from qupersync_loader.application.rebuild.stand import Stand
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.application.rebuild.telling import Began, Compared, InPhase, Placed, Tell
from qupersync_loader.application.shadows import (
    Comparison,
    Held,
    HinderedError,
    LanePair,
    Moment,
    Obstacle,
    Phase,
    Shadow,
    Shadows,
    ShadowState,
    Swapped,
    Way,
)
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane, Log
from qupersync_shared.runtime.logs import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator wants done: the shadow put in place or kept, how, and even where the tables differ."""

    swap: bool = True
    way: Way = Way.SWAP
    accept_difference: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a rebuild would begin with, how much it would read, and what is in its way."""

    snapshot: WholeSnapshot
    size: Size
    obstacles: Sequence[Obstacle]
    found: ShadowState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """How it ended. `table` is the shadow, which is still there unless it was put in place."""

    phase: Phase
    table: str
    comparison: Comparison
    swapped: Swapped | None = None


class Rebuild:
    """Rebuilds one pipeline's table. Killed at any moment, it has changed nothing or all, and can begin again."""

    def __init__(
        self,
        pipeline: TargetPipeline,
        *,
        shadows: Shadows,
        history: History,
        target: Target,
        clock: Clock,
        connections: int,
        tell: Tell,
        wishes: Wishes | None = None,
        patience: Patience | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._shadows = shadows
        self._history = history
        self._target = target
        self._clock = clock
        self._connections = connections
        self._tell = tell
        self._wishes = wishes or Wishes()
        self._patience = patience or Patience()
        self._tally = tally or Tally()
        self._placed = False

    @property
    def placed(self) -> bool:
        """Whether the shadow is in place, however the call ended."""
        return self._placed

    async def preview(self) -> Preview:
        """What would happen; nothing is made."""
        async with self._shadows.claim(self._pipeline) as shadow:
            snapshot = await self._beginning(await shadow.lanes())
            return Preview(
                snapshot=snapshot,
                size=await self._history.size(snapshot.first),
                obstacles=await shadow.obstacles(await self._history.schema()),
                found=await shadow.found(),
            )

    async def discard(self) -> ShadowState | None:
        """Removes what an earlier rebuild left, which is returned; None if there was nothing."""
        async with self._shadows.claim(self._pipeline) as shadow:
            found = await shadow.found()
            await shadow.discard()
            return found

    async def __call__(self) -> Rebuilt:
        """Reads, compares, and puts in place. ConflictError while another process rebuilds the pipeline; HinderedError
        before anything is read; any other QupersyncError leaves the live table as it was, and the shadow for next time.
        """
        async with self._shadows.claim(self._pipeline) as shadow:
            await self._ask_for_obstacles(shadow)
            snapshot = await self._beginning(await shadow.lanes())
            found = await shadow.found()
            state = await shadow.make()
            self._tell(Began(snapshot=snapshot, table=state.table, resumed=found is not None))
            await self._enter(shadow, Phase.READING)
            stand = Stand.of(state.lanes, schema=await self._history.schema())
            levelling = await self._levelling(shadow, snapshot, stand)
            comparison = await self._compare(shadow, levelling, stand)
            if not comparison.equal and not (self._wishes.accept_difference and self._wishes.swap):
                await noted(shadow, Phase.DIFFERENT, rows=comparison.shadow_rows, detail=_differing(comparison))
                return Rebuilt(phase=Phase.DIFFERENT, table=state.table, comparison=comparison)
            if not self._wishes.swap:
                await noted(shadow, Phase.KEPT, rows=comparison.shadow_rows)
                return Rebuilt(phase=Phase.KEPT, table=state.table, comparison=comparison)
            swapped = await self._put_in_place(shadow, levelling, stand)
        phase = Phase.SWAPPED if swapped.way is Way.SWAP else Phase.MERGED
        return Rebuilt(phase=phase, table=state.table, comparison=comparison, swapped=swapped)

    # ---------------------------------------------------------------------------------------------- beginning

    async def _ask_for_obstacles(self, shadow: Shadow) -> None:
        if self._wishes.swap and self._wishes.way is Way.SWAP:
            obstacles = await shadow.obstacles(await self._history.schema())
            if obstacles:
                raise HinderedError(self._pipeline.target, obstacles)

    async def _beginning(self, pairs: Mapping[Lane, LanePair]) -> WholeSnapshot:
        log = max((pair.live.log for pair in pairs.values() if pair.live is not None), default=None)
        if log is None:
            raise QupersyncError(
                f"{self._pipeline.name}: nothing has been loaded into {self._pipeline.target} yet",
                cure="Start `qupersync-loader run`: it fills the table from the stream by itself",
            )
        snapshot = await self._newest(log)
        if snapshot is None:
            raise QupersyncError(
                f"{self._pipeline.name}: the stream has no whole snapshot of log {log} to begin with",
                cure=f"`qupersync trigger {self._pipeline.name} --mode snapshot`, and run this again when it has ended",
            )
        return snapshot

    async def _newest(self, log: Log) -> WholeSnapshot | None:
        # A source that forgets says less with every snapshot: the longest history is the fullest.
        return await self._history.whole_snapshot(log, oldest=self._pipeline.deletes is DeletePolicy.KEEP)

    async def _levelling(self, shadow: Shadow, snapshot: WholeSnapshot, stand: Stand) -> Levelling:
        async def later() -> WholeSnapshot | None:
            return await self._history.whole_snapshot(max(stand.log or snapshot.log, snapshot.log))

        filling = Filling(
            history=self._history,
            target=self._target,
            pipeline=shadow.pipeline,
            apply=ApplyEvent(shadow.pipeline, SilentCommands(), self._clock),
            connections=self._connections,
            stand=stand,
            tally=self._tally,
            later=later,
            patience_seconds=self._patience.trouble_seconds,
        )
        catch_up = CatchUp(filling, begin=snapshot.first)
        await catch_up.measure()
        return Levelling(shadow, catch_up, stand, patience=self._patience, tell=self._tell)

    # ------------------------------------------------------------------------------------- comparing, placing

    async def _compare(self, shadow: Shadow, levelling: Levelling, stand: Stand) -> Comparison:
        async with AsyncExitStack() as moments:

            async def take(held: Held) -> Moment:
                return await moments.enter_async_context(held.moment())

            moment = await levelling.when_level(take)
            schema = stand.known_schema
            await self._enter(shadow, Phase.COMPARING)
            async with levelling.meanwhile():
                comparison = await moment.compare(schema)
        self._tell(Compared(comparison=comparison))
        return comparison

    async def _put_in_place(self, shadow: Shadow, levelling: Levelling, stand: Stand) -> Swapped:
        await self._enter(shadow, Phase.SWAPPING)

        async def put(held: Held) -> Swapped:
            done = await unbroken(held.put_in_place(self._wishes.way, stand.known_schema))
            self._placed = True
            return done

        before = shadow.prepare if self._wishes.way is Way.SWAP else None
        swapped = await levelling.when_level(put, before=before)
        self._tell(Placed(swapped=swapped))
        phase = Phase.SWAPPED if swapped.way is Way.SWAP else Phase.MERGED
        with contextlib.suppress(QupersyncError):  # it is done, whether or not it can be written down
            await noted(shadow, phase, rows=swapped.rows)
        _log.info("table_rebuilt", pipeline=self._pipeline.name, way=swapped.way, rows=swapped.rows)
        return swapped

    async def _enter(self, shadow: Shadow, phase: Phase) -> None:
        await noted(shadow, phase, rows=self._tally.rows)
        self._tell(InPhase(phase=phase))


def _differing(comparison: Comparison) -> str:
    lanes = ", ".join(str(one.lane) for one in comparison.differences)
    return f"{comparison.live_rows} rows live, {comparison.shadow_rows} in the shadow; lanes that differ: {lanes}"
