"""What waits for a person, at the source and in every target, and rebuilds: as API and page ask for them.

Targets are the loaders' own: their groups are asked over NATS. The source's quarantine is this service's table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from qupersync_extractor.application.actions import ActionKind, Actions
from qupersync_shared.contracts.parked import Chosen, ParkedEntry, ParkedKind, ReasonTold
from qupersync_shared.contracts.rebuilds import ENDED, RebuildTold
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName, PipelineName, uuid7


class UnknownEntryError(QupersyncError):
    """There is no such row or dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where something is parked: in the target of a loader group, or, `group` None, at the source."""

    pipeline: PipelineName
    group: GroupName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """So much waits in one place."""

    place: Place
    quarantined: int = 0
    dead_letters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries to list: those that wait, or `settled` ones too; of one kind of reason (`kind_of_reason`)."""

    kind: ParkedKind
    settled: bool = False
    reason: str | None = None
    cursor: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedPage:
    """Some entries; `next_cursor`, opaque, goes on behind them, None where nothing follows."""

    entries: tuple[ParkedEntry, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """What waits by kinds of reasons, the most frequent first; `total` counts those that are not told, too."""

    reasons: tuple[ReasonTold, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """How many the source is read again for. `snapshot`: for some of them only a snapshot could be asked for.

    `trouble`: why no more could be asked for.
    """

    asked: int
    snapshot: bool = False
    trouble: str | None = None


class Parked(Protocol):
    """What is parked in one place after the other.

    TransientError, with the cure, where no loader of the group answers; BadCursorError; UnknownEntryError.
    """

    async def page(self, place: Place, wanted: Wanted) -> ParkedPage: ...

    async def reasons(self, place: Place, kind: ParkedKind) -> Reasons: ...

    async def entry(self, place: Place, kind: ParkedKind, id_: str) -> ParkedEntry:
        """One entry with all that may be told of it."""
        ...

    async def redrive(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str, request: UUID) -> Redriven:
        """Has the source read again for those of the chosen that wait. The same `request` twice is asked for once."""
        ...

    async def discard(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str) -> int:
        """Gives up those of the chosen that wait; how many did."""
        ...


class WhereParked(Protocol):
    """Where something waits, by what loaders say of themselves and by the source's own quarantine."""

    async def waiting(self, pipelines: Sequence[PipelineName]) -> list[Waiting]:
        """Every place of these pipelines where something waits, by pipeline and group, the source's first."""
        ...


class Rebuilds(Protocol):
    """Rebuilds in the target of one loader group."""

    async def list(self, group: GroupName, *, ended: int = ENDED) -> tuple[RebuildTold, ...]:
        """Those under way first, then so many that have ended, the last first. TransientError where nobody answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedOperations:
    """What people do to parked content: done, and recorded with who did it."""

    parked: Parked
    actions: Actions

    async def redrive(
        self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str, request: UUID | None = None
    ) -> Redriven:
        """Has the source read again; recorded also where only a part could be asked for."""
        redriven = await self.parked.redrive(place, kind, chosen, by=by, request=request or uuid7())
        await self._record(ActionKind.REDRIVE, place, kind, chosen, by=by, count=redriven.asked)
        return redriven

    async def discard(
        self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str, reason: str | None = None
    ) -> int:
        """Gives up what is chosen, for a reason that is written down."""
        count = await self.parked.discard(place, kind, chosen, by=by)
        await self._record(ActionKind.DISCARD, place, kind, chosen, by=by, count=count, why=reason)
        return count

    async def _record(
        self,
        action: ActionKind,
        place: Place,
        kind: ParkedKind,
        chosen: Chosen,
        *,
        by: str,
        count: int,
        why: str | None = None,
    ) -> None:
        details = {
            "group": place.group,
            "kind": kind.value,
            "count": count,
            "ids": list(chosen.ids),
            "reason": chosen.reason,
        }
        await self.actions.record(action, by=by, pipeline=place.pipeline, reason=why, details=details)
