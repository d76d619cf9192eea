"""What a lane does with an event: every rule of the judge, one example each."""

from dataclasses import replace
from uuid import UUID

import pytest

from qupersync_loader.domain.events import EventFacts
from qupersync_loader.domain.judge import AlreadyApplied, Apply, AwaitBaseline, Fork, Gap, has_begun, judge
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.kernel.ids import EventId, Lane, Log, Sequence, SnapshotId

ONE, OTHER = EventId(UUID(int=1)), EventId(UUID(int=2))
SNAPSHOT = SnapshotId(UUID(int=9))


def event(sequence: int, *, log: int = 2, previous: EventId | None = ONE, lanes: int = 4) -> EventFacts:
    return EventFacts(
        event_id=EventId(UUID(int=100 + sequence)),
        lane=Lane(1),
        lanes=lanes,
        log=Log(log),
        sequence=Sequence(sequence),
        previous_id=previous,
    )


def baseline(sequence: int, *, log: int = 2, previous: EventId | None = ONE, lanes: int = 4) -> EventFacts:
    plain = event(sequence, log=log, previous=previous, lanes=lanes)
    return replace(plain, snapshot_id=SNAPSHOT, snapshot_first=True)


MARK = Watermark(lanes=4, log=Log(2), sequence=Sequence(7), event_id=ONE)


def test_the_next_event_is_applied() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=event(8)) == Apply()


@pytest.mark.parametrize("sequence", [1, 6])
def test_what_is_not_beyond_the_watermark_was_applied(sequence: int) -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=event(sequence)) == AlreadyApplied()


def test_a_redelivery_of_the_last_event_was_applied() -> None:
    last = replace(event(7), event_id=ONE)
    assert judge(pipeline_log=Log(2), watermark=MARK, event=last) == AlreadyApplied()


def test_the_same_sequence_under_another_id_is_a_fork() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=event(7)) == Fork()


def test_the_next_sequence_with_another_predecessor_is_a_fork() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=event(8, previous=OTHER)) == Fork()


def test_a_baseline_may_have_another_predecessor() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=baseline(8, previous=OTHER)) == Apply()


def test_beyond_the_next_is_a_gap_that_names_what_is_missing() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=event(10)) == Gap(Sequence(8))


def test_a_lane_may_begin_at_a_baseline_behind_a_gap() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=baseline(12)) == Apply()


def test_an_old_baseline_of_the_same_log_was_applied() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=baseline(3)) == AlreadyApplied()


@pytest.mark.parametrize("watermark", [None, MARK])
def test_an_older_log_is_never_returned_to(watermark: Watermark | None) -> None:
    for old in (event(8, log=1), baseline(1, log=1)):
        assert judge(pipeline_log=Log(2), watermark=watermark, event=old) == AlreadyApplied()


def test_a_log_is_left_by_all_lanes_at_once() -> None:
    """Another lane has moved the pipeline on: this lane's old log is over, although it knows nothing newer itself."""
    assert judge(pipeline_log=Log(3), watermark=MARK, event=event(8)) == AlreadyApplied()


def test_a_lane_enters_a_greater_log_at_a_baseline_only() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=event(1, log=3)) == AwaitBaseline()
    assert judge(pipeline_log=Log(2), watermark=MARK, event=baseline(1, log=3)) == Apply(changes_log=True)
    assert judge(pipeline_log=Log(3), watermark=MARK, event=baseline(1, log=3)) == Apply()


def test_a_lane_without_a_watermark_begins_at_a_baseline_only() -> None:
    assert judge(pipeline_log=None, watermark=None, event=event(1)) == AwaitBaseline()
    assert judge(pipeline_log=None, watermark=None, event=baseline(5)) == Apply(changes_log=True)
    assert judge(pipeline_log=Log(2), watermark=None, event=baseline(5)) == Apply()


def test_another_number_of_lanes_needs_another_log() -> None:
    assert judge(pipeline_log=Log(2), watermark=MARK, event=event(8, lanes=2)) == Fork()
    assert judge(pipeline_log=Log(2), watermark=MARK, event=baseline(8, lanes=2)) == Fork()
    assert judge(pipeline_log=Log(2), pipeline_lanes=4, watermark=None, event=baseline(8, lanes=2)) == Fork()
    assert judge(pipeline_log=Log(2), pipeline_lanes=4, watermark=None, event=baseline(1, log=3, lanes=2)) == Apply(
        changes_log=True
    )


def test_a_lane_has_begun_when_its_watermark_is_of_the_pipelines_log() -> None:
    assert has_begun(pipeline_log=Log(2), pipeline_lanes=4, watermark=MARK)
    assert not has_begun(pipeline_log=Log(3), pipeline_lanes=4, watermark=MARK)
    assert not has_begun(pipeline_log=Log(2), pipeline_lanes=4, watermark=None)


def test_facts_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="lane 1 of 1"):
        event(1, lanes=1)
    with pytest.raises(ValueError, match="only a page of a snapshot"):
        replace(event(1), snapshot_first=True)
