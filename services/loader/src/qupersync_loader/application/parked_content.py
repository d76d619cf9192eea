"""Answers what the extractor's side asks of parked content: listed, counted, read again, given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, assert_never
from urllib.parse import unquote
from uuid import UUID, uuid5

from qupersync_loader.application.content import open_event
from qupersync_loader.application.parked import key_lists
from qupersync_loader.application.ports import Commands
from qupersync_loader.application.redriving import redrive_of
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_shared.contracts.commands import RereadRequest, SnapshotRequest
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.parked import (
    KEY_CHARACTERS_MAX,
    REPLY_BYTES_MAX,
    Chosen,
    DiscardWanted,
    EntryWanted,
    ListWanted,
    ParkedEntry,
    ParkedKind,
    ParkedReply,
    ParkedRequest,
    ReasonsWanted,
    ReasonTold,
    RedriveWanted,
)
from qupersync_shared.kernel.errors import EventRefusedError, QupersyncError
from qupersync_shared.runtime.records import BadCursorError, Field, Listing, Query

ROWS_AT_ONCE: Final = 2_000  # of one redrive: what is left is asked for again
LETTERS_AT_ONCE: Final = 50
DISCARDS_AT_ONCE: Final = 5_000
_ID_MAX: Final = 2**63 - 1
_REASON: Final = "an operator redrives rows in quarantine"
_LISTING: Final = Listing(
    name="parked content",
    filters={name: Field(attribute=name) for name in ("group", "pipeline", "kind", "settled", "reason")},
    sorts={"id": ("id",)},
    identity="id",
    default_sort="-id",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter:
    """A dead letter's headers, as they came, and its payload."""

    log: int
    headers: Mapping[str, str]
    payload: bytes


class ParkedContent(Protocol):
    """Quarantine and dead letters of one loader group. DatabaseUnavailableError where the target cannot answer.

    A reason's kind is what `kind_of_reason` makes of it.
    """

    async def entries(
        self, pipeline: str, kind: ParkedKind, *, settled: bool, reason: str | None, before: int | None, limit: int
    ) -> Sequence[ParkedEntry]:
        """Entries from before an id, the newest first; those that wait, or `settled` ones too."""
        ...

    async def reasons(self, pipeline: str, kind: ParkedKind) -> tuple[Sequence[ReasonTold], int]:
        """What waits by kinds of reasons, the most frequent first, and how many entries that is with all others."""
        ...

    async def entry(self, pipeline: str, kind: ParkedKind, id_: int) -> ParkedEntry | None:
        """One entry; of a row the names of its columns, of a letter no headers."""
        ...

    async def chosen(
        self, pipeline: str, kind: ParkedKind, *, ids: Sequence[int], reason: str | None, after: int, limit: int
    ) -> Mapping[int, str]:
        """Those that wait, of these ids (none: of all), behind one, in the order of their ids; of rows with keys."""
        ...

    async def letter(self, id_: int) -> StoredLetter:
        """A letter that is there, whole."""
        ...

    async def discard(self, kind: ParkedKind, ids: Sequence[int], *, by: str) -> Sequence[int]:
        """Gives up those of the entries that wait; their ids."""
        ...


class ParkedDesk:
    """Answers for one loader group, each question bounded in what it does and says."""

    def __init__(self, content: ParkedContent, commands: Commands) -> None:
        self._content = content
        self._commands = commands

    async def answer(self, pipeline: TargetPipeline, request: ParkedRequest) -> ParkedReply:
        """The reply to one question; QupersyncError where the target does not answer."""
        match request.wanted:
            case ListWanted() as wanted:
                return await self._list(pipeline, wanted)
            case ReasonsWanted() as wanted:
                reasons, total = await self._content.reasons(pipeline.name, wanted.kind)
                return ParkedReply(reasons=tuple(reasons), total=total)
            case EntryWanted() as wanted:
                return await self._entry(pipeline, wanted)
            case RedriveWanted(kind=ParkedKind.QUARANTINE) as wanted:
                return await self._redrive_rows(pipeline, wanted)
            case RedriveWanted() as wanted:
                return await self._redrive_letters(pipeline, wanted)
            case DiscardWanted() as wanted:
                return await self._discard(pipeline, wanted)
            case unexpected:
                assert_never(unexpected)

    # ---------------------------------------------------------------------------------------------------- looking

    async def _list(self, pipeline: TargetPipeline, wanted: ListWanted) -> ParkedReply:
        query = _query(pipeline, wanted)
        try:
            before = _before(query)
        except BadCursorError as error:
            return ParkedReply(refused=error.message, cure=error.cure, fault="foreign cursor")
        found = await self._content.entries(
            pipeline.name,
            wanted.kind,
            settled=wanted.settled,
            reason=wanted.reason,
            before=before,
            limit=wanted.limit + 1,
        )
        fitting = _fitting([_shortened(entry) for entry in found[: wanted.limit]])
        # What does not fit counts as what is behind the page.
        page = _LISTING.page(_limited(query, len(fitting)), [*fitting, *found[len(fitting) :]], _place)
        return ParkedReply(entries=page.items, next_cursor=page.next_cursor)

    async def _entry(self, pipeline: TargetPipeline, wanted: EntryWanted) -> ParkedReply:
        number = _number(wanted.id)
        found = await self._content.entry(pipeline.name, wanted.kind, number) if number is not None else None
        if found is None or number is None:
            return ParkedReply(refused=f"there is no {_NAMES[wanted.kind]} {wanted.id}", fault="unknown entry")
        if wanted.kind is ParkedKind.DEAD_LETTERS:
            letter = await self._content.letter(number)
            headers = {name: unquote(value) for name, value in letter.headers.items()}
            told = verdict(letter.headers, letter.payload)
            found = found.model_copy(update={"headers": headers, "content": told})
        return ParkedReply(entries=(found,))

    # ------------------------------------------------------------------------------------------------------ doing

    async def _redrive_rows(self, pipeline: TargetPipeline, wanted: RedriveWanted) -> ParkedReply:
        rows = await self._chosen(pipeline, wanted.kind, wanted.chosen, limit=ROWS_AT_ONCE)
        done = 0
        for part in key_lists(rows):
            request = RereadRequest(
                id=_part_id(wanted.id, part),
                group=pipeline.group,
                pipeline=pipeline.name,
                reason=_REASON,
                keys=tuple(part.values()),
            )
            if not await self._commands.request_reread(request):
                return _nobody(done)
            done += len(part)
        return ParkedReply(done=done, more=_last(rows, ROWS_AT_ONCE))

    async def _redrive_letters(self, pipeline: TargetPipeline, wanted: RedriveWanted) -> ParkedReply:
        letters = await self._chosen(pipeline, wanted.kind, wanted.chosen, limit=LETTERS_AT_ONCE)
        keeps = pipeline.deletes is DeletePolicy.KEEP
        snapshot: SnapshotRequest | None = None
        done = 0
        for id_ in letters:
            letter = await self._content.letter(id_)
            request = _reread_of(letter, pipeline, keeps=keeps)
            if request is None:
                reason = f"{wanted.by} redrives dead letter {id_}, whose part of the source cannot be told"
                snapshot = SnapshotRequest(group=pipeline.group, pipeline=pipeline.name, log=letter.log, reason=reason)
            elif not await self._commands.request_reread(
                request.model_copy(update={"id": _part_id(wanted.id, {id_: ""})})
            ):
                return _nobody(done)
            done += 1
        if snapshot is not None and not await self._commands.request_snapshot(snapshot):
            return _nobody(0)
        return ParkedReply(done=done, more=_last(letters, LETTERS_AT_ONCE), snapshot=snapshot is not None)

    async def _discard(self, pipeline: TargetPipeline, wanted: DiscardWanted) -> ParkedReply:
        found = await self._chosen(pipeline, wanted.kind, wanted.chosen, limit=DISCARDS_AT_ONCE)
        done = await self._content.discard(wanted.kind, list(found), by=wanted.by)
        return ParkedReply(done=len(done), more=_last(found, DISCARDS_AT_ONCE))

    async def _chosen(
        self, pipeline: TargetPipeline, kind: ParkedKind, chosen: Chosen, *, limit: int
    ) -> Mapping[int, str]:
        ids = [number for number in map(_number, chosen.ids) if number is not None]
        if chosen.ids and not ids:
            return {}  # none of them can be known
        after = _number(chosen.after or "0") or 0
        return await self._content.chosen(pipeline.name, kind, ids=ids, reason=chosen.reason, after=after, limit=limit)


_NAMES: Final = {ParkedKind.QUARANTINE: "quarantined row", ParkedKind.DEAD_LETTERS: "dead letter"}


def verdict(headers: Mapping[str, str], payload: bytes) -> str:
    """Whether the payload can be decoded by this version, and why not; no value of it is told."""
    try:
        batch = open_event(BatchEnvelope.from_headers(dict(headers)), payload)
    except QupersyncError as error:
        return f"{len(payload)} bytes that cannot be decoded: {error.message}"
    return f"{len(payload)} bytes, {batch.count} rows of {', '.join(batch.schema.names)}"


def _reread_of(letter: StoredLetter, pipeline: TargetPipeline, *, keeps: bool) -> RereadRequest | None:
    """What says again what the letter said; None where only a snapshot does."""
    try:
        envelope = BatchEnvelope.from_headers(dict(letter.headers))
    except EventRefusedError:
        return None
    return redrive_of(envelope, letter.payload, group=pipeline.group, keeps=keeps)


def _part_id(request: UUID, part: Mapping[int, str]) -> UUID:
    """The same for the same entries of the same request: asking again is asking once."""
    return uuid5(request, ",".join(map(str, part)))


def _nobody(done: int) -> ParkedReply:
    return ParkedReply(
        done=done,
        refused="no extractor accepted the request: nothing was lost, and what waits goes on waiting",
        cure="Is `qupersync-extractor run` up, and does it know the pipeline? Then ask again",
        passing=True,
    )


def _last(found: Mapping[int, Any], limit: int) -> str | None:
    return str(max(found)) if len(found) == limit else None


def _number(id_: str) -> int | None:
    """The id that a text stands for; None where it can be none."""
    if not (id_.isascii() and id_.isdecimal() and len(id_) <= len(str(_ID_MAX))):
        return None
    number = int(id_)
    return number if number <= _ID_MAX else None


def _query(pipeline: TargetPipeline, wanted: ListWanted) -> Query:
    filters = {
        "group": pipeline.group,
        "pipeline": pipeline.name,
        "kind": wanted.kind.value,
        "settled": str(wanted.settled),
        "reason": wanted.reason,
    }
    return Query(filters=filters, cursor=wanted.cursor, limit=wanted.limit)


def _limited(query: Query, limit: int) -> Query:
    return Query(filters=query.filters, cursor=query.cursor, limit=max(1, limit))


def _before(query: Query) -> int | None:
    place = _LISTING.after(query)
    if place is None:
        return None
    (id_,) = place
    if not isinstance(id_, int) or not 0 <= id_ <= _ID_MAX:
        raise BadCursorError("the cursor was altered", cure="Begin without one")
    return id_


def _place(entry: ParkedEntry, _: str) -> int:
    return int(entry.id)


def _shortened(entry: ParkedEntry) -> ParkedEntry:
    if entry.key is None or len(entry.key) <= KEY_CHARACTERS_MAX:
        return entry
    return entry.model_copy(update={"key": entry.key[: KEY_CHARACTERS_MAX - 1] + "…"})


def _fitting(entries: Sequence[ParkedEntry]) -> list[ParkedEntry]:
    """As many of the first as a reply may hold, and one in any case."""
    fitting: list[ParkedEntry] = []
    size = 0
    for entry in entries:
        size += len(entry.model_dump_json(exclude_defaults=True).encode())
        if fitting and size > REPLY_BYTES_MAX:
            break
        fitting.append(entry)
    return fitting
