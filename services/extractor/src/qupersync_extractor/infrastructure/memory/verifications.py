"""The history of comparisons in memory; `clock` is the database's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from qupersync_extractor.application.verifying.records import (
    INTERRUPTED,
    KEYS_KEPT,
    SCHEDULE,
    Verification,
    VerificationCounts,
)
from qupersync_shared.kernel.ids import GroupName, PipelineName


class MemoryVerifications:
    """What is kept, by id, the earliest first."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._kept: dict[UUID, Verification] = {}

    async def begin(self, verification: UUID, pipeline: PipelineName, group: GroupName, *, cause: str) -> None:
        for one in list(self._kept.values()):
            if (one.pipeline, one.group, one.ended_at) == (pipeline, group, None):
                self._kept[one.id] = replace(one, ended_at=self._clock(), error=INTERRUPTED)
        self._kept[verification] = Verification(
            id=verification, pipeline=pipeline, group=group, cause=cause, started_at=self._clock()
        )

    async def claim(self, verification: UUID, pipeline: PipelineName, group: GroupName, *, last: UUID | None) -> bool:
        known = await self.last(pipeline, group, cause=SCHEDULE)
        if (None if known is None else known.id) != last:
            return False
        await self.begin(verification, pipeline, group, cause=SCHEDULE)
        return True

    async def end(self, verification: UUID, *, counts: VerificationCounts, error: str | None = None) -> None:
        known = self._kept.get(verification)
        if known is not None and known.ended_at is None:
            kept = replace(counts, keys=counts.keys[:KEYS_KEPT])
            self._kept[verification] = replace(known, counts=kept, error=error, ended_at=self._clock())

    async def last(self, pipeline: PipelineName, group: GroupName, *, cause: str | None = None) -> Verification | None:
        found = [
            one
            for one in self._kept.values()
            if (one.pipeline, one.group) == (pipeline, group) and cause in (None, one.cause)
        ]
        return found[-1] if found else None

    async def standing(self, pipelines: Sequence[PipelineName]) -> list[Verification]:
        newest = {(one.pipeline, one.group): one for one in self._kept.values() if one.told}
        return [one for (pipeline, _), one in sorted(newest.items()) if pipeline in pipelines]

    async def forget(self, *, older_than: timedelta) -> int:
        told = {one.id for one in await self.standing([one.pipeline for one in self._kept.values()])}
        old = [
            one.id
            for one in self._kept.values()
            if one.ended_at is not None and one.started_at < self._clock() - older_than and one.id not in told
        ]
        for verification in old:
            del self._kept[verification]
        return len(old)
