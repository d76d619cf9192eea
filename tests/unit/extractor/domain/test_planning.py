"""What is due, and where a run begins."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from qupersync_extractor.domain.extraction import Extraction, Snapshot, SnapshotWish, SweepMark
from qupersync_extractor.domain.pipeline import Pipeline, SourceTable
from qupersync_extractor.domain.planning import (
    BeginSnapshot,
    ContinueSnapshot,
    ForcedMode,
    ReadIncrementally,
    plan,
    plan_incremental,
)
from qupersync_extractor.domain.timeline import Horizon
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.kernel.ids import SnapshotId as NewSnapshotId
from qupersync_shared.kernel.positions import Position, Scalar, ScalarKind

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
PIPELINE = Pipeline(
    name=PipelineName("orders"),
    relation=SourceTable("public", "orders"),
    key=("id",),
    cursor="updated_at",
    lookback=timedelta(minutes=10),
    safety_lag=timedelta(seconds=30),
    page_rows=1000,
    lanes=4,
    snapshot_every=timedelta(hours=24),
)
SETTLED = Extraction(
    pipeline=PIPELINE.name,
    lanes=4,
    snapshot_wish=None,
    snapshot_ended_at=NOW - timedelta(hours=1),
    schema_fingerprint="one",
    cursor=Position.after(Scalar(ScalarKind.TIMESTAMPTZ, "2025-06-01 11:50:00.000000Z")),
)
UNDER_WAY = Snapshot(id=NewSnapshotId(uuid7()), began_at=NOW, after=(Scalar(ScalarKind.INT, "1"),), first=False)


def due(state: Extraction, *, pipeline: Pipeline = PIPELINE, forced: ForcedMode | None = None) -> object:
    return plan(state, pipeline, fingerprint="one", now=NOW, forced=forced)


def stamp(text: str) -> Scalar:
    return Scalar(ScalarKind.TIMESTAMPTZ, f"2025-06-01 {text}.000000Z")


def at(text: str = "12:00:00") -> Horizon:
    return Horizon(high=stamp(text), began_at=datetime.fromisoformat(f"2025-06-01 {text}+00:00"))


# ------------------------------------------------------------------------------------------------------ what is due


def test_nothing_known_means_a_snapshot() -> None:
    assert due(Extraction(pipeline=PIPELINE.name, lanes=4)) == BeginSnapshot("first snapshot")
    assert due(replace(SETTLED, snapshot_ended_at=None)) == BeginSnapshot("first snapshot")


def test_settled_means_reading_incrementally() -> None:
    assert due(SETTLED) == ReadIncrementally()


def test_a_snapshot_is_due_once_its_interval_has_passed() -> None:
    just = replace(SETTLED, snapshot_ended_at=NOW - timedelta(hours=24))
    almost = replace(SETTLED, snapshot_ended_at=NOW - timedelta(hours=24) + timedelta(microseconds=1))

    assert due(just) == BeginSnapshot("snapshot_every has elapsed")
    assert due(almost) == ReadIncrementally()
    assert due(just, pipeline=replace(PIPELINE, snapshot_every=None)) == ReadIncrementally()


def test_a_clock_that_was_wrong_does_not_put_snapshots_off_for_years() -> None:
    ahead = replace(SETTLED, snapshot_ended_at=NOW + timedelta(days=3650))

    assert due(ahead) == BeginSnapshot("snapshot_every has elapsed")


def test_other_columns_mean_a_snapshot_even_in_place_of_one_under_way() -> None:
    changed = replace(SETTLED, schema_fingerprint="two")

    for state, forced in (
        (changed, None),
        (replace(changed, snapshot=UNDER_WAY), None),
        (changed, ForcedMode.INCREMENTAL),
    ):
        found = due(state, forced=forced)
        assert isinstance(found, BeginSnapshot)
        assert "have changed" in found.reason


def test_a_wish_is_granted_with_its_reason() -> None:
    assert due(replace(SETTLED, snapshot_wish=SnapshotWish(reason="a lane waits"))) == BeginSnapshot("a lane waits")


def test_only_a_restarting_wish_replaces_a_snapshot_under_way() -> None:
    patient = replace(SETTLED, snapshot=UNDER_WAY, snapshot_wish=SnapshotWish(reason="please"))
    urgent = replace(SETTLED, snapshot=UNDER_WAY, snapshot_wish=SnapshotWish(reason="now", restart=True))

    assert due(patient) == ContinueSnapshot()
    assert due(urgent) == BeginSnapshot("now")


@pytest.mark.parametrize("forced", [None, *ForcedMode])
def test_a_snapshot_under_way_goes_on_whatever_an_operator_forces(forced: ForcedMode | None) -> None:
    assert due(replace(SETTLED, snapshot=UNDER_WAY), forced=forced) == ContinueSnapshot()


def test_an_operator_may_force_either() -> None:
    overdue = replace(SETTLED, snapshot_ended_at=NOW - timedelta(hours=48))

    assert due(SETTLED, forced=ForcedMode.SNAPSHOT) == BeginSnapshot("an operator asked for it")
    assert due(overdue, forced=ForcedMode.INCREMENTAL) == ReadIncrementally()


def test_without_a_cursor_there_are_snapshots_only() -> None:
    without = replace(PIPELINE, cursor=None)

    assert due(SETTLED, pipeline=without) == BeginSnapshot("the pipeline has no cursor")
    assert plan(SETTLED, without, fingerprint="one", now=NOW, served=True) == ReadIncrementally()
    assert due(SETTLED, pipeline=without, forced=ForcedMode.INCREMENTAL) == BeginSnapshot("the pipeline has no cursor")


# ------------------------------------------------------------------------------------------------ where a run begins


def test_the_first_run_sweeps_a_lookback_behind_the_cursor_of_the_snapshot() -> None:
    run = plan_incremental(SETTLED, PIPELINE, at(), high_time=NOW - timedelta(seconds=30))

    assert run.after == Position.before(stamp("11:40:00"))
    assert run.sweep == SweepMark(high=stamp("12:00:00"), began_at=NOW)
    assert run.completes_at == NOW - timedelta(seconds=30)


def test_a_run_soon_after_a_sweep_goes_on_from_the_cursor_and_proves_nothing() -> None:
    swept = SweepMark(high=stamp("11:55:00"), began_at=NOW - timedelta(minutes=5) + timedelta(microseconds=1))

    run = plan_incremental(replace(SETTLED, swept=swept), PIPELINE, at(), high_time=NOW)

    assert (run.after, run.sweep, run.completes_at) == (SETTLED.cursor, None, None)


def test_half_a_lookback_after_a_sweep_the_next_begins_a_lookback_behind_that_sweeps_high() -> None:
    swept = SweepMark(high=stamp("11:54:30"), began_at=NOW - timedelta(minutes=5))

    run = plan_incremental(replace(SETTLED, swept=swept), PIPELINE, at(), high_time=NOW)

    assert run.after == Position.before(stamp("11:44:30"))
    assert run.sweep is not None


def test_a_run_after_a_long_silence_reaches_back_to_the_last_sweep() -> None:
    swept = SweepMark(high=stamp("02:00:00"), began_at=NOW - timedelta(hours=10))

    run = plan_incremental(replace(SETTLED, swept=swept), PIPELINE, at(), high_time=NOW)

    assert run.after == Position.before(stamp("01:50:00"))


def test_a_source_without_late_commits_completes_every_run_up_to_its_high() -> None:
    punctual = replace(PIPELINE, lookback=timedelta(0))
    high_time = NOW - timedelta(seconds=30)

    run = plan_incremental(SETTLED, punctual, at(), high_time=high_time)

    assert (run.after, run.sweep, run.completes_at) == (SETTLED.cursor, None, high_time)


def test_no_run_claims_what_was_committed_between_its_high_and_its_beginning() -> None:
    """A row committed in the safety lag bears a cursor beyond the high: the run has not read it."""
    high_time = NOW - timedelta(minutes=3)

    for state in (SETTLED, replace(SETTLED, cursor=None)):
        for pipeline in (PIPELINE, replace(PIPELINE, lookback=timedelta(0))):
            run = plan_incremental(state, pipeline, at(), high_time=high_time)
            assert run.completes_at == high_time


def test_integers_look_back_in_units_at_every_run() -> None:
    state = replace(SETTLED, cursor=Position.after(Scalar(ScalarKind.INT, "100")))
    high = Horizon(high=Scalar(ScalarKind.INT, "120"), began_at=NOW)

    run = plan_incremental(state, replace(PIPELINE, lookback_units=30), high, high_time=NOW)
    plain = plan_incremental(state, PIPELINE, high, high_time=NOW)

    assert run.after == Position.before(Scalar(ScalarKind.INT, "70"))
    assert plain.after == state.cursor
    assert (run.sweep, run.completes_at) == (None, NOW)


def test_an_integer_source_that_was_empty_is_read_from_its_beginning() -> None:
    high = Horizon(high=Scalar(ScalarKind.INT, "3"), began_at=NOW)

    run = plan_incremental(replace(SETTLED, cursor=None), PIPELINE, high, high_time=NOW)

    assert (run.after, run.completes_at) == (None, NOW)


@pytest.mark.parametrize("lookback", [timedelta(0), timedelta(days=4)])
def test_a_day_that_was_read_in_part_is_read_again(lookback: timedelta) -> None:
    """A page that ended within a day must not keep later rows of that day from being read."""
    day = Scalar(ScalarKind.DATE, "2025-06-01")
    within = Position(cursor=day, key=(Scalar(ScalarKind.INT, "7"),))
    swept = SweepMark(high=day, began_at=NOW - timedelta(minutes=1))
    state = replace(SETTLED, cursor=within, swept=swept)

    run = plan_incremental(state, replace(PIPELINE, lookback=lookback), Horizon(high=day, began_at=NOW), high_time=NOW)

    assert run.after == Position.before(day)


def test_a_sweep_over_dates_reaches_back_whole_days() -> None:
    day = Scalar(ScalarKind.DATE, "2025-06-01")
    state = replace(SETTLED, cursor=Position.before(day))

    run = plan_incremental(state, PIPELINE, Horizon(high=day, began_at=NOW), high_time=NOW)

    assert run.after == Position.before(Scalar(ScalarKind.DATE, "2025-05-31"))
