"""Rereads: what somebody asked to be read again, how far that has come, and when a log can take it."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from qupersync_extractor.domain.extraction import Extraction
from qupersync_shared.kernel.ids import PipelineName

REDRIVES_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedKeys:
    """Single keys, encoded as they came: whether they fit the source's columns shows when they are read."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("a reread of keys names at least one")


class SpanOrder(StrEnum):
    """What a span is read by."""

    CURSOR = "cursor"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSpan:
    """(after, upto] by cursor, as encoded positions, or by key, as encoded keys; None is minus or plus infinity.

    A span by key is answered with its complete content, one by cursor with the rows that are there.
    """

    by: SpanOrder
    after: str | None
    upto: str | None

    def __post_init__(self) -> None:
        if self.by is SpanOrder.CURSOR and self.upto is None:
            raise ValueError("a span by cursor has an end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reread:
    """A request as it stands: `keys_done` of its keys, or its span up to `reached`, have been sent.

    `refused` says why a part of it cannot be read (the first reason), `keys_refused` how many keys that concerns.
    """

    id: UUID
    pipeline: PipelineName
    group: str
    reason: str
    wanted: WantedKeys | WantedSpan
    redrives: tuple[UUID, ...] = ()
    keys_done: int = 0
    reached: str | None = None
    refused: str | None = None
    keys_refused: int = 0
    done: bool = False

    def __post_init__(self) -> None:
        if self.keys_done < 0 or self.keys_refused < 0:
            raise ValueError("counts are not negative")

    @property
    def keys_left(self) -> tuple[str, ...]:
        """The keys that are still to be read; none of a span."""
        return self.wanted.keys[self.keys_done :] if isinstance(self.wanted, WantedKeys) else ()

    def made_good(self) -> tuple[UUID, ...]:
        """The dead letters that its last event makes good: none when a part of it could not be read."""
        return () if self.refused is not None else self.redrives


def take_keys(reread: Reread, count: int) -> Reread:
    """The request after `count` more of its keys have been read."""
    moved = replace(reread, keys_done=reread.keys_done + count)
    return replace(moved, done=not moved.keys_left)


def advance_span(reread: Reread, *, reached: str | None) -> Reread:
    """The request after its span was sent up to `reached`; None: to its end."""
    return replace(reread, reached=reached if reached is not None else reread.reached, done=reached is None)


def refuse_keys(reread: Reread, reason: str, count: int = 1) -> Reread:
    """The request after `count` of its keys turned out to be unreadable; the first reason is kept."""
    return replace(reread, refused=reread.refused or reason, keys_refused=reread.keys_refused + count)


def refuse(reread: Reread, reason: str) -> Reread:
    """The request ended for good, without what was still to be read."""
    return replace(reread, refused=reason, keys_refused=reread.keys_refused + len(reread.keys_left), done=True)


def can_reread(state: Extraction, *, fingerprint: str) -> bool:
    """Whether the log can take a reread: it has a baseline, and the source's columns are those of its snapshot.

    Before its first snapshot page a log's lanes have no watermark, and its loaders pass over whatever comes.
    """
    under_way = state.snapshot
    begun = state.snapshot_ended_at is not None or (under_way is not None and not under_way.first)
    return begun and state.schema_fingerprint == fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class RereadCounts:
    """A pipeline's rereads: waiting ones with the oldest's time, and ended ones of which a part could not be read.

    `unreadable`: why not, of the one that ended last; None where that was read whole.
    """

    waiting: int = 0
    refused: int = 0
    oldest: datetime | None = field(default=None)
    unreadable: str | None = None
