"""The protocol broken on purpose, one rule at a time. The simulation is worth what it notices of these."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.properties.simulation.options import Cursor, Fault, Options, Pace, drawn
from tests.properties.simulation.rules import Rules

from qupersync_extractor.domain import extraction, fence, planning
from qupersync_extractor.domain.extraction import Extraction, SnapshotPage
from qupersync_extractor.domain.fence import StreamTop
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.records import RelayCursor
from qupersync_extractor.domain.timeline import Horizon, scalar_of_time
from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.judge import AlreadyApplied, Apply, Fork, Gap, judge
from qupersync_loader.domain.watermark import Watermark, next_watermark
from qupersync_shared.kernel.ids import EventId, Lane
from qupersync_shared.kernel.positions import Position, ScalarKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Tooth:
    """A broken rule, and the faults that lie in wait for it."""

    name: str
    rules: Rules
    faults: frozenset[Fault] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)

    def schedules(self, count: int, *, seed: int) -> Iterator[Options]:
        for number in range(seed, seed + count):
            yield replace(drawn(number, faults=self.faults, steps=150), **self.options)


def _everything_applies(**_: Any) -> Apply:
    return Apply()


def _duplicates_apply(**given: Any) -> Any:
    verdict = judge(**given)
    return Apply() if isinstance(verdict, AlreadyApplied) else verdict


def _gaps_apply(**given: Any) -> Any:
    verdict = judge(**given)
    return Apply() if isinstance(verdict, Gap) else verdict


def _any_snapshot_page_is_a_baseline(*, event: EventFacts, **given: Any) -> Any:
    verdict = judge(event=event, **given)
    return verdict if event.snapshot_id is None or isinstance(verdict, AlreadyApplied) else Apply()


def _forks_are_ignored(**given: Any) -> Any:
    verdict = judge(**given)
    watermark, event = given["watermark"], given["event"]
    if isinstance(verdict, Fork):
        return Apply() if event.sequence > watermark.sequence else AlreadyApplied()
    return verdict


def _honest_time_is_not_withheld(watermark: Watermark | None, event: EventFacts) -> Watermark:
    after = next_watermark(watermark, event)
    times = [time for time in (after.honest_time, event.honest_time) if time is not None]
    return replace(after, honest_time=max(times, default=None))


def _sweeps_begin_at_the_cursor(
    state: Extraction, pipeline: Pipeline, at: Horizon, *, high_time: Any
) -> planning.IncrementalRun:
    cursor = state.cursor
    moved = state
    if state.swept is not None and cursor is not None:
        moved = replace(state, swept=replace(state.swept, high=cursor.cursor))
    return planning.plan_incremental(moved, pipeline, at, high_time=high_time)


def _nothing_is_swept(state: Extraction, pipeline: Pipeline, at: Horizon, *, high_time: Any) -> planning.IncrementalRun:
    run = planning.plan_incremental(state, pipeline, at, high_time=high_time)
    return replace(run, after=state.cursor, sweep=None, completes_at=high_time)


def _a_sweep_claims_its_beginning(
    state: Extraction, pipeline: Pipeline, at: Horizon, *, high_time: Any
) -> planning.IncrementalRun:
    run = planning.plan_incremental(state, pipeline, at, high_time=high_time)
    return run if run.completes_at is None else replace(run, completes_at=at.began_at)


def _first_cursor_is_the_last_page(
    state: Extraction, page: extraction.PageKind, *, event_ids: Mapping[Lane, EventId], at: Any
) -> Extraction:
    """The cursor after the first snapshot is the time of its end, not the high taken before its first page."""
    first = isinstance(page, SnapshotPage) and page.upto is None and state.snapshot_ended_at is None
    after = extraction.commit_page(state, page, event_ids=event_ids, at=at)
    if not first:
        return after
    end = scalar_of_time(ScalarKind.TIMESTAMPTZ, at, "UTC")
    return replace(after, cursor=Position.after(end), completed_at=at)


def _stale_pages_commit(
    state: Extraction, page: extraction.PageKind, *, event_ids: Mapping[Lane, EventId], at: Any
) -> Extraction:
    if isinstance(page, SnapshotPage) and state.snapshot is not None:
        state = replace(
            state,
            snapshot=replace(state.snapshot, id=page.snapshot_id, after=page.after, first=page.after is None),
        )
    return extraction.commit_page(state, page, event_ids=event_ids, at=at)


def _cursor_goes_back(state: Extraction, page: extraction.IncrementalPage) -> Extraction:
    return replace(extraction.advance(state, page), cursor=page.upto)


def _whatever_is_found_is_gone_on_with(*_: Any) -> bool:
    return True


def _nobody_is_compared_with(*_: Any, **__: Any) -> None:
    return None


def _own_place_is_kept(cursor: RelayCursor, top: StreamTop | None) -> RelayCursor:
    """After a refusal the relay adopts the place, never the event that stands there."""
    return fence.reconcile(cursor, None if top is None else replace(top, known=None))


def _older_generations_are_gone_after(cursor: RelayCursor, top: StreamTop | None) -> RelayCursor:
    return fence.reconcile(cursor, None if top is None else replace(top, generation=cursor.generation))


_LOSSES: Final = frozenset({Fault.MESSAGES_LOST, Fault.REDELIVERY, Fault.CRASH})
_RESTORES: Final = frozenset({Fault.EXTRACTOR_RESTORED, Fault.STREAM_RESTORED})
_STRICKEN: Final = {"pace": Pace(write=12, tick=14, fault=14)}
_BEHIND: Final = {"groups": 2, "pace": Pace(extract=40, relay=40, load=8, fault=12)}
_RACES: Final = frozenset({Fault.LEASE_STOLEN, Fault.CRASH})

TEETH: Final = (
    Tooth(name="no judge", rules=Rules(judge=_everything_applies), faults=frozenset({Fault.LATE_DUPLICATE})),
    Tooth(name="duplicates apply", rules=Rules(judge=_duplicates_apply), faults=frozenset({Fault.LATE_DUPLICATE})),
    Tooth(name="gaps apply", rules=Rules(judge=_gaps_apply), faults=_LOSSES, options=_STRICKEN),
    Tooth(name="baseline anywhere", rules=Rules(judge=_any_snapshot_page_is_a_baseline), faults=_LOSSES),
    Tooth(
        name="fork ignored",
        rules=Rules(judge=_forks_are_ignored),
        faults=frozenset({Fault.EXTRACTOR_LOST, Fault.STREAM_RECREATED}),
        options={"page_rows": 1, "pace": Pace(write=16, tick=14, extract=40, relay=40, load=40, fault=6)},
    ),
    Tooth(name="no greater log", rules=Rules(compare=_nobody_is_compared_with), faults=_RESTORES),
    Tooth(
        name="run goes on after its database went back",
        rules=Rules(is_as_left=_whatever_is_found_is_gone_on_with),
        faults=frozenset({Fault.EXTRACTOR_RESTORED}),
        options={
            "cursor": Cursor.INSTANT,
            "oldest_open_visible": True,
            "lookback": 0,
            "lag": 1,
            "snapshot_every": None,
            "page_rows": 2,
            "pace": Pace(write=16, tick=14, extract=60, relay=2, load=8, fault=30),
        },
    ),
    Tooth(
        name="log left lane by lane",
        rules=Rules(log_is_left_by_all_lanes=False),
        faults=frozenset({Fault.LANES_CHANGED, Fault.LATE_DUPLICATE}),
    ),
    Tooth(
        name="slot not stored",
        rules=Rules(slots_are_stored=False),
        faults=frozenset({Fault.LANES_CHANGED}),
        options={"pace": Pace(write=16)},
    ),
    Tooth(name="honest time not withheld", rules=Rules(next_watermark=_honest_time_is_not_withheld), faults=_LOSSES),
    Tooth(name="ack before commit", rules=Rules(ack_follows_commit=False), faults=frozenset({Fault.CRASH})),
    Tooth(
        name="watermark outside the transaction",
        rules=Rules(watermark_commits_with_rows=False),
        faults=frozenset({Fault.CRASH}),
        options=_STRICKEN,
    ),
    Tooth(name="deletes without range", rules=Rules(deletes_keep_to_the_range=False)),
    Tooth(
        name="no fencing token",
        rules=Rules(fencing_token=False, is_as_left=_whatever_is_found_is_gone_on_with),
        faults=_RACES,
    ),
    Tooth(name="records outside the transaction", rules=Rules(page_in_one_transaction=False), faults=_RACES),
    Tooth(
        name="failed commit passed over",
        rules=Rules(failure_discards_what_was_read_after=False),
        faults=frozenset({Fault.COMMIT_LOST}),
        options={
            "cursor": Cursor.INSTANT,
            "oldest_open_visible": True,
            "lookback": 0,
            "lag": 1,
            "page_rows": 2,
            "pace": Pace(write=16, tick=14, extract=40),
        },
    ),
    Tooth(name="read ahead of an incremental run", rules=Rules(nothing_is_read_ahead_of_an_incremental_run=False)),
    Tooth(name="horizon taken at the end", rules=Rules(horizon_is_taken_first=False)),
    Tooth(
        name="first cursor is the snapshot's end",
        rules=Rules(commit_page=_first_cursor_is_the_last_page),
        options={"cursor": Cursor.INSTANT, "oldest_open_visible": True, "lookback": 0},
    ),
    Tooth(
        name="sweep begins at the cursor",
        rules=Rules(plan_incremental=_sweeps_begin_at_the_cursor),
        options={"cursor": Cursor.INSTANT, "lag": 1, "pace": Pace(tick=8, extract=40)},
    ),
    Tooth(name="no sweep", rules=Rules(plan_incremental=_nothing_is_swept)),
    Tooth(name="sweep claims its beginning", rules=Rules(plan_incremental=_a_sweep_claims_its_beginning)),
    Tooth(name="stale pages commit", rules=Rules(commit_page=_stale_pages_commit, fencing_token=False), faults=_RACES),
    Tooth(name="cursor goes back", rules=Rules(advance=_cursor_goes_back)),
    Tooth(name="no stream fence", rules=Rules(stream_fence=False), faults=_RACES),
    Tooth(name="own place kept after a refusal", rules=Rules(reconcile=_own_place_is_kept), faults=_RACES),
    Tooth(
        name="rewind undone by older generations",
        rules=Rules(reconcile=_older_generations_are_gone_after),
        faults=_LOSSES,
    ),
    Tooth(name="cursor stored blindly", rules=Rules(cursor_is_compared=False), faults=_LOSSES | _RACES),
    Tooth(name="resend without bound", rules=Rules(resend_is_asked_for_once=False), faults=_LOSSES, options=_BEHIND),
    Tooth(
        name="lane left behind asks for nothing",
        rules=Rules(lane_that_a_log_left_behind_asks=False),
        faults=frozenset({Fault.EXTRACTOR_RESTORED, Fault.LANE_PURGED}),
        options={"lanes": 1, "snapshot_every": None, "pace": Pace(tick=14, extract=40, relay=40, load=8, fault=10)},
    ),
    Tooth(
        name="log settled only before a run",
        rules=Rules(log_is_settled_before_each_plan=False),
        faults=frozenset({Fault.EXTRACTOR_LOST, Fault.STREAM_RECREATED}),
        options={"page_rows": 1, "lanes": 3, "pace": Pace(write=16, tick=14, extract=40, relay=40, load=40, fault=6)},
    ),
)
