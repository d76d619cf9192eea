"""Commands between the services: request and reply on `qupersync.cmd.>`, as JSON."""

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


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


class Accepted(Command):
    """The reply to a snapshot request or fork report, sent after it was committed."""

    status: Literal["accepted"] = "accepted"
