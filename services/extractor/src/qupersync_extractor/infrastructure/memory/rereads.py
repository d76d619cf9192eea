"""Requests to read again, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from qupersync_extractor.domain.rereads import Reread, RereadCounts
from qupersync_extractor.infrastructure.memory.store import MemoryStore, RereadRow
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import PipelineName

WAITING_AT_ONCE: Final = 20
WAITING_MAX: Final = 10_000


class MemoryRereads:
    """The requests of a MemoryStore, seen from outside the page transaction."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def request(self, reread: Reread) -> bool:
        self._store.check()
        if reread.pipeline not in self._store.pipelines:
            return False
        if len(waiting_of(self._store, reread.pipeline)) >= WAITING_MAX:
            raise TransientError(f"{WAITING_MAX} rereads of {reread.pipeline} wait already")
        fresh = replace(reread, keys_done=0, reached=None, refused=None, keys_refused=0, done=False)
        self._store.rereads.setdefault(reread.id, RereadRow(reread=fresh, requested_at=self._store.now()))
        await self._store.ring_request()
        return True

    async def get(self, reread: UUID) -> Reread | None:
        self._store.check()
        row = self._store.rereads.get(reread)
        return row.reread if row is not None else None

    async def counts(self, pipeline: PipelineName) -> RereadCounts:
        self._store.check()
        mine = [row for row in self._store.rereads.values() if row.reread.pipeline == pipeline]
        waiting = [row for row in mine if not row.reread.done]
        return RereadCounts(
            waiting=len(waiting),
            refused=sum(row.reread.done and row.reread.refused is not None for row in mine),
            oldest=min((row.requested_at for row in waiting), default=None),
            unreadable=_last_refused(mine),
        )

    async def forget(self, *, older_than: timedelta) -> int:
        self._store.check()
        border = self._store.now() - older_than
        old = [id_ for id_, row in self._store.rereads.items() if row.done_at is not None and row.done_at < border]
        for id_ in old:
            del self._store.rereads[id_]
        return len(old)


def _last_refused(rows: Sequence[RereadRow]) -> str | None:
    ended = [(row.done_at, row.reread) for row in rows if row.done_at is not None]
    return max(ended, key=lambda one: one[0])[1].refused if ended else None


def waiting_of(store: MemoryStore, pipeline: PipelineName) -> list[Reread]:
    """The pipeline's requests that are not done, the oldest first."""
    rows = [row for row in store.rereads.values() if row.reread.pipeline == pipeline and not row.reread.done]
    return [row.reread for row in sorted(rows, key=lambda row: (row.requested_at, row.reread.id))]


def keep(store: MemoryStore, rereads: Sequence[Reread]) -> None:
    """What a committed page says of how far requests have come."""
    for reread in rereads:
        row = store.rereads.get(reread.id)
        if row is not None:
            row.reread = reread
            row.done_at = store.now() if reread.done else None
