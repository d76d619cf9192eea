"""The state of an extraction and its transitions: what they move, and what they refuse."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from qupersync_extractor.domain.extraction import (
    Extraction,
    HeartbeatPage,
    IncrementalPage,
    PageKind,
    RereadPage,
    SnapshotPage,
    SnapshotWish,
    SweepMark,
    advance,
    begin_snapshot,
    commit_page,
    open_log,
    position_after,
    wish_snapshot,
)
from qupersync_shared.kernel.ids import EventId, Lane, Log, PipelineName, Sequence, SnapshotId, uuid7
from qupersync_shared.kernel.positions import Key, Position, Scalar, ScalarKind

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
SNAPSHOT = SnapshotId(uuid7())
NEW = Extraction(pipeline=PipelineName("orders"), lanes=2)


def key(number: int) -> Key:
    return (Scalar(ScalarKind.INT, str(number)),)


def cursor(number: int) -> Scalar:
    return Scalar(ScalarKind.INT, str(number))


def ids(lanes: int = 2) -> dict[Lane, EventId]:
    return {Lane(lane): EventId(uuid7()) for lane in range(lanes)}


def commit(state: Extraction, page: PageKind) -> Extraction:
    return commit_page(state, page, event_ids=ids(state.lanes), at=NOW)


def begun(state: Extraction = NEW, *, high: int | None = 10) -> Extraction:
    return begin_snapshot(
        state,
        snapshot_id=SNAPSHOT,
        began_at=NOW,
        high=None if high is None else cursor(high),
        fingerprint="one",
    )


def snapshot_page(after: int | None, upto: int | None) -> SnapshotPage:
    return SnapshotPage(
        snapshot_id=SNAPSHOT,
        after=None if after is None else key(after),
        upto=None if upto is None else key(upto),
    )


# --------------------------------------------------------------------------------------------------------- snapshots


def test_the_first_snapshots_high_becomes_the_cursor_and_no_later_one_touches_it() -> None:
    first = begun()
    later = begun(first, high=99)

    assert first.cursor == later.cursor == Position.after(cursor(10))
    assert (first.snapshot_wish, first.schema_fingerprint) == (None, "one")


def test_another_cursor_column_begins_anew_and_other_columns_do_not() -> None:
    """What stands after the fingerprint's slash is about the cursor."""
    state = replace(begun(), schema_fingerprint="one/c", cursor=Position(cursor=cursor(20), key=key(7)))

    def planned(fingerprint: str) -> Position | None:
        return begin_snapshot(state, snapshot_id=SNAPSHOT, began_at=NOW, high=cursor(5), fingerprint=fingerprint).cursor

    assert planned("one/c") == state.cursor
    assert planned("two/c") == Position.before(cursor(20))
    assert planned("one/d") == Position.after(cursor(5))


def test_a_source_without_a_high_leaves_the_cursor_open() -> None:
    assert begun(high=None).cursor is None


def test_a_snapshot_goes_from_minus_to_plus_infinity_page_by_page() -> None:
    state = begun()
    for after, upto in ((None, 5), (5, 9)):
        state = commit(state, snapshot_page(after, upto))
        assert state.snapshot is not None
        assert (state.snapshot.after, state.snapshot.first) == (key(upto), False)

    ended = commit(state, snapshot_page(9, None))

    assert (ended.snapshot, ended.snapshot_ended_at, ended.completed_at) == (None, NOW, NOW)
    assert (ended.sequence, ended.cursor) == (3, Position.after(cursor(10)))


def test_a_snapshot_of_one_page_is_first_and_last() -> None:
    assert commit(begun(), snapshot_page(None, None)).snapshot is None


@pytest.mark.parametrize(
    "page",
    [
        snapshot_page(4, 9),
        snapshot_page(None, 9),
        snapshot_page(9, None),
        replace(snapshot_page(5, 9), snapshot_id=SnapshotId(uuid7())),
    ],
)
def test_a_page_that_does_not_adjoin_the_last_one_is_stale(page: SnapshotPage) -> None:
    state = commit(begun(), snapshot_page(None, 5))

    with pytest.raises(ValueError, match="does not continue"):
        commit(state, page)


def test_a_page_of_a_snapshot_that_is_over_is_stale() -> None:
    over = commit(begun(), snapshot_page(None, None))

    with pytest.raises(ValueError, match="does not continue"):
        commit(over, snapshot_page(None, 5))


def test_a_restarted_snapshot_refuses_pages_of_the_one_before() -> None:
    restarted = begin_snapshot(
        commit(begun(), snapshot_page(None, 5)),
        snapshot_id=SnapshotId(uuid7()),
        began_at=NOW,
        high=None,
        fingerprint="one",
    )

    with pytest.raises(ValueError, match="does not continue"):
        commit(restarted, snapshot_page(5, 9))


def test_what_is_complete_stays_complete_when_an_older_snapshot_ends() -> None:
    later = NOW + timedelta(hours=1)
    state = replace(begun(), completed_at=later)

    assert commit(state, snapshot_page(None, None)).completed_at == later


# ------------------------------------------------------------------------------------------------- incremental pages


def test_a_page_moves_the_cursor_and_its_end_completes_what_it_swept() -> None:
    mark = SweepMark(high=cursor(30), began_at=NOW)
    state = begun()

    middle = commit(state, IncrementalPage(upto=Position(cursor=cursor(20), key=key(7))))
    last = commit(middle, IncrementalPage(upto=Position.after(cursor(30)), sweep=mark, completes_at=NOW))

    assert middle.cursor == Position(cursor=cursor(20), key=key(7))
    assert (middle.swept, middle.completed_at) == (None, None)
    assert (last.cursor, last.swept, last.completed_at) == (Position.after(cursor(30)), mark, NOW)


def test_a_sweeps_pages_behind_the_cursor_never_move_it_back() -> None:
    state = begun(high=50)

    assert commit(state, IncrementalPage(upto=Position(cursor=cursor(20), key=key(7)))).cursor == state.cursor
    assert advance(state, IncrementalPage(upto=Position.before(cursor(50)))).cursor == state.cursor


def test_what_is_complete_never_becomes_less() -> None:
    later = NOW + timedelta(minutes=1)
    state = replace(begun(), completed_at=later)

    assert advance(state, IncrementalPage(upto=Position.after(cursor(60)), completes_at=NOW)).completed_at == later


def test_an_empty_run_moves_the_cursor_and_emits_no_sequence() -> None:
    moved = advance(begun(), IncrementalPage(upto=Position.after(cursor(99)), completes_at=NOW))

    assert (moved.sequence, moved.cursor, moved.completed_at) == (0, Position.after(cursor(99)), NOW)


@pytest.mark.parametrize("page", [RereadPage(), HeartbeatPage()])
def test_rereads_and_heartbeats_move_nothing_but_the_sequence(page: PageKind) -> None:
    state = begun()
    moved = commit(state, page)

    assert moved.sequence == state.sequence + 1
    assert replace(moved, sequence=state.sequence, lane_ids=state.lane_ids, last_event_at=None) == state


# --------------------------------------------------------------------------------------------------------- all pages


def test_every_page_is_the_next_sequence_on_every_lane() -> None:
    given = ids()

    moved = commit_page(begun(), HeartbeatPage(), event_ids=given, at=NOW)

    assert (moved.sequence, moved.lane_ids, moved.last_event_at) == (1, given, NOW)


@pytest.mark.parametrize("lanes", [0, 1, 3])
def test_a_page_without_exactly_one_event_for_every_lane_is_refused(lanes: int) -> None:
    with pytest.raises(ValueError, match="every lane"):
        commit_page(begun(), HeartbeatPage(), event_ids=ids(lanes), at=NOW)


def test_impossible_states_cannot_be_made() -> None:
    for change in ({"log": Log(0)}, {"lanes": 0}, {"sequence": Sequence(-1)}):
        with pytest.raises(ValueError, match="at least 1"):
            replace(NEW, **change)


# -------------------------------------------------------------------------------------------------------- greater logs


def test_a_greater_log_begins_everything_anew_with_a_snapshot() -> None:
    state = replace(commit(begun(), snapshot_page(None, None)), swept=SweepMark(high=cursor(1), began_at=NOW))

    opened = open_log(state, log=Log(7), lanes=3, reason="a fork")

    assert opened == Extraction(pipeline=NEW.pipeline, lanes=3, log=Log(7), snapshot_wish=SnapshotWish(reason="a fork"))


@pytest.mark.parametrize("log", [1, 0])
def test_a_log_that_is_not_greater_is_refused(log: int) -> None:
    with pytest.raises(ValueError, match="not greater"):
        open_log(NEW, log=Log(log), lanes=2, reason="x")


# ----------------------------------------------------------------------------------------------------------- wishes


@pytest.mark.parametrize("restart", [True, False])
def test_a_wish_is_kept_while_no_snapshot_is_under_way(restart: bool) -> None:
    state = replace(NEW, snapshot_wish=None)

    wished = wish_snapshot(state, reason="please", restart=restart)

    assert wished == replace(state, snapshot_wish=SnapshotWish(reason="please", restart=restart))


@pytest.mark.parametrize("restart", [True, False])
def test_a_snapshot_whose_first_page_is_yet_to_come_serves_everybody(restart: bool) -> None:
    assert wish_snapshot(begun(), reason="please", restart=restart) == begun()


def test_a_snapshot_that_is_further_on_serves_no_lane_without_a_baseline() -> None:
    state = commit(begun(), snapshot_page(None, 5))

    assert wish_snapshot(state, reason="please", restart=False) == state
    assert wish_snapshot(state, reason="please", restart=True).snapshot_wish == SnapshotWish(
        reason="please", restart=True
    )


def test_positions_compare_as_a_whole_with_bounds_around_every_key() -> None:
    one, two = cursor(9), cursor(10)
    ascending = [
        Position.before(one),
        Position(cursor=one, key=key(9)),
        Position(cursor=one, key=key(10)),
        Position.after(one),
        Position.before(two),
    ]

    for earlier, later in pairwise(ascending):
        assert position_after(later, earlier)
        assert not position_after(earlier, later)
        assert not position_after(earlier, earlier)
