"""The source budget over all extractors: who reads, who waits, what was taken. One step of a process is one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from qupersync_extractor.domain.source_budget import Amount, MinuteUse, SourceLimits, exhausted
from qupersync_shared.kernel.ids import PipelineName

WAITING_SECONDS: Final = 5.0
"""Who waits and is not heard of for so long is passed over by others, until it is heard of again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRead:
    """A read that is wanted or under way, and what it may take."""

    id: UUID
    pipeline: PipelineName
    expected: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRead:
    """A read that is over, and what it took."""

    id: UUID
    took: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Everything that one process wants of the source now; what it does not name any more is over."""

    waiting: Sequence[SourceRead] = ()
    reading: Sequence[SourceRead] = ()
    ended: Sequence[EndedRead] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRead:
    """A read as others see it. `began_at` None: it waits, since `asked_at`."""

    id: UUID
    pipeline: PipelineName
    owner: str
    asked_at: datetime
    began_at: datetime | None
    expected: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStanding:
    """What the budget looks like now: this minute, and the reads in the order in which they were asked for."""

    now: datetime
    minute: MinuteUse
    reads: tuple[ListedRead, ...] = ()

    @property
    def reading(self) -> list[ListedRead]:
        return [read for read in self.reads if read.began_at is not None]

    @property
    def waiting(self) -> list[ListedRead]:
        return [read for read in self.reads if read.began_at is None]

    def begun(self, owner: str) -> frozenset[UUID]:
        """The owner's reads that are under way."""
        return frozenset(read.id for read in self.reading if read.owner == owner)

    @property
    def taken(self) -> Amount:
        """What counts against the minute: taken, carried into it, and being read."""
        return sum((read.expected for read in self.reading), start=self.minute.carried + self.minute.used)

    def held_up_by(self, limits: SourceLimits) -> str | None:
        """The limit that keeps the next read from beginning; None where there is none."""
        return exhausted(limits, reads=len(self.reading), taken=self.taken)


class SourceUse(Protocol):
    """The budget's books. Each call is a transaction of its own, one after the other over all processes; moments are
    the database's. DatabaseUnavailableError where that does not answer.
    """

    async def settle(self, owner: str, own: Own, limits: SourceLimits, *, seconds: float) -> SourceStanding:
        """Books what has ended, keeps the owner's reads for `seconds` more (and its place in the queue), and lets those
        of them begin whose turn it is; the standing after that.

        A call whose answer was lost may be made again. Reads whose owner is not heard of count no more; what they took
        is booked when it is heard of again within the hour.
        """
        ...

    async def standing(self, limits: SourceLimits) -> SourceStanding:
        """The standing, without changing it."""
        ...

    async def changed(self, seconds: float) -> None:
        """Returns when a read of any process has ended, or after `seconds`."""
        ...
