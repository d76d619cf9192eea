"""What a rebuild needs of the stream: its events read beside the durable consumers, which nothing here touches."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from qupersync_loader.application.ports import BaselineAhead
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.ids import Lane, Log, SnapshotId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One message of a lane as it stands in the stream, at `place`, since `at`; `bytes` is its size with headers.

    `waiting`: so many follow it on the lanes that are read. The body is empty where only headers were asked for.
    """

    place: int
    lane: Lane
    at: datetime
    headers: Mapping[str, str]
    body: bytes
    bytes: int
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """The port `Delivery` for an event that was read: nobody waits for an answer."""

    event: StoredEvent
    attempt: int

    @property
    def headers(self) -> Mapping[str, str]:
        return self.event.headers

    @property
    def body(self) -> bytes:
        return self.event.body

    @property
    def pending(self) -> int:
        return self.event.waiting

    async def ack(self) -> None: ...

    async def nak(self, delay_seconds: float) -> None: ...

    async def in_progress(self) -> None: ...

    async def baselines_ahead(self) -> Sequence[BaselineAhead]:
        """None: whoever reads knows a better way on."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeSnapshot:
    """A snapshot of which every page stands in the stream; `first`: the place of its first page, by lane."""

    id: SnapshotId
    log: Log
    lanes: int
    at: datetime
    first: Mapping[Lane, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """So much stands in the stream from a place on."""

    events: int = 0
    bytes: int = 0


class LaneReading(Protocol):
    """One lane's events in the order of the stream."""

    @property
    def waiting(self) -> int:
        """How many events waited when the reading began."""
        ...

    async def next(self, count: int) -> Sequence[StoredEvent]:
        """Up to `count` further events; none when no more stand in the stream now."""
        ...


class History(Protocol):
    """One pipeline's stream. StreamUnavailableError, with the reason, where it cannot be read."""

    async def whole_snapshot(self, log: Log, *, oldest: bool = False) -> WholeSnapshot | None:
        """The newest snapshot of the log that a lane may begin with and read to its end, or the `oldest`."""
        ...

    def reading(self, lane: Lane, *, begin: int) -> AbstractAsyncContextManager[LaneReading]:
        """The lane's events from a place on."""
        ...

    def headers(self) -> AsyncGenerator[StoredEvent, None]:
        """All lanes' events that stand in the stream when this is called, in order, without their bodies."""
        ...

    async def newest_log(self) -> Log | None:
        """The greatest log of the lanes' newest events; None where the stream holds no event."""
        ...

    async def schema(self) -> RowSchema:
        """The source's columns as the newest event of some lane has them."""
        ...

    async def size(self, begin: Mapping[Lane, int]) -> Size:
        """What stands on these lanes from these places on."""
        ...
