"""What travels in the simulation: rows, pages, batch events and messages."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import UUID

from tests.properties.simulation.options import KEYS

from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.slots import lane_of_slot, slot_of_key
from qupersync_shared.kernel.ids import EventId, Generation, Lane, Log, Sequence, SnapshotId, StreamSequence
from qupersync_shared.kernel.positions import Key, Position, Scalar


class BrokenPromiseError(AssertionError):
    """An invariant does not hold: the first letter says which promise."""


@dataclass(frozen=True, slots=True)
class Row:
    """One version of a row; no two versions have the same `version`."""

    version: int
    cursor: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The rows of one read, by key number. `look` numbers the reads of the source in the order they were made."""

    rows: dict[int, Row]
    last: bool
    look: int
    upto_key: Key | None = None
    upto_position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A batch event. `look` and `snapshot_began` are the referee's: no part of the protocol may use them."""

    id: EventId
    lane: Lane
    lanes: int
    log: Log
    sequence: Sequence
    previous_id: EventId | None
    mode: Mode
    snapshot_id: SnapshotId | None
    first: bool
    last: bool
    range_from: Key | None
    range_to: Key | None
    rows: dict[int, Row]
    position: Position | None
    honest_time: datetime | None
    look: int
    snapshot_began: datetime | None

    def __str__(self) -> str:
        ends = ("first " if self.first else "") + ("last " if self.last else "")
        versions = {key: row.version for key, row in self.rows.items()}
        return f"lane {self.lane} log {self.log} seq {self.sequence} {self.mode.value} {ends}{versions}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event as it stands in the stream."""

    sequence: StreamSequence
    event: Event
    generation: Generation


@cache
def slot(key: int) -> int:
    """The project's own slot of a key."""
    return slot_of_key(KEYS[key])


@cache
def lane_of(key: int, lanes: int) -> Lane:
    return Lane(lane_of_slot(slot(key), lanes))


def number_of(key: Key) -> int:
    return int(key[0].text)


class Ids:
    """Ids that count up, so that a schedule is the same on every machine."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> UUID:
        self._last += 1
        return UUID(int=self._last)
