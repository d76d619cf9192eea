"""The page of what waits for a person: every place where something is parked, by kinds of errors and entry by entry."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qupersync_extractor.application.parked import Parked, ParkedPage, Place, Reasons, Waiting, Wanted, WhereParked
from qupersync_extractor.interface.page.words import counted
from qupersync_shared.contracts.parked import ParkedKind
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName, PipelineName

PLACES_MAX: Final = 24
ENTRIES_SHOWN: Final = 50
SOURCE: Final = "@source"  # no loader group can be called so
KINDS: Final = {ParkedKind.QUARANTINE: "rows", ParkedKind.DEAD_LETTERS: "events"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heap:
    """What waits of one kind in one place, by kinds of errors. `trouble`: why nobody can list it now."""

    place: Place
    kind: ParkedKind
    count: int
    reasons: Reasons | None
    trouble: str | None = None

    @property
    def where(self) -> str:
        """The loader group's name, or `@source`."""
        return place_name(self.place)

    @property
    def noun(self) -> str:
        """What there is so many of."""
        return KINDS[self.kind]

    @property
    def size(self) -> str:
        """How many there are, with their noun."""
        return counted(self.count, KINDS[self.kind][:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Heaps:
    """All heaps, or why even their places are not known; `more` counts those beyond the first."""

    heaps: tuple[Heap, ...]
    more: int = 0
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Entries of one heap, with one kind of reason or all."""

    place: Place
    kind: ParkedKind
    reason: str | None
    page: ParkedPage

    @property
    def where(self) -> str:
        """The loader group's name, or `@source`."""
        return place_name(self.place)

    @property
    def noun(self) -> str:
        """What there is so many of."""
        return KINDS[self.kind]


def place_name(place: Place) -> str:
    """How a place is called in addresses and on the page."""
    return SOURCE if place.group is None else str(place.group)


def place_of(pipeline: PipelineName, where: str) -> Place:
    """The place of that name."""
    return Place(pipeline=pipeline, group=None if where == SOURCE else GroupName(where))


async def heaps(where: WhereParked, parked: Parked, pipelines: Sequence[PipelineName]) -> Heaps:
    """What waits, with its reasons; what does not answer is said beside what does."""
    try:
        waiting = await where.waiting(pipelines)
    except QupersyncError as error:
        return Heaps(heaps=(), trouble=str(error))
    wanted = [(one.place, kind, count) for one in waiting for kind, count in _counts(one) if count]
    found = await asyncio.gather(*(_heap(parked, *one) for one in wanted[:PLACES_MAX]))
    left = tuple(heap for heap in found if heap.count)  # what was counted may have loaded meanwhile
    return Heaps(heaps=left, more=max(0, len(wanted) - PLACES_MAX))


async def listed(parked: Parked, place: Place, kind: ParkedKind, *, reason: str | None, cursor: str | None) -> Listed:
    """Some entries. TransientError where nobody answers; BadCursorError."""
    wanted = Wanted(kind=kind, reason=reason, cursor=cursor, limit=ENTRIES_SHOWN)
    return Listed(place=place, kind=kind, reason=reason, page=await parked.page(place, wanted))


def _counts(one: Waiting) -> tuple[tuple[ParkedKind, int], ...]:
    return ((ParkedKind.DEAD_LETTERS, one.dead_letters), (ParkedKind.QUARANTINE, one.quarantined))


async def _heap(parked: Parked, place: Place, kind: ParkedKind, count: int) -> Heap:
    try:
        reasons = await parked.reasons(place, kind)
    except QupersyncError as error:
        return Heap(place=place, kind=kind, count=count, reasons=None, trouble=str(error))
    return Heap(place=place, kind=kind, count=reasons.total, reasons=reasons)
