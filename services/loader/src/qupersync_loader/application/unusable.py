"""Events that are not to be applied: asked for again, reported as a fork, or passed over for a baseline further on."""

from typing import assert_never

from qupersync_loader.application.outcome import Ack, Cause, Outcome, nak
from qupersync_loader.application.ports import Commands, Delivery
from qupersync_loader.application.resends import Resend, Resends
from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.judge import AlreadyApplied, Apply, AwaitBaseline, Fork, Gap, Verdict
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_shared.contracts.commands import ForkReport, ResendReply, ResendRequest, ResendStatus, SnapshotRequest
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import Generation, Lane, Sequence
from qupersync_shared.runtime.logs import get_logger

_log = get_logger(__name__)


class UnusableEvents:
    """Settles what the judge does not let through, and remembers what was asked for."""

    def __init__(self, pipeline: TargetPipeline, commands: Commands, clock: Clock) -> None:
        self._pipeline = pipeline
        self._commands = commands
        self._clock = clock
        self._resends = Resends()
        self._awaited: dict[Lane, EventFacts] = {}

    def went_on(self, lane: Lane) -> None:
        """The lane has applied an event."""
        self._resends.settle(lane)
        self._awaited.pop(lane, None)

    async def passed_over(
        self, event: EventFacts, delivery: Delivery, *, why: str, fingerprint: str | None = None
    ) -> Outcome | None:
        """Gives an event up, because further on its lane the whole table is said again, in columns of another
        fingerprint; None where that is not known, or where the source may have forgotten what the event says.
        """
        if self._pipeline.deletes is DeletePolicy.KEEP:
            return None
        ahead = await self.ahead(event, delivery, fingerprint=fingerprint)
        if ahead is None:
            return None
        self._awaited[event.lane] = ahead
        _log.warning(
            "event_passed_over", **self._where(event), reason=why, to_log=ahead.log, to_sequence=ahead.sequence
        )
        return _passing(ahead, why)

    async def ahead(
        self, event: EventFacts, delivery: Delivery, *, fingerprint: str | None = None
    ) -> EventFacts | None:
        """The last baseline known to stand further on the lane, in columns of another fingerprint."""
        try:
            found = await delivery.baselines_ahead()
        except TransientError as error:
            _log.info("lane_not_looked_at", **self._where(event), error=error)
            return None
        after = (event.log, event.sequence)
        fitting = [
            one.event for one in found if one.fingerprint != fingerprint and (one.event.log, one.event.sequence) > after
        ]
        return fitting[-1] if fitting else None

    async def settle(self, verdict: Verdict, event: EventFacts, delivery: Delivery) -> Outcome:
        """What becomes of an event with this verdict."""
        match verdict:
            case Apply() | AlreadyApplied():
                return Ack(cause=Cause.ALREADY_APPLIED)
            case AwaitBaseline():
                waits = f"lane {event.lane} waits for the first page of a snapshot"
                return Ack(cause=Cause.AWAITS_BASELINE, trouble=waits, awaits=event.log)
            case Gap(expected=expected):
                return await self._gap(event, expected, delivery)
            case Fork():
                return await self._fork(event, delivery)
            case unexpected:
                assert_never(unexpected)

    def may_come_again(self, event: EventFacts) -> bool:
        """Whether a damaged event has not been asked for once more yet."""
        return not self._resends.second_copy_asked(event)

    async def second_copy(self, event: EventFacts, delivery: Delivery) -> Outcome | None:
        """Asks for an event whose body is damaged once more; None where the outbox no longer has it."""
        reply = await self._ask(event, event.sequence)
        damaged = f"lane {event.lane}: event {event.sequence} of log {event.log} is damaged"
        _log.warning("wrong_checksum", **self._where(event), answer=reply.status if reply else None)
        if reply is None:
            return nak(f"{damaged}, and no relay answers the request to resend it", delivery.attempt)
        if reply.status is ResendStatus.UNAVAILABLE:
            return None
        self._resends.ask_second_copy(event)
        self._remember(event, event.sequence, Generation(reply.generation))
        return Ack(cause=Cause.RESENT, trouble=f"{damaged}, a second copy was asked for")

    async def _gap(self, event: EventFacts, expected: Sequence, delivery: Delivery) -> Outcome:
        missing = f"lane {event.lane}: the stream lost events {expected} to {event.sequence - 1} of log {event.log}"
        settled = self._is_coming(event, expected, missing)
        if settled is None:
            # What is resent would come behind a baseline that is there already; and nothing may be missing at all, but
            # have been passed over by another process.
            settled = await self.passed_over(event, delivery, why=missing)
        return settled or await self._ask_for_missing(event, expected, delivery, missing)

    def _is_coming(self, event: EventFacts, expected: Sequence, missing: str) -> Outcome | None:
        """What serves this event too, of what the lane waits for already."""
        awaited = self._awaited.get(event.lane)
        if awaited is not None and (event.log, event.sequence) < (awaited.log, awaited.sequence):
            return _passing(awaited, f"lane {event.lane}: an event was passed over")
        known = self._resends.covers(event, expected, self._clock.now())
        return None if known is None else _left_out(known, missing)

    async def _ask_for_missing(
        self, event: EventFacts, expected: Sequence, delivery: Delivery, missing: str
    ) -> Outcome:
        reply = await self._ask(event, expected)
        _log.warning("gap", **self._where(event), expected=expected, answer=reply.status if reply else None)
        if reply is None:
            return nak(f"{missing}, and no relay answers the request to resend them", delivery.attempt)
        if reply.status is ResendStatus.REWOUND:
            return _left_out(self._remember(event, expected, Generation(reply.generation)), missing)
        accepted = await self._commands.request_snapshot(
            SnapshotRequest(
                group=self._pipeline.group,
                pipeline=self._pipeline.name,
                log=event.log,
                reason=f"{missing}, and the outbox no longer has them",
            )
        )
        if not accepted:
            return nak(f"{missing}, the outbox too, and no extractor answers", delivery.attempt)
        return _left_out(self._remember(event, expected, None), missing)

    async def _fork(self, event: EventFacts, delivery: Delivery) -> Outcome:
        accepted = await self._commands.report_fork(
            ForkReport(
                group=self._pipeline.group,
                pipeline=self._pipeline.name,
                lane=event.lane,
                log=event.log,
                sequence=event.sequence,
                event_id=event.event_id,
            )
        )
        _log.error("fork", **self._where(event), accepted=accepted)
        reason = f"lane {event.lane}: event {event.sequence} of log {event.log} is from another past (a fork)"
        if not accepted:
            return nak(f"{reason}, and no extractor answers the report", delivery.attempt)
        return Ack(cause=Cause.FORKED, trouble=f"{reason}: a greater log with a snapshot follows")

    async def _ask(self, event: EventFacts, from_sequence: Sequence) -> ResendReply | None:
        return await self._commands.request_resend(
            ResendRequest(
                group=self._pipeline.group,
                pipeline=self._pipeline.name,
                lane=event.lane,
                log=event.log,
                from_sequence=from_sequence,
            )
        )

    def _remember(self, event: EventFacts, expected: Sequence, generation: Generation | None) -> Resend:
        resend = Resend(log=event.log, expected=expected, generation=generation, asked_at=self._clock.now())
        self._resends.remember(event.lane, resend)
        return resend

    def _where(self, event: EventFacts) -> dict[str, object]:
        return {"pipeline": self._pipeline.name, "lane": event.lane, "log": event.log, "sequence": event.sequence}


def _passing(awaited: EventFacts, why: str) -> Ack:
    goes_on = f"the lane goes on with the snapshot that begins at event {awaited.sequence} of log {awaited.log}"
    return Ack(cause=Cause.PASSED_OVER, trouble=f"{why}; {goes_on}")


def _left_out(resend: Resend, missing: str) -> Ack:
    if resend.generation is None:
        return Ack(cause=Cause.STALLED, trouble=f"{missing}, and so did the outbox: stalled until the next snapshot")
    return Ack(cause=Cause.RESENT, trouble=f"{missing}; they are being resent")
