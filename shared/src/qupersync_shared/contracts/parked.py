"""What waits for a person in a target: asked of the loaders of a group, which list it, read it again, or give it up.

Request and reply on `qupersync.cmd.parked.<group>.<pipeline>`, as JSON, bounded. Keys, reasons and headers travel, no
other value of a row and no payload: those stay in the target, where `qupersync quarantine show` reads them.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from qupersync_shared.contracts.commands import Command
from qupersync_shared.kernel.ids import GroupName, PipelineName

ENTRIES_MAX: Final = 200
REASONS_MAX: Final = 100
CHOSEN_MAX: Final = 1_000
KEY_CHARACTERS_MAX: Final = 500
REPLY_BYTES_MAX: Final = 400_000
WHO_CHARACTERS_MAX: Final = 200

# What differs from row to row in reasons of one kind: values that PostgreSQL quotes at the end, digests, and numbers.
# Written so that Python and PostgreSQL read them alike; `{edge}` is how each of them says where a word ends.
VARYING: Final[tuple[tuple[str, str], ...]] = (
    (r': "[^"]*"', ': "…"'),
    (r"{edge}[0-9a-f]{{8,}}{edge}", "#"),
    (r"{edge}(?![0-9A-Z]{{5}}\))[0-9][0-9.,:+-]*", "#"),  # but for an SQLSTATE in brackets
)


class ParkedKind(StrEnum):
    """Rows that were refused one by one, or whole events."""

    QUARANTINE = "quarantine"
    DEAD_LETTERS = "dead_letters"


def parked_subject(group: GroupName, pipeline: PipelineName) -> str:
    """Where the loaders of a group that serve the pipeline listen."""
    return f"qupersync.cmd.parked.{group}.{pipeline}"


def kind_of_reason(reason: str) -> str:
    """The reason without what differs from row to row: by it entries are grouped, and chosen together."""
    for pattern, mark in VARYING:
        reason = re.sub(pattern.format(edge=r"\b"), mark, reason)
    return reason


class Chosen(Command):
    """Which entries: these, all with reasons of one kind (`kind_of_reason`), or, with neither, all that wait.

    `after`: of many, only those behind this one, which an earlier reply named as its last.
    """

    ids: tuple[str, ...] = Field(default=(), max_length=CHOSEN_MAX)
    reason: str | None = None
    after: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.ids and (self.reason is not None or self.after is not None):
            raise ValueError("ids stand for themselves")
        return self


class ListWanted(Command):
    """Entries, the newest first; those that wait, or `settled` ones too. `cursor`: what an earlier reply ended with."""

    ask: Literal["list"] = "list"
    kind: ParkedKind
    settled: bool = False
    reason: str | None = None
    cursor: str | None = None
    limit: int = Field(default=50, ge=1, le=ENTRIES_MAX)


class ReasonsWanted(Command):
    """What waits, counted by kinds of reasons, the most frequent first."""

    ask: Literal["reasons"] = "reasons"
    kind: ParkedKind


class EntryWanted(Command):
    """One entry, whole."""

    ask: Literal["entry"] = "entry"
    kind: ParkedKind
    id: str


class RedriveWanted(Command):
    """Have the source read again for these. The same `id` twice is one request, however often it is asked."""

    ask: Literal["redrive"] = "redrive"
    kind: ParkedKind
    id: UUID
    chosen: Chosen
    by: str = Field(min_length=1, max_length=WHO_CHARACTERS_MAX)


class DiscardWanted(Command):
    """Give these up: what they say is missing in the target until a snapshot says it again."""

    ask: Literal["discard"] = "discard"
    kind: ParkedKind
    chosen: Chosen
    by: str = Field(min_length=1, max_length=WHO_CHARACTERS_MAX)


Wanted = Annotated[ListWanted | ReasonsWanted | EntryWanted | RedriveWanted | DiscardWanted, Field(discriminator="ask")]


class ParkedRequest(Command):
    """One question about, or one deed on, what is parked of one pipeline in one loader group."""

    version: Literal[1] = 1
    group: str
    pipeline: str
    wanted: Wanted


class ParkedEntry(Command):
    """One refused row, or one dead letter. `resolution` None: it still waits.

    In lists, keys of more than 500 characters are cut. `headers`, `columns` and `content` are told of one entry alone:
    the event's headers, the names of a row's columns, and what the payload of an event is now.
    """

    id: str
    reason: str
    first_seen: datetime
    last_seen: datetime
    times: int = 1
    key: str | None = None
    event_id: UUID | None = None
    log: int | None = None
    sequence: int | None = None
    lane: int | None = None
    lanes: int | None = None
    mode: str | None = None
    bytes: int | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None
    resolved_by: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    columns: tuple[str, ...] = ()
    content: str | None = None


class ReasonTold(Command):
    """So many entries wait for reasons of one kind; `example` is one of them in full."""

    reason: str
    example: str
    count: int
    first_seen: datetime
    last_seen: datetime


class ParkedReply(Command):
    """The answer. `refused` says why there is none; `passing`: a later one may succeed; `fault`: the request has it.

    `done`: so many were asked for again, or given up; `more`: the last of them, where others follow. `snapshot`: what
    some of them said cannot be told from the rest, and a snapshot was asked for.
    """

    version: Literal[1] = 1
    entries: tuple[ParkedEntry, ...] = ()
    next_cursor: str | None = None
    reasons: tuple[ReasonTold, ...] = ()
    total: int = 0
    done: int = 0
    more: str | None = None
    snapshot: bool = False
    refused: str | None = None
    cure: str = ""
    passing: bool = False
    fault: Literal["unknown entry", "foreign cursor"] | None = None
