"""Fair turns with fewer slots than lanes."""

from collections import Counter

import pytest

from qupersync_loader.application.rotation import PATIENT_SECONDS, LaneRef, Rotation
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName

PIPELINE = TargetPipeline(group=GroupName("main"), name=PipelineName("p"), schema="s", table="t", lanes=4)


def lanes(count: int) -> list[LaneRef]:
    return [(PIPELINE, Lane(lane)) for lane in range(count)]


def test_a_lane_is_served_by_one_slot_at_a_time() -> None:
    rotation = Rotation(4)
    rotation.add(lanes(2))
    first, second = rotation.take(), rotation.take()
    assert first is not None
    assert second is not None
    assert first != second
    assert rotation.take() is None
    rotation.give_back(first, busy=False)
    assert rotation.take() == first


def test_adding_known_lanes_changes_nothing() -> None:
    rotation = Rotation(1)
    rotation.add(lanes(2))
    taken = rotation.take()
    rotation.add(lanes(2))
    assert [rotation.take(), rotation.take()] == [lanes(2)[1], None]
    assert taken == lanes(2)[0]


def test_with_a_slot_for_every_lane_each_is_waited_at_for_long() -> None:
    rotation = Rotation(4)
    rotation.add(lanes(4))
    assert not rotation.crowded
    assert rotation.wait_seconds == PATIENT_SECONDS
    rotation.add(lanes(40))
    assert rotation.crowded
    assert rotation.wait_seconds < PATIENT_SECONDS / 4


@pytest.mark.parametrize("busy_count", [1, 2, 8])
def test_busy_lanes_get_half_the_turns_or_more_and_no_idle_lane_waits_for_ever(busy_count: int) -> None:
    rotation = Rotation(1)
    rotation.add(lanes(40))
    busy = set(lanes(busy_count))
    turns: Counter[LaneRef] = Counter()
    for _ in range(400):
        ref = rotation.take()
        assert ref is not None
        turns[ref] += 1
        rotation.give_back(ref, busy=ref in busy)
    assert sum(turns[ref] for ref in busy) >= 150
    assert min(turns[ref] for ref in lanes(40)) >= 3
    spread = [turns[ref] for ref in busy]
    assert max(spread) - min(spread) <= max(2, busy_count)  # whoever was found busy first has some more


def test_there_must_be_a_slot() -> None:
    with pytest.raises(ValueError, match="slot"):
        Rotation(0)
