"""The use case: one delivery of one event, from its bytes to a committed watermark, a request, or a reason."""

import asyncio
from dataclasses import dataclass
from typing import Final

from qupersync_loader.application.content import Batch, ChecksumError, facts_of, open_event
from qupersync_loader.application.outcome import Ack, Cause, Outcome, nak, nak_for
from qupersync_loader.application.ports import (
    Applied,
    Commands,
    DeadLetter,
    Delivery,
    LaneState,
    NotPreparedError,
    TargetSession,
)
from qupersync_loader.application.unusable import UnusableEvents
from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.judge import Apply, Verdict, judge
from qupersync_loader.domain.pipeline import DeletePolicy, OnTerminal, TargetPipeline
from qupersync_loader.domain.watermark import next_watermark, seen_snapshot
from qupersync_shared.contracts.envelope import EVENT_TYPE, BatchEnvelope
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import EventRefusedError, QupersyncError, SchemaRefusedError, TransientError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.logs import describe, get_logger

_THREAD_BYTES: Final = 16_384  # decoding less than this takes well under a millisecond
_RESTARTS_MAX: Final = 5
_FAMILY: Final = EVENT_TYPE.rpartition(".")[0] + "."

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unfit:
    """The content of an authentic event that cannot be applied, and why."""

    error: EventRefusedError


_Content = Batch | _Unfit


class _LockedTooLittleError(Exception):
    """The transaction must begin anew with an exclusive lock: a lock is never upgraded."""


class ApplyEvent:
    """Applies the events of one pipeline. Never raises for what the world did: that is a `Nak` with its reason."""

    def __init__(self, pipeline: TargetPipeline, commands: Commands, clock: Clock) -> None:
        self._pipeline = pipeline
        self._unusable = UnusableEvents(pipeline, commands, clock)

    async def __call__(self, lane: Lane, delivery: Delivery, session: TargetSession) -> Outcome:
        """What the transport must do with the delivery."""
        try:
            envelope = self._envelope(lane, delivery)
        except EventRefusedError as error:
            return self._foreign(lane, delivery, error)
        try:
            return await self._handle(envelope, delivery, session)
        except QupersyncError as error:
            outcome = nak_for(error, delivery.attempt)
            report = _log.warning if isinstance(error, TransientError) else _log.error
            report("event_not_applied", **_place(envelope), attempt=delivery.attempt, error=error)
            return outcome

    # ------------------------------------------------------------------------------------------------ reading

    def _envelope(self, lane: Lane, delivery: Delivery) -> BatchEnvelope:
        envelope = BatchEnvelope.from_headers(dict(delivery.headers))
        if (envelope.pipeline, envelope.lane) != (self._pipeline.name, lane):
            raise EventRefusedError(
                f"an event of {envelope.pipeline}, lane {envelope.lane}, on lane {lane} of {self._pipeline.name}"
            )
        return envelope

    def _foreign(self, lane: Lane, delivery: Delivery, error: EventRefusedError) -> Outcome:
        """A foreign message moves nothing; one of a later version of ours must not be lost, though."""
        names = {name.lower(): value for name, value in delivery.headers.items()}
        kind = names.get("ce-type", "")
        ours = names.get("ce-pipeline") == self._pipeline.name
        if ours and kind.startswith(_FAMILY) and kind != EVENT_TYPE:
            return nak(f"event type {kind} is newer than this loader: upgrade it", delivery.attempt, halted=True)
        _log.warning("foreign_message", pipeline=self._pipeline.name, lane=lane, error=error)
        return Ack(cause=Cause.FOREIGN, trouble=f"lane {lane}: a foreign message was left out: {error}")

    async def _content(self, envelope: BatchEnvelope, body: bytes) -> _Content:
        try:
            if len(body) > _THREAD_BYTES:
                return await asyncio.to_thread(open_event, envelope, body)
            return open_event(envelope, body)
        except EventRefusedError as error:
            return _Unfit(error=error)

    # ----------------------------------------------------------------------------------------------- applying

    async def _handle(self, envelope: BatchEnvelope, delivery: Delivery, session: TargetSession) -> Outcome:
        event = facts_of(envelope)
        content = await self._content(envelope, delivery.body)
        if isinstance(content, _Unfit) and isinstance(content.error, ChecksumError):
            asked = await self._second_copy(event, delivery, session)
            if asked is not None:
                return asked
        try:
            result = await self._apply(event, envelope, content, delivery, session)
        except EventRefusedError as error:
            content = _Unfit(error=error)
            result = await self._apply(event, envelope, content, delivery, session)
        except SchemaRefusedError as error:
            # Nothing that stands behind it is reached as long as it is refused, not even the cure.
            passed = await self._unusable.passed_over(
                event, delivery, why=f"lane {event.lane}: {describe(error)}", fingerprint=envelope.schema_fingerprint
            )
            if passed is not None:
                return passed
            if not await self._is_overtaken(event, envelope, delivery):
                raise
            content = _Unfit(error=EventRefusedError(error.message, cure=error.cure))
            result = await self._apply(event, envelope, content, delivery, session)
        if isinstance(result, Applied):
            self._unusable.went_on(event.lane)
            cause = Cause.PARKED if isinstance(content, _Unfit) else Cause.APPLIED
            return Ack(cause=cause, applied=result)
        return await self._unusable.settle(result, event, delivery)

    async def _apply(
        self,
        event: EventFacts,
        envelope: BatchEnvelope,
        content: _Content,
        delivery: Delivery,
        session: TargetSession,
    ) -> Applied | Verdict:
        """What was applied (or parked) and committed, or the verdict that forbids it."""
        if isinstance(content, _Unfit) and self._pipeline.on_terminal is OnTerminal.HALT:
            state = await self._look(event, session)
            verdict = _judge(state, event)
            if isinstance(verdict, Apply):
                raise EventRefusedError(
                    content.error.message, cure="`on_terminal: halt` holds the lane: mend the event's cause, or `park`"
                )
            return verdict
        exclusive = False
        for _ in range(_RESTARTS_MAX):
            try:
                return await self._transaction(event, envelope, content, delivery, session, exclusive=exclusive)
            except _LockedTooLittleError:
                exclusive = True
            except NotPreparedError:
                if isinstance(content, Batch):
                    await session.prepare(content.schema, event.place)
        raise TransientError(f"lane {event.lane} changed under every attempt to lock it")

    async def _transaction(
        self,
        event: EventFacts,
        envelope: BatchEnvelope,
        content: _Content,
        delivery: Delivery,
        session: TargetSession,
        *,
        exclusive: bool,
    ) -> Applied | Verdict:
        async with session.work(event.lane) as work:
            state = await work.look()
            verdict = _judge(state, event)
            if not isinstance(verdict, Apply):
                return verdict
            if isinstance(content, Batch):
                if not session.is_prepared(content.schema):
                    raise NotPreparedError
                await work.stage(content)
            exclusive = exclusive or _begins(state, verdict)
            state = await work.lock(exclusive=exclusive)
            verdict = _judge(state, event)
            if not isinstance(verdict, Apply):
                return verdict
            if _begins(state, verdict) and not exclusive:
                raise _LockedTooLittleError
            if isinstance(content, Batch):
                applied = await work.apply()
            else:
                await work.park(_letter(envelope, content, delivery))
                applied = Applied()
            held = isinstance(content, _Unfit)
            if state.parked or envelope.redrives:
                # What was not applied makes nothing good.
                redriven = envelope.redrives if isinstance(content, Batch) else ()
                seen = seen_snapshot(state.watermark, event)
                letters = await work.settle_letters(envelope, redriven=redriven, snapshot=seen)
                held = held or letters.held
            await work.save(next_watermark(state.watermark, event, held=held), envelope)
            await work.commit()
        self._report(envelope, content, applied)
        return applied

    async def _is_overtaken(self, event: EventFacts, envelope: BatchEnvelope, delivery: Delivery) -> bool:
        """Whether to park an event of a source that may have forgotten what it says, because its columns are refused
        and have changed again since: what stands behind it can be loaded.
        """
        if (self._pipeline.deletes, self._pipeline.on_terminal) != (DeletePolicy.KEEP, OnTerminal.PARK):
            return False
        return await self._unusable.ahead(event, delivery, fingerprint=envelope.schema_fingerprint) is not None

    async def _second_copy(self, event: EventFacts, delivery: Delivery, session: TargetSession) -> Outcome | None:
        """Asks for a damaged event once more, if it has not been done and the event is the lane's next."""
        if not self._unusable.may_come_again(event):
            return None
        if not isinstance(_judge(await self._look(event, session), event), Apply):
            return None
        return await self._unusable.second_copy(event, delivery)

    async def _look(self, event: EventFacts, session: TargetSession) -> LaneState:
        async with session.work(event.lane) as work:
            return await work.look()

    def _report(self, envelope: BatchEnvelope, content: _Content, applied: Applied) -> None:
        if isinstance(content, _Unfit):
            _log.error("event_parked", **_place(envelope), error=content.error)
        elif applied.quarantined:
            _log.warning("rows_quarantined", **_place(envelope), rows=applied.quarantined)
        if applied.altered:
            _log.warning("nul_bytes_removed", **_place(envelope), rows=applied.altered)
        _log.debug(
            "event_applied",
            **_place(envelope),
            mode=envelope.mode.value,
            rows=applied.rows,
            written=applied.written,
            removed=applied.removed,
        )


def _judge(state: LaneState, event: EventFacts) -> Verdict:
    return judge(pipeline_log=state.log, pipeline_lanes=state.lanes, watermark=state.watermark, event=event)


def _begins(state: LaneState, verdict: Apply) -> bool:
    """Whether the event begins a lane or a log, which takes the pipeline's row for itself."""
    return verdict.changes_log or state.watermark is None


def _letter(envelope: BatchEnvelope, content: _Unfit, delivery: Delivery) -> DeadLetter:
    return DeadLetter(
        envelope=envelope, headers=dict(delivery.headers), body=delivery.body, reason=content.error.message
    )


def _place(envelope: BatchEnvelope) -> dict[str, object]:
    return {
        "pipeline": envelope.pipeline,
        "lane": envelope.lane,
        "log": envelope.log,
        "sequence": envelope.sequence,
        "event_id": envelope.id,
    }
