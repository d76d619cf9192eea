"""All places where something is parked, as one: the source's own, and those of loader groups."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from qupersync_extractor.application.parked import (
    Parked,
    ParkedPage,
    Place,
    Reasons,
    Redriven,
    Waiting,
    Wanted,
)
from qupersync_shared.contracts.parked import Chosen, ParkedEntry, ParkedKind
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.ids import GroupName, PipelineName


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedEverywhere:
    """The port `Parked`: places without a loader group are the source's, all others the targets'."""

    source: Parked
    targets: Parked

    async def page(self, place: Place, wanted: Wanted) -> ParkedPage:
        return await self._of(place).page(place, wanted)

    async def reasons(self, place: Place, kind: ParkedKind) -> Reasons:
        return await self._of(place).reasons(place, kind)

    async def entry(self, place: Place, kind: ParkedKind, id_: str) -> ParkedEntry:
        return await self._of(place).entry(place, kind, id_)

    async def redrive(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str, request: UUID) -> Redriven:
        return await self._of(place).redrive(place, kind, chosen, by=by, request=request)

    async def discard(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str) -> int:
        return await self._of(place).discard(place, kind, chosen, by=by)

    def _of(self, place: Place) -> Parked:
        return self.source if place.group is None else self.targets


class LanesTold(Protocol):
    """What loader groups say of their lanes."""

    async def all_lanes(self) -> list[LaneProgress]: ...


class WithheldCounted(Protocol):
    """How many rows wait at the source."""

    async def counts(self, pipelines: Sequence[PipelineName]) -> dict[PipelineName, int]: ...


class WhereItWaits:
    """The port `WhereParked`. What a group says of itself may be half a minute old."""

    def __init__(self, told: LanesTold, withheld: WithheldCounted) -> None:
        self._told = told
        self._withheld = withheld

    async def waiting(self, pipelines: Sequence[PipelineName]) -> list[Waiting]:
        counts, lanes = await asyncio.gather(self._withheld.counts(pipelines), self._told.all_lanes())
        source = [Waiting(place=Place(pipeline=name), quarantined=count) for name, count in counts.items() if count]
        targets = _of_targets([lane for lane in lanes if lane.pipeline in pipelines])
        return sorted(
            [*source, *targets],
            key=lambda one: (one.place.pipeline, one.place.group is not None, one.place.group or ""),
        )


def _of_targets(lanes: Sequence[LaneProgress]) -> list[Waiting]:
    """What waits in each group, over all lanes of a pipeline."""
    quarantined: Counter[Place] = Counter()
    dead_letters: Counter[Place] = Counter()
    for lane in lanes:
        place = Place(pipeline=PipelineName(lane.pipeline), group=GroupName(lane.group))
        quarantined[place] += lane.quarantined
        dead_letters[place] += lane.dead_letters
    return [
        Waiting(place=place, quarantined=quarantined[place], dead_letters=dead_letters[place])
        for place in quarantined
        if quarantined[place] or dead_letters[place]
    ]
