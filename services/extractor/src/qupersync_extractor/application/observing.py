"""The observer: sees how far pages have come, and marks it in the ledger. Several processes may do so at once."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import Final, Protocol

from qupersync_extractor.domain.whereabouts import Reached
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import GroupName, Lane, Log, PipelineName, Sequence, StreamSequence
from qupersync_shared.runtime.logs import get_logger

MARK_SECONDS: Final = 0.8  # marks of what was published are at least so far apart, however many processes look
FULL_LOOK_SECONDS: Final = 15.0  # so often the groups of pipelines are looked at where nothing moves

Member = tuple[PipelineName, GroupName]
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """How far a pipeline is extracted, and how far the ledger knows each loader group to be."""

    pipeline: PipelineName
    log: Log
    sequence: Sequence
    groups: Mapping[GroupName, Reached] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether a loader group has something to do here, or none is known."""
        here = (self.log, self.sequence)
        return self.sequence > 0 and (not self.groups or any(one.place != here for one in self.groups.values()))


class LedgerMarks(Protocol):
    """What the observer writes; each call is a transaction of its own, and safe to repeat."""

    async def mark_published(self, *, apart_seconds: float = 0.0) -> list[Stand]:
        """Marks how far all lanes of each pipeline are published, unless it was marked so lately; how all stand."""
        ...

    async def mark_applied(self, seen: Mapping[Member, Reached]) -> None:
        """Marks how far groups have come, at their moments (None, or one that is yet to come: now). None goes back."""
        ...

    async def take_back(self, member: Member, *, known: Reached, found: Reached) -> bool:
        """A group's target has lost what the ledger says it has; False if the ledger says something else by now."""
        ...

    async def forget_group(self, member: Member) -> None:
        """The group was removed: nothing waits for it any more."""
        ...


class GroupBoard(Protocol):
    """What loader groups say of themselves."""

    async def lanes_of(self, pipelines: SequenceOf[PipelineName]) -> list[LaneProgress]:
        """Every group's lanes of these pipelines, in as few requests as may be; may be empty or stale."""
        ...


class Claims(Protocol):
    """What the streams know of loader groups."""

    async def acknowledged(self, pipeline: PipelineName) -> Mapping[tuple[GroupName, Lane], StreamSequence]: ...


@dataclass(slots=True, kw_only=True)
class LedgerObserver:
    """Looks once a call. Reads the bucket only where something moves, and everything now and then."""

    marks: LedgerMarks
    board: GroupBoard
    claims: Claims
    _full_at: float = float("-inf")
    _behind: dict[Member, Reached] = field(default_factory=dict)

    async def look(self) -> bool:
        """Marks what has come further; whether anything may still move. Transient errors: nothing is lost by them."""
        stands = await self.marks.mark_published(apart_seconds=MARK_SECONDS)
        full = time.monotonic() - self._full_at >= FULL_LOOK_SECONDS
        looked = {stand.pipeline: stand for stand in stands if stand.sequence and (full or stand.moves)}
        if looked:
            await self._compare(looked, reached_by_groups(await self.board.lanes_of(list(looked))), full=full)
        if full:
            self._full_at = time.monotonic()
        return any(stand.moves for stand in stands)

    async def _compare(
        self, stands: Mapping[PipelineName, Stand], found: Mapping[Member, Reached], *, full: bool
    ) -> None:
        known = {(name, group): one for name, stand in stands.items() for group, one in stand.groups.items()}
        further = {
            member: one
            for member, one in found.items()
            if member[0] in stands and (member not in known or one.place > known[member].place)
        }
        if further:
            await self.marks.mark_applied(further)
        await self._take_back(known, found)
        if full:
            await self._forget_removed([member for member in known if member not in found])

    async def _take_back(self, known: Mapping[Member, Reached], found: Mapping[Member, Reached]) -> None:
        """A target that was restored has less than before. One look may be stale: two say so, one after the other."""
        behind = {m: one for m, one in found.items() if m in known and one.place < known[m].place}
        for member, one in behind.items():
            if member in self._behind and await self.marks.take_back(member, known=known[member], found=one):
                _log.warning("group_went_back", pipeline=member[0], group=member[1], log=one.log, sequence=one.sequence)
        not_looked_at = {member: one for member, one in self._behind.items() if member not in known}
        self._behind = not_looked_at | behind

    async def _forget_removed(self, silent: SequenceOf[Member]) -> None:
        """The bucket may have been lost; a group that was removed has no consumer either."""
        pipelines = sorted({pipeline for pipeline, _ in silent})
        claiming = dict(zip(pipelines, await asyncio.gather(*map(self._claiming, pipelines)), strict=True))
        for pipeline, group in silent:
            groups = claiming[pipeline]
            if groups is not None and group not in groups:
                await self.marks.forget_group((pipeline, group))
                _log.info("group_removed", pipeline=pipeline, group=group)

    async def _claiming(self, pipeline: PipelineName) -> frozenset[GroupName] | None:
        """The groups with consumers; None where that cannot be told, as of a pipeline whose stream is gone."""
        try:
            return frozenset(group for group, _ in await self.claims.acknowledged(pipeline))
        except TransientError as error:
            _log.debug("claims_unknown", pipeline=pipeline, reason=str(error))
            return None


def reached_by_groups(lanes: Iterable[LaneProgress]) -> dict[Member, Reached]:
    """How far all lanes of each group have come."""
    told: dict[Member, list[LaneProgress]] = defaultdict(list)
    for lane in lanes:
        told[(PipelineName(lane.pipeline), GroupName(lane.group))].append(lane)
    return {member: _by_all_lanes(entries) for member, entries in told.items()}


def _by_all_lanes(entries: SequenceOf[LaneProgress]) -> Reached:
    """A group is in the newest log that any of its lanes is in; lanes that say nothing there have applied nothing."""
    log = max(entry.log for entry in entries)
    here = {entry.lane: entry for entry in entries if entry.log == log}
    lanes = max(entry.lanes for entry in here.values())
    if any(lane not in here for lane in range(lanes)):
        return Reached(log=Log(log), sequence=Sequence(0))
    least = min(entry.sequence for entry in here.values())
    at = max(entry.applied_at for entry in here.values() if entry.sequence == least)
    return Reached(log=Log(log), sequence=Sequence(least), at=at)
