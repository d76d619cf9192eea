"""Commands between the services: request and reply on `qupersync.cmd.>`, as JSON."""

from enum import StrEnum
from typing import Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

REREAD_KEYS_MAX: Final = 1_000


class Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ResendRequest(Command):
    """A loader misses a lane's events from a sequence on; the relay rewinds."""

    group: str
    pipeline: str
    lane: int
    log: int
    from_sequence: int


class ResendStatus(StrEnum):
    """`rewound`: events of `generation` follow. `unavailable`: the outbox no longer has them; ask for a snapshot."""

    REWOUND = "rewound"
    UNAVAILABLE = "unavailable"


class ResendReply(Command):
    status: ResendStatus
    generation: int = 0


class SnapshotRequest(Command):
    """A loader cannot go on without a baseline; only a snapshot whose first page is yet to come serves it."""

    group: str
    pipeline: str
    log: int
    reason: str


class ForkReport(Command):
    """A lane met an event whose predecessor is not what it applied: the extractor opens a greater log."""

    group: str
    pipeline: str
    lane: int
    log: int
    sequence: int
    event_id: UUID


class CursorSpan(Command):
    """What an incremental page was read from: (after, upto] by cursor, as encoded positions; None is the beginning."""

    after: str | None = None
    upto: str


class KeySpan(Command):
    """What a snapshot page covers: (after, upto] by key, as encoded keys; None is minus or plus infinity."""

    after: str | None = None
    upto: str | None = None


class RereadRequest(Command):
    """Read again, and send as ordinary events: some keys (encoded), or a range by cursor or by key.

    Of a key range the events say the complete content, so what is gone there goes. Of `redrives`, dead letters by
    event id, the last event says that it makes them good. The same `id` twice is one reread.
    """

    id: UUID
    group: str
    pipeline: str
    reason: str
    keys: tuple[str, ...] = Field(default=(), max_length=REREAD_KEYS_MAX)
    cursor_span: CursorSpan | None = None
    key_span: KeySpan | None = None
    redrives: tuple[UUID, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum((bool(self.keys), self.cursor_span is not None, self.key_span is not None)) != 1:
            raise ValueError("not one of keys, cursor_span and key_span")
        return self


class Accepted(Command):
    """The reply to a snapshot or reread request or a fork report, sent after it was committed.

    To a reread that was asked for before and has ended: `refused` says why a part of it could not be read, and
    `keys_refused` how many of its keys that concerns.
    """

    status: Literal["accepted"] = "accepted"
    refused: str | None = None
    keys_refused: int = 0
