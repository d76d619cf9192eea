"""The use case: a part of a stream, or all of it, applied to a table of its own."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.ports import Target
from qupersync_loader.application.rebuild.catching_up import all_of
from qupersync_loader.application.rebuild.history import History
from qupersync_loader.application.rebuild.lane_reader import Filling, LaneReader
from qupersync_loader.application.rebuild.part import Part, Span, SpanReach, find
from qupersync_loader.application.rebuild.silent import SilentCommands
from qupersync_loader.application.rebuild.stand import Ended
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.domain.pipeline import OnBadRow, OnTerminal, SchemaPolicy, TargetPipeline
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import GroupName, Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What the table did not take: rows it refused, events that cannot be decoded, and the first few reasons."""

    rows: int = 0
    events: int = 0
    reasons: Sequence[str] = ()

    @property
    def nothing(self) -> bool:
        return not (self.rows or self.events)


class ReplayTable(Protocol):
    """A table that is being replayed into, claimed by this process until its context is left."""

    @property
    def pipeline(self) -> TargetPipeline:
        """The table as a pipeline of a loader group that nobody else is in."""
        ...

    async def make_way(self) -> None:
        """Empties what an earlier replay of the pipeline left. QupersyncError for a table that is somebody else's: a
        pipeline's own, or one with rows that no replay wrote.
        """
        ...

    async def finish(self) -> LeftOut:
        """It is a table like any other from now on: whatever was written down about it is forgotten, and returned."""
        ...


class ReplayTables(Protocol):
    """The target, as far as replays go."""

    def claim(self, pipeline: TargetPipeline) -> AbstractAsyncContextManager[ReplayTable]:
        """The only replay into the table that `pipeline` names; ConflictError while another process replays into it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay has done. `gaps`: lanes of which the stream lacks events within the part."""

    span: Span
    left_out: LeftOut
    gaps: Sequence[Lane] = ()

    @property
    def complete(self) -> bool:
        """Whether the table holds all that the part said."""
        return self.left_out.nothing and not self.gaps


class Replay:
    """The first event seen of a lane counts as its beginning: the table then holds what these events said, no more."""

    def __init__(
        self,
        pipeline: TargetPipeline,
        *,
        tables: ReplayTables,
        history: History,
        target: Target,
        clock: Clock,
        connections: int,
        tally: Tally,
    ) -> None:
        self._pipeline = pipeline
        self._tables = tables
        self._history = history
        self._target = target
        self._clock = clock
        self._connections = connections
        self._tally = tally

    async def __call__(self, part: Part) -> Replayed:
        """Killed at any moment, it may be begun again, and begins anew."""
        async with self._tables.claim(self._pipeline) as table:
            span = await find(self._history, self._pipeline.name, part)
            await table.make_way()
            gaps = await self._read(table.pipeline, span)
            return Replayed(span=span, left_out=await table.finish(), gaps=gaps)

    async def _read(self, pipeline: TargetPipeline, span: Span) -> list[Lane]:
        filling = Filling(
            history=self._history,
            target=self._target,
            pipeline=pipeline,
            apply=ApplyEvent(pipeline, SilentCommands(), self._clock),
            connections=self._connections,
            tally=self._tally,
            anywhere=True,
        )
        gaps: list[Lane] = []

        async def fill(lane: Lane) -> None:
            reader, reach = LaneReader(lane, filling, begin=span.begin[lane]), SpanReach(span=span, end=span.end[lane])
            ended = await reader.advance(reach)
            if ended is Ended.SHORT:
                gaps.append(lane)  # the end of the part was purged meanwhile
            elif reader.lacks:
                gaps.append(lane)
                reader.leap()
                await reader.advance(reach)

        await all_of(fill(lane) for lane in sorted(span.begin))
        return sorted(gaps)


def replayed_into(pipeline: TargetPipeline, schema: str, table: str, *, group: str) -> TargetPipeline:
    """The pipeline with another table, in a group of its own, that lets no row and no event end it all."""
    return TargetPipeline(
        group=GroupName(group),
        name=pipeline.name,
        schema=schema,
        table=table,
        lanes=pipeline.lanes,
        deletes=pipeline.deletes,
        on_bad_row=OnBadRow.QUARANTINE,
        on_terminal=OnTerminal.PARK,
        schema_policy=SchemaPolicy.EVOLVE,
        nul_bytes=pipeline.nul_bytes,
    )
