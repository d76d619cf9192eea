"""The rules as they must not be: each takes the original as its first argument."""

from dataclasses import replace
from typing import Any

from qupersync_extractor.application.committing import PageCommitter
from qupersync_extractor.application.ports import CursorRange, KeyRange
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.domain.extraction import SnapshotPage
from qupersync_extractor.domain.timeline import scalar_of_time
from qupersync_extractor.infrastructure.memory.relay_cursors import MemoryRelayCursors
from qupersync_extractor.infrastructure.memory.source import MemorySource
from qupersync_extractor.infrastructure.memory.store import Lease
from qupersync_extractor.infrastructure.memory.stream import MemoryStream
from qupersync_extractor.infrastructure.memory.unit_of_work import MemoryUnitOfWork
from qupersync_loader.application.outcome import Ack, Cause
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.unusable import UnusableEvents
from qupersync_loader.domain.judge import AlreadyApplied, Apply, Fork, Gap
from qupersync_loader.infrastructure.memory.work import MemoryWork
from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.kernel.ids import Generation
from qupersync_shared.kernel.positions import Position, ScalarKind

# ------------------------------------------------------------------------------------------------------------ extractor


async def commit_failures_are_passed_over(
    original: Any, self: PageCommitter, draft: Any, context: Any, known: Any, **given: Any
) -> Any:
    try:
        return await original(self, draft, context, known, **given)
    except DatabaseUnavailableError:
        async with self._unit_of_work() as work:
            return await work.extractions.lock(self._pipeline.name, context.token)


async def pages_are_read_ahead_of_others(original: Any, self: PageReader, schema: Any, wanted: Any) -> Any:
    """The page after this one is read at once, whatever is read and committed before it."""
    ahead = self.__dict__.setdefault("ahead", {})
    page = ahead.pop(wanted, None) if isinstance(wanted, KeyRange) else None
    page = page or await original(self, schema, wanted)
    if isinstance(wanted, KeyRange) and not page.last:
        following = KeyRange(after=page.rows.key(page.rows.count - 1))
        ahead[following] = await original(self, schema, following)
    return page


def records_are_stored_at_once(original: Any, self: MemoryUnitOfWork, records: Any) -> None:
    original(self, records)
    self._store.outbox.update(self._records)


async def any_token_may_commit(original: Any, self: MemoryUnitOfWork, pipeline: Any, token: Any) -> Any:
    row = self._store.pipelines.get(pipeline)
    if row is not None:
        row.lease = row.lease or Lease(owner="nobody", until=self._store.now())
        token = row.token
    return await original(self, pipeline, token)


def whatever_is_found_is_gone_on_with(*_: Any) -> bool:
    return True


def the_first_cursor_is_taken_last(original: Any, state: Any, page: Any, *, event_ids: Any, at: Any) -> Any:
    after = original(state, page, event_ids=event_ids, at=at)
    if isinstance(page, SnapshotPage) and page.upto is None and state.snapshot_ended_at is None:
        return replace(after, cursor=Position.after(scalar_of_time(ScalarKind.TIMESTAMPTZ, at, "UTC")), completed_at=at)
    return after


def nothing_is_swept(original: Any, state: Any, pipeline: Any, at: Any, *, high_time: Any) -> Any:
    run = original(state, pipeline, at, high_time=high_time)
    return replace(run, after=state.cursor, sweep=None, completes_at=high_time)


def sweeps_begin_at_the_cursor(original: Any, state: Any, pipeline: Any, at: Any, *, high_time: Any) -> Any:
    moved = state
    if state.swept is not None and state.cursor is not None:
        moved = replace(state, swept=replace(state.swept, high=state.cursor.cursor))
    return original(moved, pipeline, at, high_time=high_time)


def sweeps_claim_their_beginning(original: Any, state: Any, pipeline: Any, at: Any, *, high_time: Any) -> Any:
    run = original(state, pipeline, at, high_time=high_time)
    return run if run.completes_at is None else replace(run, completes_at=at.began_at)


def high_is_the_present(
    original: Any, kind: Any, *, now: Any, oldest_open: Any, safety_lag: Any, time_zone: Any
) -> Any:
    return original(kind, now=now, oldest_open=None, safety_lag=safety_lag * 0, time_zone=time_zone)


async def pages_go_on_after_the_cursor_value(original: Any, self: MemorySource, request: Any) -> Any:
    """Ties that a page does not hold are left out."""
    wanted = request.range
    if isinstance(wanted, CursorRange) and wanted.after is not None and isinstance(wanted.after.key, tuple):
        wanted = replace(wanted, after=Position.after(wanted.after.cursor))
    return await original(self, replace(request, range=wanted))


async def pages_go_on_after_the_key(original: Any, self: MemorySource, request: Any) -> Any:
    wanted = request.range
    if isinstance(wanted, CursorRange) and wanted.after is not None and isinstance(wanted.after.key, tuple):
        wanted = KeyRange(after=wanted.after.key)
    return await original(self, replace(request, range=wanted))


def nobody_is_compared_with(_original: Any, *_: Any, **__: Any) -> None:
    return None


def only_the_stream_is_compared_with(original: Any, state: Any, sightings: Any, *, forked: Any) -> Any:
    return original(state, [one for one in sightings if "loader group" not in one.where], forked=forked)


def forks_are_not_listened_to(original: Any, state: Any, sightings: Any, *, forked: Any) -> Any:
    return original(state, sightings, forked=None)


# ---------------------------------------------------------------------------------------------------------------- relay


async def the_stream_takes_anything(
    original: Any, self: MemoryStream, record: Any, generation: Any, *, expected: Any
) -> Any:
    last = self._last(self._stream(record.pipeline), record.lane)
    return await original(self, record, generation, expected=last.stream_sequence if last else 0)


def the_own_event_is_not_recognised(original: Any, cursor: Any, top: Any) -> Any:
    return original(cursor, None if top is None else replace(top, known=None))


def older_generations_are_gone_after(original: Any, cursor: Any, top: Any) -> Any:
    return original(cursor, None if top is None else replace(top, generation=cursor.generation))


def foreign_places_are_not_adopted(original: Any, cursor: Any, top: Any) -> Any:
    after = original(cursor, top)
    return after if top is not None and after.last_sequence != cursor.last_sequence else cursor


async def holes_are_waited_for(original: Any, *args: Any, after: Any, **kwargs: Any) -> Any:
    found = await original(*args, after=after, **kwargs)
    return [record for index, record in enumerate(found, 1) if record.sequence == after + index]


async def cursors_are_stored_blindly(original: Any, self: MemoryRelayCursors, cursor: Any, owner: str) -> bool:
    row = self._store.cursors.get((cursor.pipeline, cursor.lane))
    if row is None or row.cursor.log != cursor.log:
        return False
    row.lease = row.lease or Lease(owner=owner, until=self._store.now())
    stored = await original(self, replace(cursor, generation=row.cursor.generation), row.lease.owner)
    return bool(stored)


async def rewinds_go_forward_too(original: Any, self: MemoryRelayCursors, *args: Any, from_sequence: Any) -> Any:
    row = self._store.cursors.get(args[:2])
    if row is not None and row.cursor.last_sequence < from_sequence - 1:
        row.cursor = replace(row.cursor, last_sequence=from_sequence - 1)
    return await original(self, *args, from_sequence=from_sequence)


async def rewinds_keep_the_generation(original: Any, self: MemoryRelayCursors, *args: Any, from_sequence: Any) -> Any:
    row = self._store.cursors.get(args[:2])
    before = row.cursor.generation if row is not None else Generation(0)
    answer = await original(self, *args, from_sequence=from_sequence)
    if answer is not None and row is not None:
        row.cursor = replace(row.cursor, generation=before)
        return before
    return answer


# --------------------------------------------------------------------------------------------------------------- loader


def everything_applies(_original: Any, **_: Any) -> Any:
    return Apply()


def duplicates_apply(original: Any, **given: Any) -> Any:
    verdict = original(**given)
    return Apply() if isinstance(verdict, AlreadyApplied) else verdict


def gaps_apply(original: Any, **given: Any) -> Any:
    verdict = original(**given)
    return Apply() if isinstance(verdict, Gap) else verdict


def predecessors_are_not_compared(original: Any, *, watermark: Any, event: Any, **given: Any) -> Any:
    verdict = original(watermark=watermark, event=event, **given)
    if isinstance(verdict, Fork) and event.lanes == watermark.lanes:
        return Apply() if event.sequence > watermark.sequence else AlreadyApplied()
    return verdict


def any_snapshot_page_is_a_baseline(original: Any, *, event: Any, **given: Any) -> Any:
    verdict = original(event=event, **given)
    return verdict if event.snapshot_id is None or isinstance(verdict, AlreadyApplied) else Apply()


def lanes_leave_logs_alone(original: Any, *, watermark: Any, event: Any, **_: Any) -> Any:
    log, lanes = (watermark.log, watermark.lanes) if watermark is not None else (None, None)
    return original(pipeline_log=log, pipeline_lanes=lanes, watermark=watermark, event=event)


def baselines_claim_their_time(original: Any, watermark: Any, event: Any, **given: Any) -> Any:
    after = original(watermark, event, **given)
    times = [time for time in (after.honest_time, event.honest_time) if time is not None]
    return replace(after, honest_time=max(times, default=None))


def the_writer_is_the_slot(original: Any, self: MemoryWork, batch: Any, key: Any, values: Any) -> Any:
    written = original(self, batch, key, values)
    rows = self._known_table.rows
    rows[key] = replace(rows[key], slot=batch.envelope.lane)
    return written


async def watermarks_commit_alone(original: Any, self: MemoryWork, watermark: Any, envelope: Any) -> None:
    await original(self, watermark, envelope)
    known = self._store.pipelines.get(self._pipeline.name)
    if known is not None:
        known.watermarks[self._lane] = watermark
        known.log, known.lanes = watermark.log, watermark.lanes


async def acks_come_first(original: Any, self: Slots, pipeline: Any, lane: Any, delivery: Any, session: Any) -> Any:
    await delivery.ack()
    return await original(self, pipeline, lane, delivery, session)


async def gaps_are_left_out(_original: Any, _self: UnusableEvents, event: Any, *_: Any) -> Any:
    return Ack(cause=Cause.RESENT, trouble=f"lane {event.lane}: something is missing")


async def nobody_asks_for_a_baseline(_original: Any, *_: Any) -> None:
    return None


def every_gap_is_asked_for(_original: Any, *_: Any) -> None:
    return None


def nothing_is_said(_original: Any, *_: Any) -> bool:
    return False


def nothing_expires(_original: Any, _transaction: Any, *, at_once: bool = False) -> None:
    return None


def lanes_are_never_left_behind(_original: Any, *_: Any) -> bool:
    return False
