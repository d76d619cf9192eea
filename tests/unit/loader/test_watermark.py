"""What the watermark says after an event: the sequence orders, the honest time claims no more than what is there."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.watermark import Watermark, next_watermark
from qupersync_shared.kernel.ids import EventId, Lane, Log, Sequence, SnapshotId

T = datetime(2024, 5, 1, tzinfo=UTC)
ONE, TWO = SnapshotId(UUID(int=1)), SnapshotId(UUID(int=2))


def event(
    sequence: int,
    *,
    snapshot: SnapshotId | None = None,
    first: bool = False,
    last: bool = False,
    minutes: int | None = None,
    log: int = 1,
    lanes: int = 2,
) -> EventFacts:
    return EventFacts(
        event_id=EventId(UUID(int=1000 * log + sequence)),
        lane=Lane(0),
        lanes=lanes,
        log=Log(log),
        sequence=Sequence(sequence),
        previous_id=EventId(UUID(int=1000 * log + sequence - 1)),
        snapshot_id=snapshot,
        snapshot_first=first,
        snapshot_last=last,
        honest_time=None if minutes is None else T + timedelta(minutes=minutes),
    )


def after(*events: EventFacts, start: Watermark | None = None) -> Watermark:
    mark = start
    for each in events:
        mark = next_watermark(mark, each)
    assert mark is not None
    return mark


def test_the_time_is_withheld_from_a_baseline_until_that_snapshots_last_page() -> None:
    begun = after(event(1, snapshot=ONE, first=True, minutes=1), event(2, minutes=2), event(3, snapshot=ONE, minutes=3))
    assert (begun.sequence, begun.building, begun.honest_time, begun.snapshot_whole) == (3, ONE, None, None)
    whole = after(event(4, snapshot=ONE, last=True, minutes=4), start=begun)
    assert (whole.building, whole.honest_time, whole.snapshot_whole) == (None, T + timedelta(minutes=4), ONE)


def test_a_snapshot_of_one_page_is_whole_at_once() -> None:
    mark = after(event(1, snapshot=ONE, first=True, last=True, minutes=1))
    assert (mark.building, mark.honest_time, mark.snapshot_whole) == (None, T + timedelta(minutes=1), ONE)


def test_later_snapshots_of_a_whole_lane_withhold_nothing() -> None:
    whole = after(event(1, snapshot=ONE, first=True, last=True, minutes=1))
    mark = after(event(2, snapshot=TWO, first=True, minutes=2), start=whole)
    assert (mark.building, mark.honest_time, mark.snapshot_whole) == (None, T + timedelta(minutes=2), ONE)


def test_a_newer_snapshot_takes_the_place_of_one_that_never_ended() -> None:
    begun = after(event(1, snapshot=ONE, first=True), event(2, snapshot=TWO, first=True))
    assert begun.building == TWO
    assert after(event(3, snapshot=TWO, last=True, minutes=3), start=begun).building is None


def test_the_time_never_retreats() -> None:
    whole = after(event(1, snapshot=ONE, first=True, last=True, minutes=9))
    assert after(event(2, minutes=3), start=whole).honest_time == T + timedelta(minutes=9)
    assert after(event(2), start=whole).honest_time == T + timedelta(minutes=9)


def test_a_jump_carries_the_old_time_and_waits_for_the_new_snapshot() -> None:
    whole = after(event(1, snapshot=ONE, first=True, last=True, minutes=1))
    jumped = after(event(5, snapshot=TWO, first=True, minutes=5), start=whole)
    assert (jumped.building, jumped.honest_time, jumped.snapshot_whole) == (TWO, T + timedelta(minutes=1), ONE)
    other = after(event(1, log=2, snapshot=TWO, first=True, minutes=5), start=whole)
    assert (other.log, other.building, other.honest_time) == (2, TWO, T + timedelta(minutes=1))


def test_other_lanes_are_other_keys_and_inherit_no_time() -> None:
    whole = after(event(1, snapshot=ONE, first=True, last=True, minutes=1))
    other = after(event(1, log=2, lanes=4, snapshot=TWO, first=True, minutes=5), start=whole)
    assert (other.lanes, other.honest_time) == (4, None)


def test_a_baseline_from_another_past_does_not_follow_even_with_the_next_sequence() -> None:
    whole = after(event(1, snapshot=ONE, first=True, last=True, minutes=1))
    forked = replace(event(2, snapshot=TWO, first=True, minutes=5), previous_id=EventId(UUID(int=77)))
    assert after(forked, start=whole).building == TWO


def test_parked_events_hold_the_time_and_make_no_snapshot_whole() -> None:
    whole = after(event(1, snapshot=ONE, first=True, last=True, minutes=1))
    held = next_watermark(whole, event(2, snapshot=TWO, first=True, last=True, minutes=5), held=True)
    assert (held.sequence, held.honest_time, held.snapshot_whole) == (2, T + timedelta(minutes=1), ONE)
