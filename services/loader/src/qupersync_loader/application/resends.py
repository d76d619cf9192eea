"""What one process remembers of the resends it asked for. Forgetting it costs a question, nothing else."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from qupersync_loader.domain.events import EventFacts
from qupersync_shared.kernel.ids import EventId, Generation, Lane, Log, Sequence

ASK_AGAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend:
    """An answered request. `generation` None: the outbox no longer had it, and a snapshot was asked for instead."""

    log: Log
    expected: Sequence
    generation: Generation | None
    asked_at: datetime


class Resends:
    """The last answered request of each lane of one pipeline, and the events asked for because of their checksum."""

    def __init__(self) -> None:
        self._answered: dict[Lane, Resend] = {}
        self._second_copies: dict[Lane, EventId] = {}

    def remember(self, lane: Lane, resend: Resend) -> None:
        self._answered[lane] = resend

    def covers(self, event: EventFacts, expected: Sequence, now: datetime) -> Resend | None:
        """The request that serves this unusable event too: what is missing comes again, or a snapshot does."""
        known = self._answered.get(event.lane)
        if known is None or known.log != event.log or known.expected > expected or _long_ago(known, now):
            return None
        older = known.generation is None or event.generation < known.generation
        return known if older else None

    def settle(self, lane: Lane) -> None:
        """The lane has gone on past what was asked for with no generation to wait for."""
        known = self._answered.get(lane)
        if known is not None and known.generation is None:
            del self._answered[lane]

    def second_copy_asked(self, event: EventFacts) -> bool:
        """Whether this event was already asked for again because its content was not what its envelope says."""
        return self._second_copies.get(event.lane) == event.event_id

    def ask_second_copy(self, event: EventFacts) -> None:
        self._second_copies[event.lane] = event.event_id


def _long_ago(known: Resend, now: datetime) -> bool:
    """Whether it is time to ask again; so it is when the clock was put back."""
    return abs(now - known.asked_at) > ASK_AGAIN
