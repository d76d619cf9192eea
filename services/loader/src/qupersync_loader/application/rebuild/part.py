"""Which part of a stream is to be replayed, and where it stands on each lane."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from qupersync_loader.application.content import facts_of
from qupersync_loader.application.rebuild.history import History
from qupersync_loader.application.rebuild.snapshots_seen import own_envelope
from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane, Log, PipelineName


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A sequence of a log; of the stream's newest log where none is named."""

    sequence: int
    log: int | None = None

    def within(self, newest: Log) -> tuple[int, int]:
        """Log and sequence."""
        return self.log if self.log is not None else newest, self.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """From a position or a moment of publishing on, up to and with a position; None: as far as the stream goes."""

    first: Position | None = None
    since: datetime | None = None
    last: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part where it stands: `begin` and `end` are the places of its first and last event on each lane."""

    first: tuple[int, int] | None = None
    last: tuple[int, int] | None = None
    begin: Mapping[Lane, int] = field(default_factory=dict)
    end: Mapping[Lane, int] = field(default_factory=dict)
    events: int = 0

    def holds(self, event: EventFacts) -> bool:
        """Whether an event lies between its positions."""
        at = (event.log, event.sequence)
        return (self.first is None or at >= self.first) and (self.last is None or at <= self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanReach:
    """The port `Reach`: to the last event of the span on a lane, whatever the lane has applied by then."""

    span: Span
    end: int

    def there(self, mark: Watermark | None, place: int) -> bool:  # noqa: ARG002  # places only
        return place > self.end

    def beyond(self, event: EventFacts) -> bool:  # noqa: ARG002  # what is not wanted is passed over
        return False

    def wants(self, event: EventFacts) -> bool:
        return self.span.holds(event)


async def find(history: History, pipeline: PipelineName, part: Part) -> Span:
    """Where the part stands now. QupersyncError, with the cure, where the stream has nothing of it."""
    newest = await history.newest_log() or Log(0)
    first = part.first.within(newest) if part.first is not None else None
    last = part.last.within(newest) if part.last is not None else None
    if first is not None and last is not None and first > last:
        raise QupersyncError(f"{_shown(first)} comes after {_shown(last)}", cure="Exchange them")
    bounds = Span(first=first, last=last)
    begin: dict[Lane, int] = {}
    end: dict[Lane, int] = {}
    count = 0
    async with aclosing(history.headers()) as events:
        async for event in events:
            envelope = own_envelope(pipeline, event)
            if envelope is None or not bounds.holds(facts_of(envelope)):
                continue
            if part.since is not None and event.at < part.since:
                continue
            begin.setdefault(event.lane, event.place)
            end[event.lane] = event.place
            count += 1
    if not count:
        raise QupersyncError(
            f"{pipeline}: no event of the stream lies in that part",
            cure=f"`qupersync events {pipeline} --headers-only` shows which there are, as log/sequence",
        )
    return Span(first=first, last=last, begin=begin, end=end, events=count)


def _shown(at: tuple[int, int]) -> str:
    return f"{at[0]}/{at[1]}"
