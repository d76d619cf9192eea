"""The source's quarantine as one of the places where something is parked: rows that no event can carry."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from uuid import UUID, uuid5

from qupersync_extractor.application.parked import (
    ParkedPage,
    Place,
    Reasons,
    Redriven,
    UnknownEntryError,
    Wanted,
)
from qupersync_extractor.application.quarantine import QuarantinedRow, WithheldRows
from qupersync_extractor.application.rereads import Rereads
from qupersync_extractor.domain.rereads import Reread, WantedKeys
from qupersync_shared.contracts.commands import REREAD_KEYS_MAX
from qupersync_shared.contracts.parked import KEY_CHARACTERS_MAX, Chosen, ParkedEntry, ParkedKind
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.records import BadCursorError, Field, Listing, Query

OPERATOR: Final = "operator"
_AT_ONCE: Final = REREAD_KEYS_MAX
_LISTING: Final = Listing(
    name="withheld rows",
    filters={name: Field(attribute=name) for name in ("pipeline", "settled", "reason")},
    sorts={"id": ("id",)},
    identity="id",
    default_sort="id",
)


class ParkedAtSource:
    """The port `Parked` for places without a loader group; there are no dead letters. Lists are in the order of ids."""

    def __init__(self, withheld: WithheldRows, rereads: Rereads) -> None:
        self._withheld = withheld
        self._rereads = rereads

    async def page(self, place: Place, wanted: Wanted) -> ParkedPage:
        filters = {"pipeline": place.pipeline, "settled": str(wanted.settled), "reason": wanted.reason}
        query = Query(filters=filters, cursor=wanted.cursor, limit=wanted.limit)
        after = _after(query)
        if wanted.kind is not ParkedKind.QUARANTINE:
            return ParkedPage(entries=())
        rows, more = await self._withheld.page(
            pipelines=[place.pipeline],
            resolved=wanted.settled,
            after=after,
            limit=wanted.limit,
            reason=wanted.reason,
        )
        following = rows[-1:] if more else []  # a page needs one more record than it has only to know that there is one
        page = _LISTING.page(query, [*rows, *following], getattr)
        return ParkedPage(entries=tuple(_entry(row, whole=False) for row in page.items), next_cursor=page.next_cursor)

    async def reasons(self, place: Place, kind: ParkedKind) -> Reasons:
        if kind is not ParkedKind.QUARANTINE:
            return Reasons(reasons=(), total=0)
        told, total = await self._withheld.reasons(place.pipeline)
        return Reasons(reasons=tuple(told), total=total)

    async def entry(self, place: Place, kind: ParkedKind, id_: str) -> ParkedEntry:
        found = await self._withheld.find([id_]) if kind is ParkedKind.QUARANTINE else []
        for row in found:
            if row.pipeline == place.pipeline:
                return _entry(row, whole=True)
        raise UnknownEntryError(
            f"there is no withheld row {id_} of {place.pipeline}", cure="The list shows those there are"
        )

    async def redrive(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str, request: UUID) -> Redriven:
        asked = 0
        async with aclosing(self._chosen(place.pipeline, kind, chosen)) as parts:
            async for rows in parts:
                reread = Reread(
                    id=uuid5(request, ",".join(row.id for row in rows)),
                    pipeline=place.pipeline,
                    group=OPERATOR,
                    reason=f"{by} redrives withheld rows",
                    wanted=WantedKeys(keys=tuple(row.key for row in rows)),
                )
                if not await self._rereads.request(reread):
                    raise QupersyncError(
                        f"{place.pipeline} is not known in the outbox database",
                        cure="Start `qupersync-extractor run` once",
                    )
                asked += len(rows)
        return Redriven(asked=asked)

    async def discard(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str) -> int:
        del by  # who it was stands in the record of actions, which is in the same database
        count = 0
        async with aclosing(self._chosen(place.pipeline, kind, chosen)) as parts:
            async for rows in parts:
                count += len(await self._withheld.discard([row.id for row in rows]))
        return count

    async def _chosen(
        self, pipeline: PipelineName, kind: ParkedKind, chosen: Chosen
    ) -> AsyncGenerator[list[QuarantinedRow], None]:
        """The chosen rows that wait, in parts that one request may have."""
        if kind is not ParkedKind.QUARANTINE:
            return
        if chosen.ids:
            found = await self._withheld.find(chosen.ids)
            rows = [row for row in found if row.pipeline == pipeline and row.resolution is None]
            if rows:
                yield rows
            return
        after = chosen.after
        while True:
            rows, _ = await self._withheld.page(
                pipelines=[pipeline], resolved=False, after=after, limit=_AT_ONCE, reason=chosen.reason
            )
            if not rows:
                return
            after = rows[-1].id
            yield rows


def _after(query: Query) -> str | None:
    place = _LISTING.after(query)
    if place is None:
        return None
    (id_,) = place
    if not isinstance(id_, str):
        raise BadCursorError("the cursor was altered", cure="Begin without one")
    return id_


def _entry(row: QuarantinedRow, *, whole: bool) -> ParkedEntry:
    cut = not whole and len(row.key) > KEY_CHARACTERS_MAX
    return ParkedEntry(
        id=row.id,
        reason=row.reason,
        first_seen=row.first_seen_at,
        last_seen=row.last_seen_at,
        times=row.times,
        key=row.key[: KEY_CHARACTERS_MAX - 1] + "…" if cut else row.key,
        event_id=row.event_id,
        resolved_at=row.resolved_at,
        resolution=row.resolution.value if row.resolution is not None else None,
    )
