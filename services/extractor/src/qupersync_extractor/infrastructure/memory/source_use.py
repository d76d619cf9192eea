"""The source budget's books in memory."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from qupersync_extractor.application.leasing import LEASE_MAX
from qupersync_extractor.application.source_use import WAITING_SECONDS, ListedRead, Own, SourceStanding
from qupersync_extractor.domain.source_budget import SourceLimits, may_begin, this_minute
from qupersync_extractor.infrastructure.memory.store import MemoryStore, SourceReadRow

_FORGOTTEN_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class MemorySourceUse:
    """The books of a MemoryStore."""

    store: MemoryStore

    async def settle(self, owner: str, own: Own, limits: SourceLimits, *, seconds: float) -> SourceStanding:
        self.store.check()
        now = self.store.now()
        rows = self.store.source_reads
        minute = this_minute(self.store.source_minute, now, limits)
        ended = [one for one in own.ended if (row := rows.get(one.id)) is not None and row.read.owner == owner]
        for one in ended:
            del rows[one.id]
            minute = minute.taking(one.took)
        self.store.source_minute = minute
        kept = {read.id for read in (*own.waiting, *own.reading)}
        for id_, row in list(rows.items()):
            if (row.read.owner == owner and id_ not in kept) or row.expires_at < now - _FORGOTTEN_AFTER:
                del rows[id_]
        self._keep(owner, own, now, seconds)
        standing = self._standing(now, limits)
        free = may_begin(
            limits,
            standing.minute,
            reading=[read.expected for read in standing.reading],
            waiting=[read.expected for read in standing.waiting],
        )
        for read in standing.waiting[:free]:
            if read.owner == owner:
                rows[read.id] = SourceReadRow(
                    read=replace(read, began_at=now), expires_at=now + timedelta(seconds=seconds)
                )
        if ended:
            await self.store.ring_source()
        return self._standing(now, limits)

    async def standing(self, limits: SourceLimits) -> SourceStanding:
        self.store.check()
        return self._standing(self.store.now(), limits)

    async def changed(self, seconds: float) -> None:
        await self.store.wait_source(seconds)

    def _keep(self, owner: str, own: Own, now: datetime, seconds: float) -> None:
        rows = self.store.source_reads
        waiting = (None, own.waiting, min(seconds, WAITING_SECONDS))
        for began_at, reads, kept_for in (waiting, (now, own.reading, seconds)):
            for read in reads:
                row = rows.get(read.id)
                known = ListedRead(
                    id=read.id,
                    pipeline=read.pipeline,
                    owner=owner,
                    asked_at=now,
                    began_at=began_at,
                    expected=read.expected,
                )
                rows[read.id] = SourceReadRow(
                    read=known if row is None else row.read, expires_at=now + timedelta(seconds=kept_for)
                )

    def _standing(self, now: datetime, limits: SourceLimits) -> SourceStanding:
        reads = [row.read for row in self.store.source_reads.values() if now < row.expires_at <= now + LEASE_MAX]
        return SourceStanding(
            now=now,
            minute=this_minute(self.store.source_minute, now, limits),
            reads=tuple(sorted(reads, key=lambda read: (read.asked_at, read.id))),
        )
