"""The ports `Parked` and `Rebuilds` for the targets of loader groups: their loaders are asked."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from qupersync_extractor.application.parked import (
    ParkedPage,
    Place,
    Reasons,
    Redriven,
    UnknownEntryError,
    Wanted,
)
from qupersync_extractor.infrastructure.jetstream.asking import Asking, parsed
from qupersync_shared.contracts.parked import (
    Chosen,
    DiscardWanted,
    EntryWanted,
    ListWanted,
    ParkedEntry,
    ParkedKind,
    ParkedReply,
    ParkedRequest,
    ReasonsWanted,
    RedriveWanted,
    parked_subject,
)
from qupersync_shared.contracts.parked import Wanted as Asked
from qupersync_shared.contracts.rebuilds import (
    ENDED,
    RebuildsReply,
    RebuildsRequest,
    RebuildTold,
    rebuilds_subject,
)
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.records import BadCursorError

PATIENCE_SECONDS: Final = 1.0  # a person waits
ANSWER_SECONDS: Final = 30.0
_LIST_HINT: Final = "The list shows those there are"


class ParkedInTargets:
    """Asks for the rest of what one question may not do at once, until all is done."""

    def __init__(
        self,
        connection: Connection,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._asking = Asking(connection, patience_seconds=patience_seconds, answer_seconds=answer_seconds)

    async def page(self, place: Place, wanted: Wanted) -> ParkedPage:
        asked = ListWanted(
            kind=wanted.kind,
            settled=wanted.settled,
            reason=wanted.reason,
            cursor=wanted.cursor,
            limit=wanted.limit,
        )
        reply = await self._answered(place, asked)
        return ParkedPage(entries=reply.entries, next_cursor=reply.next_cursor)

    async def reasons(self, place: Place, kind: ParkedKind) -> Reasons:
        reply = await self._answered(place, ReasonsWanted(kind=kind))
        return Reasons(reasons=reply.reasons, total=reply.total)

    async def entry(self, place: Place, kind: ParkedKind, id_: str) -> ParkedEntry:
        (entry,) = (await self._answered(place, EntryWanted(kind=kind, id=id_))).entries
        return entry

    async def redrive(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str, request: UUID) -> Redriven:
        done, snapshot, trouble = await self._all(
            place, chosen, lambda part: RedriveWanted(kind=kind, id=request, chosen=part, by=by)
        )
        return Redriven(asked=done, snapshot=snapshot, trouble=trouble)

    async def discard(self, place: Place, kind: ParkedKind, chosen: Chosen, *, by: str) -> int:
        done, _, trouble = await self._all(place, chosen, lambda part: DiscardWanted(kind=kind, chosen=part, by=by))
        if trouble is not None:
            raise TransientError(f"{done} were given up, the others could not be: {trouble}", cure="Do it again")
        return done

    async def _all(
        self, place: Place, chosen: Chosen, wanted: Callable[[Chosen], Asked]
    ) -> tuple[int, bool, str | None]:
        """How many were done, whether a snapshot was asked for, and why no more; raises where none was done."""
        done, snapshot = 0, False
        part: Chosen | None = chosen
        while part is not None:
            try:
                reply = await self._ask(place, wanted(part))
            except TransientError as error:
                if not done:
                    raise
                return done, snapshot, str(error)
            done, snapshot = done + reply.done, snapshot or reply.snapshot
            if reply.refused is not None:
                if not done:
                    raise _refusal(reply)
                return done, snapshot, str(_refusal(reply))
            part = _behind(part, reply.more)
        return done, snapshot, None

    async def _answered(self, place: Place, wanted: Asked) -> ParkedReply:
        reply = await self._ask(place, wanted)
        if reply.refused is not None:
            raise _refusal(reply)
        return reply

    async def _ask(self, place: Place, wanted: Asked) -> ParkedReply:
        if place.group is None:
            raise ValueError("the source is no loader group")
        request = ParkedRequest(group=place.group, pipeline=place.pipeline, wanted=wanted)
        answer = await self._asking.ask(
            parked_subject(place.group, place.pipeline),
            request.model_dump_json().encode(),
            group=place.group,
            what=place.pipeline,
        )
        return parsed(answer, ParkedReply)


class RebuildsInTargets:
    """The port `Rebuilds`."""

    def __init__(
        self,
        connection: Connection,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._asking = Asking(connection, patience_seconds=patience_seconds, answer_seconds=answer_seconds)

    async def list(self, group: GroupName, *, ended: int = ENDED) -> tuple[RebuildTold, ...]:
        question = RebuildsRequest(group=group, ended=ended).model_dump_json().encode()
        answer = await self._asking.ask(rebuilds_subject(group), question, group=group, what="its rebuilds")
        reply = parsed(answer, RebuildsReply)
        if reply.refused is not None:
            raise _error(reply.refused, reply.cure, passing=reply.passing)
        return reply.rebuilds


def _behind(chosen: Chosen, last: str | None) -> Chosen | None:
    """What is left of the chosen behind an entry; None where nothing is."""
    if last is None:
        return None
    if chosen.ids:
        left = tuple(id_ for id_ in chosen.ids if id_.isdecimal() and int(id_) > int(last))
        return Chosen(ids=left) if left else None
    return chosen.model_copy(update={"after": last})


def _refusal(reply: ParkedReply) -> QupersyncError:
    reason = reply.refused or ""
    match reply.fault:
        case "unknown entry":
            return UnknownEntryError(reason, cure=_LIST_HINT)
        case "foreign cursor":
            return BadCursorError(reason, cure=reply.cure)
        case None:
            return _error(reason, reply.cure, passing=reply.passing)


def _error(reason: str, cure: str, *, passing: bool) -> QupersyncError:
    return TransientError(reason, cure=cure) if passing else QupersyncError(reason, cure=cure)
