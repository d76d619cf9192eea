"""When an extraction must leave its log, and how a relay goes on after a refusal."""

from dataclasses import replace
from uuid import UUID

import pytest

from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.fence import StreamTop, reconcile
from qupersync_extractor.domain.logs import GreaterLog, Sighting, compare
from qupersync_extractor.domain.records import RelayCursor
from qupersync_shared.kernel.ids import EventId, Generation, Lane, Log, PipelineName, Sequence, StreamSequence

OWN, OTHER = EventId(UUID(int=1)), EventId(UUID(int=2))
STATE = Extraction(
    pipeline=PipelineName("orders"), lanes=2, log=Log(3), sequence=Sequence(10), lane_ids={Lane(0): OWN, Lane(1): OWN}
)


def seen(log: int, sequence: int, event_id: EventId = OWN, lane: int = 0) -> Sighting:
    return Sighting(where="group main", lane=Lane(lane), log=Log(log), sequence=Sequence(sequence), event_id=event_id)


@pytest.mark.parametrize(
    "sightings",
    [
        [],
        [seen(3, 10)],
        [seen(3, 9, OTHER)],
        [seen(2, 99, OTHER)],
        [seen(3, 1), seen(1, 5), seen(3, 10, lane=1)],
    ],
)
def test_whoever_is_behind_is_no_reason_to_leave_the_log(sightings: list[Sighting]) -> None:
    assert compare(STATE, sightings, forked=None) is None


@pytest.mark.parametrize(
    ("sightings", "forked", "log", "reason"),
    [
        ([seen(3, 11)], None, 4, "beyond"),
        ([seen(4, 1)], None, 5, "beyond"),
        ([seen(3, 10, OTHER)], None, 4, "another event"),
        ([seen(3, 10, lane=5)], None, 4, "another event"),
        ([seen(3, 11), seen(7, 2), seen(5, 9)], None, 8, "beyond"),
        ([], 3, 4, "fork in log 3"),
        ([], 6, 7, "fork in log 6"),
        ([seen(9, 1)], 3, 10, "beyond"),
    ],
)
def test_whoever_is_beyond_makes_a_log_greater_than_every_one_seen(
    sightings: list[Sighting], forked: int | None, log: int, reason: str
) -> None:
    greater = compare(STATE, sightings, forked=None if forked is None else Log(forked))

    assert isinstance(greater, GreaterLog)
    assert greater.log == log
    assert reason in greater.reason


def test_a_fork_of_a_log_that_was_left_is_settled() -> None:
    assert compare(STATE, [], forked=Log(2)) is None


def test_a_lane_that_was_never_written_knows_no_event_as_its_own() -> None:
    new = replace(STATE, log=Log(1), sequence=Sequence(0), lane_ids={})

    assert compare(new, [], forked=None) is None
    assert compare(new, [seen(1, 1)], forked=None) is not None


# ------------------------------------------------------------------------------------------------------------- fence

CURSOR = RelayCursor(
    pipeline=PipelineName("orders"),
    lane=Lane(0),
    log=Log(3),
    last_sequence=Sequence(5),
    last_stream_sequence=StreamSequence(50),
    generation=Generation(2),
)


def top(*, log: int | None = 3, generation: int = 2, known: int | None = None) -> StreamTop:
    return StreamTop(
        stream_sequence=StreamSequence(60),
        log=None if log is None else Log(log),
        generation=Generation(generation),
        known=None if known is None else Sequence(known),
    )


def placed(stream_sequence: int, last_sequence: int = 5) -> RelayCursor:
    return replace(CURSOR, last_stream_sequence=StreamSequence(stream_sequence), last_sequence=Sequence(last_sequence))


@pytest.mark.parametrize(
    ("found", "after"),
    [
        (None, placed(0)),
        (top(known=8), placed(60, 8)),
        (top(known=4), placed(60, 4)),
        (top(known=5, generation=3), placed(60, 5)),
        (top(known=8, generation=1), placed(60)),
        (top(known=None), placed(60)),
        (top(log=2, known=8), placed(60)),
        (top(log=4, known=None), placed(60)),
        (top(log=None), placed(60)),
    ],
    ids=[
        "the lane is empty",
        "a crash after the stream's answer",
        "the stream lost its newest",
        "a later generation of one's own",
        "older than the rewind: it must not undo it",
        "own log, but not in the outbox",
        "an older log",
        "a newer log",
        "no event of ours",
    ],
)
def test_a_refused_relay_goes_on_after_its_own_and_adopts_the_place_of_anything_else(
    found: StreamTop | None, after: RelayCursor
) -> None:
    assert reconcile(CURSOR, found) == after


def test_neither_log_nor_generation_nor_lane_is_the_fences_to_change() -> None:
    for found in (None, top(known=8, generation=7), top(log=9)):
        after = reconcile(CURSOR, found)
        assert (after.log, after.generation, after.lane) == (CURSOR.log, CURSOR.generation, CURSOR.lane)
