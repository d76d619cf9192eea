"""Rebuilds under way in a target, and the last that ended: asked of any loader of the group, on NATS, as JSON."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import Field

from qupersync_shared.contracts.commands import Command
from qupersync_shared.kernel.ids import GroupName

REBUILDS_MAX: Final = 100
ENDED: Final = 20


def rebuilds_subject(group: GroupName) -> str:
    """Where the loaders of a group listen."""
    return f"qupersync.cmd.rebuilds.{group}"


class RebuildsRequest(Command):
    """Those that have not ended, and so many of the last that have."""

    version: Literal[1] = 1
    group: str
    ended: int = Field(default=ENDED, ge=0, le=REBUILDS_MAX)


class RebuildLane(Command):
    """How far one lane of the shadow is: from its first sequence to the live lane's, which moves on."""

    lane: int
    log: int | None = None
    first: int | None = None
    sequence: int | None = None
    live_log: int | None = None
    live_sequence: int | None = None


class RebuildTold(Command):
    """One rebuild. `ended_at` None: it has not ended; `running`: its process is at it now. Moments are the target's.

    `done` of `total` events were read, where that can be told, which is when lanes stand in the same log; at this
    speed it is level with the live table in `eta_seconds`. `trouble`: why it does not go on, or how the tables differ.
    """

    id: UUID
    pipeline: str
    table: str
    phase: str
    rows: int
    who: str
    began_at: datetime
    noted_at: datetime
    ended_at: datetime | None = None
    running: bool = False
    lanes: tuple[RebuildLane, ...] = ()
    done: int | None = None
    total: int | None = None
    eta_seconds: float | None = None
    trouble: str | None = None


class RebuildsReply(Command):
    """Those under way first, then the ended ones, the last first. `refused` says why there is no answer."""

    version: Literal[1] = 1
    rebuilds: tuple[RebuildTold, ...] = ()
    refused: str | None = None
    cure: str = ""
    passing: bool = False
