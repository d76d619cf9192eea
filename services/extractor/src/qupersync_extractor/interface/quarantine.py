"""The extractor's part of `qupersync quarantine`: rows withheld at the source because no event could carry them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import NAMESPACE_URL, UUID, uuid5

from qupersync_extractor.application.actions import ActionKind, Actions
from qupersync_extractor.application.quarantine import QuarantinedRow as WithheldRowFacts
from qupersync_extractor.application.quarantine import WithheldRows
from qupersync_extractor.application.rereads import Rereads
from qupersync_extractor.domain.rereads import Reread, WantedKeys
from qupersync_extractor.settings import extractor_settings
from qupersync_extractor.stores import stores
from qupersync_shared.contracts.parked import ParkedKind
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.runtime.quarantine import QuarantinedRow, QuarantinePage, QuarantineStore, Side, Unread
from qupersync_shared.runtime.records import whoever
from qupersync_shared.runtime.settings import Configuration

OPERATOR = "operator"


class SourceQuarantineStore:
    """Rows withheld at the source, in the extractor's database; a redrive reads their keys again."""

    def __init__(self, withheld: WithheldRows, rereads: Rereads, actions: Actions) -> None:
        self._withheld = withheld
        self._rereads = rereads
        self._actions = actions
        self._asked: dict[str, UUID] = {}
        self._unread: dict[str, Unread] = {}

    @property
    def side(self) -> Side:
        return Side.SOURCE

    async def list(self, *, pipelines: Sequence[str], resolved: bool, after: str | None, limit: int) -> QuarantinePage:
        rows, more = await self._withheld.page(
            pipelines=[PipelineName(name) for name in pipelines], resolved=resolved, after=after, limit=limit
        )
        return QuarantinePage(rows=tuple(_shown(row) for row in rows), more=more)

    async def show(self, ids: Sequence[str]) -> Sequence[QuarantinedRow]:
        return [_shown(row) for row in await self._withheld.find(ids)]

    async def redrive(self, ids: Sequence[str], *, seconds: float | None = None) -> Sequence[str]:
        """Asks the extractor, through its own database, to read the keys again; it settles what it finds."""
        del seconds  # the database takes the request, whether or not an extractor runs
        asked: list[WithheldRowFacts] = []
        for row in await self._withheld.find(ids):
            if row.resolution is not None:
                continue
            reread = await self._reread(row)
            if not await self._rereads.request(reread):
                raise QupersyncError(
                    f"{row.pipeline} is not known in the outbox database", cure="Start `qupersync-extractor run` once"
                )
            asked.append(row)
            self._asked[row.id] = reread.id
        await self._record(ActionKind.REDRIVE, asked)
        return [row.id for row in asked]

    async def unread(self) -> Mapping[str, Unread]:
        for row, request in list(self._asked.items()):
            known = await self._rereads.get(request)
            if known is not None and known.done:
                del self._asked[row]
                if known.refused is not None:
                    self._unread[row] = Unread(reason=known.refused, final=True)
        return self._unread

    async def discard(self, ids: Sequence[str]) -> Sequence[str]:
        rows = {row.id: row for row in await self._withheld.find(ids)}
        discarded = await self._withheld.discard(ids)
        await self._record(ActionKind.DISCARD, [rows[row] for row in discarded if row in rows])
        return discarded

    async def _record(self, action: ActionKind, rows: Sequence[WithheldRowFacts]) -> None:
        """Who did it, pipeline by pipeline, as API and page have it written down."""
        for pipeline in sorted({row.pipeline for row in rows}):
            ids = [row.id for row in rows if row.pipeline == pipeline]
            details = {"group": None, "kind": ParkedKind.QUARANTINE.value, "count": len(ids), "ids": ids}
            await self._actions.record(action, by=whoever(), pipeline=pipeline, details=details)

    async def _reread(self, row: WithheldRowFacts) -> Reread:
        """A request for the row's key; the one that waits already, if there is one."""
        first = uuid5(NAMESPACE_URL, f"qupersync:withheld:{row.id}:{row.times}")
        known = await self._rereads.get(first)
        return Reread(
            id=uuid7() if known is not None and known.done else first,
            pipeline=row.pipeline,
            group=OPERATOR,
            reason=f"an operator redrives withheld row {row.id}",
            wanted=WantedKeys(keys=(row.key,)),
        )


@asynccontextmanager
async def open_quarantine(configuration: Configuration, group: str | None) -> AsyncIterator[QuarantineStore]:
    """The store over the configured outbox database; loader groups share it."""
    del group
    kept = stores(extractor_settings(configuration), application_name="qupersync-cli")
    try:
        yield SourceQuarantineStore(kept.withheld, kept.rereads, kept.actions)
    finally:
        await kept.close()


def _shown(row: WithheldRowFacts) -> QuarantinedRow:
    return QuarantinedRow(
        id=row.id,
        pipeline=row.pipeline,
        key=row.key,
        reason=row.reason,
        first_seen=row.first_seen_at,
        last_seen=row.last_seen_at,
        times=row.times,
        resolved_at=row.resolved_at,
        resolution=row.resolution.value if row.resolution is not None else None,
        more={"event_id": str(row.event_id)},
    )
