"""What to do next with a pipeline. Pure: the state, the source's clock and the wishes decide."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from qupersync_extractor.domain.extraction import Extraction, SweepMark
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.timeline import TEMPORAL, Horizon, minus, resumed
from qupersync_shared.kernel.positions import Position


class ForcedMode(StrEnum):
    """What an operator may force."""

    INCREMENTAL = "incremental"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class BeginSnapshot:
    """A new snapshot, in place of any under way."""

    reason: str


@dataclass(frozen=True, slots=True)
class ContinueSnapshot:
    """The snapshot under way goes on after its last committed page."""


@dataclass(frozen=True, slots=True)
class ReadIncrementally:
    """The changes since the cursor."""


Plan = BeginSnapshot | ContinueSnapshot | ReadIncrementally


def plan(
    state: Extraction,
    pipeline: Pipeline,
    *,
    fingerprint: str,
    now: datetime,
    forced: ForcedMode | None = None,
    served: bool = False,
) -> Plan:
    """The kind of run that is due. `now` is compared with `snapshot_ended_at`, both by the extractor's clock.

    `served`: the last snapshot is recent enough for a pipeline that has nothing else (another extractor took it).
    """
    reason = _snapshot_reason(state, pipeline, fingerprint=fingerprint, now=now, forced=forced, served=served)
    if reason is not None:
        return BeginSnapshot(reason)
    if state.snapshot is not None:
        return ContinueSnapshot()
    return ReadIncrementally()


def _snapshot_reason(
    state: Extraction, pipeline: Pipeline, *, fingerprint: str, now: datetime, forced: ForcedMode | None, served: bool
) -> str | None:
    under_way = state.snapshot
    wish = state.snapshot_wish
    if state.schema_fingerprint is not None and state.schema_fingerprint != fingerprint:
        return "the source's columns, or what the pipeline says of them, have changed"
    if wish is not None and (under_way is None or wish.restart):
        return wish.reason
    return None if under_way is not None else _due_reason(state, pipeline, now=now, forced=forced, served=served)


def _due_reason(
    state: Extraction, pipeline: Pipeline, *, now: datetime, forced: ForcedMode | None, served: bool
) -> str | None:
    ended = state.snapshot_ended_at
    every = pipeline.snapshot_every
    due = (
        (ended is None, "first snapshot"),
        (forced is ForcedMode.SNAPSHOT, "an operator asked for it"),
        (pipeline.cursor is None and not served, "the pipeline has no cursor"),
        (
            # A moment that lies far ahead was written by a clock that was wrong: it must not put snapshots off.
            forced is None and every is not None and ended is not None and abs(now - ended) >= every,
            "snapshot_every has elapsed",
        ),
    )
    return next((reason for holds, reason in due if holds), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalRun:
    """One incremental run: (after, high]. `sweep` is stored when the run ends, if it sweeps the lookback.

    `completes_at`: what the run's end proves: every change committed at the source before it has been read. It is the
    run's high, not its beginning: what was committed in between bears a cursor beyond the high, and was not read.
    """

    after: Position | None
    horizon: Horizon
    sweep: SweepMark | None
    completes_at: datetime | None


def plan_incremental(state: Extraction, pipeline: Pipeline, at: Horizon, *, high_time: datetime) -> IncrementalRun:
    """Where a run begins: at the cursor, or, when a sweep is due, a lookback before the high of the previous sweep.

    Sweeps follow each other at most lookback/2 apart, so a row that commits within its lookback is met by one of them.
    `high_time` is `at.high` as a moment (the run's beginning for integer cursors, which promise nothing about it).
    """
    if state.cursor is None:
        return IncrementalRun(after=None, horizon=at, sweep=None, completes_at=high_time)
    temporal = at.high.kind in TEMPORAL
    if not temporal:
        after = state.cursor
        if pipeline.lookback_units:
            after = Position.before(minus(state.cursor.cursor, lookback=timedelta(0), units=pipeline.lookback_units))
        return IncrementalRun(after=after, horizon=at, sweep=None, completes_at=high_time)
    zone = pipeline.cursor_time_zone
    after = resumed(state.cursor, zone)
    if not pipeline.lookback:
        return IncrementalRun(after=after, horizon=at, sweep=None, completes_at=high_time)
    # Not `began_at - …`: when the source's clock was put back, rows come with cursors that were read already.
    if state.swept is not None and abs(at.began_at - state.swept.began_at) < pipeline.lookback / 2:
        return IncrementalRun(after=after, horizon=at, sweep=None, completes_at=None)
    mark = state.swept.high if state.swept is not None else state.cursor.cursor
    start = minus(mark, lookback=pipeline.lookback, units=0, time_zone=zone)
    return IncrementalRun(
        after=Position.before(start),
        horizon=at,
        sweep=SweepMark(high=at.reached, began_at=at.began_at),
        completes_at=high_time,
    )
