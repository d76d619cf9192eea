"""One lane of a table that is being filled from the stream, event after event, as far as it may go."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.content import facts_of, open_event
from qupersync_loader.application.outcome import Ack, Cause, Nak, nak_for
from qupersync_loader.application.ports import Target, TargetSession
from qupersync_loader.application.rebuild.history import (
    History,
    LaneReading,
    StoredDelivery,
    StoredEvent,
    WholeSnapshot,
)
from qupersync_loader.application.rebuild.snapshots_seen import own_envelope
from qupersync_loader.application.rebuild.stand import Ended, Reach, Stand
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.judge import Apply, AwaitBaseline, Gap
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane, Sequence
from qupersync_shared.runtime.logs import get_logger

_BUFFER_BYTES: Final = 32_000_000
_EVENT_BYTES_MAX: Final = 1_000_000
_AT_ONCE_MAX: Final = 8
_DELAY_SECONDS_MAX: Final = 5.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What the lanes of one table share. `connections` lanes are read at a time; together they hold 32 MB at most.

    `later` finds the newest whole snapshot, for a lane that cannot go on where it is. `anywhere`: the first event seen
    of a lane counts as its beginning. A lane that only fails for `patience_seconds` ends it all, with its reason.
    """

    history: History
    target: Target
    pipeline: TargetPipeline
    apply: ApplyEvent
    connections: int
    stand: Stand = field(default_factory=Stand)
    tally: Tally = field(default_factory=Tally)
    later: Callable[[], Awaitable[WholeSnapshot | None]] | None = None
    anywhere: bool = False
    patience_seconds: float = 120.0
    slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "slots", asyncio.Semaphore(self.connections))

    @property
    def at_once(self) -> int:
        """How many events one lane fetches at a time."""
        return max(1, min(_AT_ONCE_MAX, _BUFFER_BYTES // (_EVENT_BYTES_MAX * self.connections)))


class LaneReader:
    """Remembers its place in the stream. What the judge does not let through is passed over: it may come again."""

    def __init__(self, lane: Lane, filling: Filling, *, begin: int) -> None:
        self.lane = lane
        self._filling = filling
        self._begin = begin
        self._place = begin
        self._left_out: tuple[int, int] = (0, 0)
        self._asked_again = 0
        self._leaps = False
        self._before: tuple[object, int] | None = None

    @property
    def mark(self) -> Watermark | None:
        """The lane's watermark."""
        return self._filling.stand.marks.get(self.lane)

    @property
    def lacks(self) -> bool:
        """Whether events were left out that the lane has not gone past since."""
        mark = self.mark
        return self._left_out > ((mark.log, mark.sequence) if mark is not None else (0, 0))

    def leap(self) -> None:
        """Starts over, and takes what comes after a gap as a new beginning: what lies in it is not in the stream."""
        self._leaps = True
        self._start_over()

    async def advance(self, reach: Reach) -> Ended:
        """Reads on. QupersyncError where only a person can help, or where it fails for too long.

        What was left out may stand further back, where it was sent again, or be damaged in every copy: a lane that ends
        short starts over once more whenever that can lead anywhere.
        """
        while True:
            ended = await self._patiently(reach)
            now = (self.mark.event_id if self.mark is not None else None, self._asked_again)
            if ended is not Ended.SHORT or not self.lacks or self._before == now:
                return ended
            self._before = now
            self._start_over()

    def _start_over(self) -> None:
        self._place, self._left_out = self._begin, (0, 0)

    async def _patiently(self, reach: Reach) -> Ended:
        tally = self._filling.tally
        attempt, since = 1, time.monotonic()
        while not reach.there(self.mark, self._place):
            before = self._place
            result = await self._read(reach, attempt)
            if isinstance(result, Ended):
                tally.trouble(self.lane, None)
                return result
            if self._place != before:
                attempt, since = 1, time.monotonic()
            attempt += 1
            reason = f"lane {self.lane}: {result.reason}"
            tally.trouble(self.lane, reason)
            if result.halted:
                await self._leave_behind(reason)
            elif time.monotonic() - since > self._filling.patience_seconds:
                raise QupersyncError(reason, cure="What was read is kept: mend it, then run this again")
            else:
                await asyncio.sleep(min(result.delay_seconds, _DELAY_SECONDS_MAX))
        tally.trouble(self.lane, None)
        return Ended.THERE

    async def _leave_behind(self, reason: str) -> None:
        """Goes on with a later snapshot, which says everything again; where there is none, only a person can help."""
        keeps = self._filling.pipeline.deletes is DeletePolicy.KEEP  # its source may have forgotten what this says
        later = await self._filling.later() if self._filling.later is not None and not keeps else None
        place = later.first.get(self.lane, 0) if later is not None else 0
        if place <= self._place:
            raise QupersyncError(reason, cure="Mend its cause, or trigger a snapshot; then run this again")
        _log.warning("event_left_behind", pipeline=self._filling.pipeline.name, lane=self.lane, reason=reason)
        self._begin = self._place = place

    # ------------------------------------------------------------------------------------------------ reading

    async def _read(self, reach: Reach, attempt: int) -> Ended | Nak:
        filling = self._filling
        try:
            async with (
                filling.slots,
                filling.history.reading(self.lane, begin=self._place) as reading,
                filling.target.session(filling.pipeline) as session,
            ):
                filling.tally.waiting[self.lane] = reading.waiting
                return await self._read_on(reading, session, reach, attempt)
        except QupersyncError as error:
            return nak_for(error, attempt)

    async def _read_on(self, reading: LaneReading, session: TargetSession, reach: Reach, attempt: int) -> Ended | Nak:
        while not reach.there(self.mark, self._place):
            events = await reading.next(self._filling.at_once)
            if not events:
                return Ended.SHORT
            for event in events:
                if reach.there(self.mark, self._place):
                    break
                stopped = await self._take(event, session, reach, attempt)
                if stopped is not None:
                    return stopped
                attempt = 1
                self._passed(event)
        return Ended.THERE

    def _passed(self, event: StoredEvent) -> None:
        tally = self._filling.tally
        self._place = event.place + 1
        tally.events += 1
        tally.bytes += event.bytes
        tally.waiting[self.lane] = event.waiting

    async def _take(self, event: StoredEvent, session: TargetSession, reach: Reach, attempt: int) -> Ended | Nak | None:
        """None where the event is done with: applied, or of no use."""
        envelope = own_envelope(self._filling.pipeline.name, event)
        if envelope is None:
            outcome = await self._filling.apply(self.lane, StoredDelivery(event=event, attempt=attempt), session)
            return outcome if isinstance(outcome, Nak) else None
        facts = facts_of(envelope)
        if not reach.wants(facts):
            return None
        verdict = self._filling.stand.judge(facts)
        begins = isinstance(verdict, AwaitBaseline) or (isinstance(verdict, Gap) and self._leaps)
        if not isinstance(verdict, Apply) and not (begins and self._filling.anywhere and envelope.previous_id):
            if isinstance(verdict, Gap):
                self._left_out = max(self._left_out, (facts.log, facts.sequence))
            return None
        if reach.beyond(facts):
            return Ended.BEYOND
        if not isinstance(verdict, Apply):
            await self._begin_at(envelope, facts, session)
        return await self._apply(event, envelope, session, attempt)

    async def _begin_at(self, envelope: BatchEnvelope, facts: EventFacts, session: TargetSession) -> None:
        """Lets the lane stand right before the event, so that it comes next."""
        if facts.previous_id is None or facts.sequence < 2:  # noqa: PLR2004  # a log's first event is a baseline
            raise QupersyncError(f"lane {self.lane}: event {facts.sequence} of log {facts.log} has no predecessor")
        before = Watermark(
            lanes=facts.lanes, log=facts.log, sequence=Sequence(facts.sequence - 1), event_id=facts.previous_id
        )
        async with session.work(self.lane) as work:
            await work.look()
            await work.lock(exclusive=True)
            await work.save(before, envelope)
            await work.commit()
        async with session.work(self.lane) as work:
            self._filling.stand.saw(self.lane, await work.look())

    async def _apply(
        self, event: StoredEvent, envelope: BatchEnvelope, session: TargetSession, attempt: int
    ) -> Nak | None:
        filling, facts = self._filling, facts_of(envelope)
        outcome = await filling.apply(self.lane, StoredDelivery(event=event, attempt=attempt), session)
        match outcome:
            case Nak():
                return outcome
            case Ack(cause=Cause.APPLIED | Cause.PARKED):
                filling.stand.went(facts)
                filling.tally.rows += outcome.applied.rows
                filling.tally.places[self.lane] = (facts.log, facts.sequence)
                if outcome.cause is Cause.APPLIED:
                    self._see_schema(envelope, event.body)
            case Ack(cause=Cause.RESENT):
                # Its content is not what its envelope says: a good copy may follow. If none does, it is parked.
                self._asked_again += 1
                self._left_out = max(self._left_out, (facts.log, facts.sequence))
            case _:
                async with session.work(self.lane) as work:
                    filling.stand.saw(self.lane, await work.look())
        return None

    def _see_schema(self, envelope: BatchEnvelope, body: bytes) -> None:
        known = self._filling.stand.schema
        if known is None or known.fingerprint != envelope.schema_fingerprint:
            self._filling.stand.saw_schema(facts_of(envelope), open_event(envelope, body).schema)
