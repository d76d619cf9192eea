"""What of a stream may go, and when a snapshot is worth having: decided by pure functions."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest

from qupersync_extractor.domain.retention import (
    Claim,
    SeenEvent,
    StreamKnowledge,
    compacted,
    compaction,
    compaction_bounds,
    cut,
    holding,
    learn,
    rebuildable_from,
    relief_bounds,
    wanted_snapshot,
)
from qupersync_shared.kernel.ids import GroupName, Lane, Log, SnapshotId, StreamSequence

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
ONE = Log(1)


def snapshot_id(number: int) -> SnapshotId:
    return SnapshotId(UUID(int=number))


class Published:
    """Writes events of two lanes and knows what was learnt of them."""

    def __init__(self) -> None:
        self._sequences: Iterator[int] = count(1)
        self.knowledge = StreamKnowledge()
        self.at = NOON

    def event(self, lane: int, *, snapshot: int | None = None, first: bool = False, last: bool = False) -> int:
        sequence = StreamSequence(next(self._sequences))
        seen = SeenEvent(
            sequence=sequence,
            lane=Lane(lane),
            log=ONE,
            lanes=2,
            at=self.at,
            bytes=10,
            snapshot=snapshot_id(snapshot) if snapshot is not None else None,
            first=first,
            last=last,
        )
        self.knowledge = learn(self.knowledge, [seen], upto=sequence)
        return sequence

    def snapshot(self, number: int, *, pages: int = 3) -> None:
        for page in range(pages):
            for lane in range(2):
                self.event(lane, snapshot=number, first=page == 0, last=page == pages - 1)

    def changes(self, events: int) -> None:
        for _ in range(events):
            self.event(0)
            self.event(1)


def claims(*, done: int = 0, whole: int | None = None, group: str = "main") -> list[Claim]:
    whole_id = snapshot_id(whole) if whole is not None else None
    return [
        Claim(group=GroupName(group), lane=Lane(lane), done=StreamSequence(done), whole=whole_id) for lane in range(2)
    ]


def chosen(published: Published, wanted: list[Claim], *, retention: timedelta = timedelta(0)) -> int | None:
    place = compaction(published.knowledge, wanted, log=ONE, now=NOON, replay_retention=retention)
    return None if place is None else int(place.id)


def test_a_snapshot_is_known_whole_when_every_lane_has_its_last_page() -> None:
    published = Published()
    published.changes(2)
    published.event(0, snapshot=7, first=True)
    published.event(1, snapshot=7, first=True)
    published.event(0, snapshot=7, last=True)
    assert rebuildable_from(published.knowledge, log=ONE) is None
    published.event(1, snapshot=7, last=True)
    place = rebuildable_from(published.knowledge, log=ONE)
    assert place is not None
    assert (dict(place.first), dict(place.last), place.bytes) == ({0: 5, 1: 6}, {0: 7, 1: 8}, 40)
    assert rebuildable_from(published.knowledge, log=Log(2)) is None


def test_a_snapshot_begun_anew_takes_the_place_of_the_one_that_never_ended() -> None:
    published = Published()
    published.event(0, snapshot=1, first=True)
    published.event(1, snapshot=1, first=True)
    published.snapshot(2)
    assert [int(place.id) for place in published.knowledge.places] == [2]


def test_pages_sent_again_move_the_end_and_not_the_beginning() -> None:
    published = Published()
    published.snapshot(1, pages=1)
    published.event(0, snapshot=1, first=True, last=True)
    [place] = published.knowledge.places
    assert (place.first[Lane(0)], place.last[Lane(0)]) == (1, 3)


def test_only_what_every_group_applied_whole_is_compacted_to() -> None:
    published = Published()
    published.snapshot(1)
    published.changes(3)
    published.snapshot(2)
    assert chosen(published, []) is None, "nobody has applied anything"
    assert chosen(published, claims(whole=2)) == 2
    assert chosen(published, [*claims(whole=2), *claims(whole=1, group="slow")]) == 1
    assert chosen(published, [*claims(whole=2), *claims(group="new")]) is None
    assert chosen(published, [claims(whole=2)[0], claims(whole=1)[1]]) == 1, "a lane is behind"


def test_a_retention_for_replays_keeps_older_snapshots() -> None:
    published = Published()
    published.at = NOON - timedelta(days=5)
    published.snapshot(1)
    published.at = NOON - timedelta(days=1)
    published.snapshot(2)
    applied = claims(whole=2)
    assert chosen(published, applied) == 2
    assert chosen(published, applied, retention=timedelta(days=2)) == 1
    assert chosen(published, applied, retention=timedelta(days=7)) is None


def test_compaction_keeps_each_lanes_last_message_and_nothing_of_lanes_that_are_no_more() -> None:
    published = Published()
    published.changes(4)
    published.snapshot(1)
    [place] = published.knowledge.places
    tops = {Lane(0): StreamSequence(13), Lane(1): StreamSequence(14), Lane(5): StreamSequence(3)}
    assert compaction_bounds(published.knowledge, place, tops) == {0: 9, 1: 10, 5: 4}
    assert compacted(published.knowledge, place).places == (place,)


def test_a_lane_that_came_back_since_the_stream_was_looked_at_is_left_alone() -> None:
    published = Published()
    published.snapshot(1)
    [place] = published.knowledge.places
    upto = published.knowledge.upto
    later = StreamSequence(upto + 7)
    assert compaction_bounds(published.knowledge, place, {Lane(5): later}) == {5: upto + 1}
    again = replace(place, id=snapshot_id(2), log=Log(place.log + 1), lanes=6, first={Lane(5): StreamSequence(2)})
    knowledge = replace(published.knowledge, places=(place, again), upto=later)
    assert compaction_bounds(knowledge, place, {Lane(5): later}) == {5: 2}, "the newer log's baseline stays"


def test_relief_takes_the_oldest_that_all_have_done_and_never_a_last_message() -> None:
    tops = {Lane(0): StreamSequence(100), Lane(1): StreamSequence(99)}
    first = StreamSequence(1)
    assert relief_bounds([], tops, first=first, share=1.0) == {}
    assert relief_bounds(claims(done=100), tops, first=first, share=1.0) == {0: 100, 1: 99}
    assert relief_bounds(claims(done=80), tops, first=first, share=0.5) == {0: 41, 1: 41}
    both = [*claims(done=100), *claims(done=0, group="dead")]
    assert relief_bounds(both, tops, first=first, share=1.0) == {0: 1, 1: 1}


def test_a_snapshot_that_relief_cut_is_no_base_but_its_size_is_remembered() -> None:
    published = Published()
    published.snapshot(1)
    published.snapshot(2)
    second = published.knowledge.places[1]
    relieved = cut(published.knowledge, {Lane(0): StreamSequence(5)})
    assert rebuildable_from(relieved, log=ONE) == second
    assert len(relieved.places) == 1, "the first is of no use any more"
    gone = cut(published.knowledge, {Lane(1): StreamSequence(9)})
    assert rebuildable_from(gone, log=ONE) is None
    assert [(int(place.id), place.cut) for place in gone.places] == [(2, True)]


@pytest.mark.parametrize(("used", "reason"), [(59, None), (60, "60 %")])
def test_at_sixty_percent_a_snapshot_is_wanted(used: int, reason: str | None) -> None:
    published = Published()
    published.snapshot(1, pages=2)
    published.changes(2)
    found = wanted_snapshot(published.knowledge, claims(done=99), log=ONE, bytes_used=used, bytes_max=100)
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_a_snapshot_is_not_wanted_where_another_helps_nobody() -> None:
    published = Published()
    published.event(0, snapshot=1, first=True)

    def wanted(of: list[Claim], used: int = 70) -> str | None:
        return wanted_snapshot(published.knowledge, of, log=ONE, bytes_used=used, bytes_max=100)

    assert wanted(claims(done=999)) is None, "one is on its way"
    published = Published()
    published.snapshot(1, pages=3)
    published.changes(2)
    assert wanted(claims(done=999)) is None, "it fills the stream by itself: the next one would too"
    published.changes(1)
    assert wanted(claims(done=999)) is not None
    assert wanted(claims(done=3)) is None, "a group has yet to pass the last one"
    assert wanted([]) is None, "nobody loads"
    assert wanted(claims(done=999), used=80) is None, "there is no room for it"


def test_a_cut_snapshot_is_replaced_as_soon_as_it_has_paid_for_itself() -> None:
    published = Published()
    published.snapshot(1, pages=2)
    published.knowledge = cut(published.knowledge, {Lane(0): StreamSequence(2)})
    published.changes(1)
    few = {"log": ONE, "bytes_used": 1, "bytes_max": 100}
    assert wanted_snapshot(published.knowledge, claims(done=99), **few) is None
    published.changes(1)
    assert "no longer" in str(wanted_snapshot(published.knowledge, claims(done=99), **few))


def test_those_who_hold_half_of_the_stream_are_named() -> None:
    tops = {Lane(0): StreamSequence(100), Lane(1): StreamSequence(10)}
    wanted = [*claims(done=90), *claims(done=20, group="dead")]
    assert holding(wanted, tops, first=StreamSequence(1)) == ("dead",)
    assert holding(claims(done=100), tops, first=StreamSequence(1)) == ()


def test_the_last_message_of_a_lane_that_is_no_more_does_not_hide_who_holds() -> None:
    wanted = [
        Claim(group=GroupName(name), lane=Lane(0), done=StreamSequence(done))
        for name, done in (("live", 10_022), ("dead", 9_000))
    ]
    tops = {Lane(0): StreamSequence(10_022), Lane(3): StreamSequence(5)}
    assert holding(wanted, tops, first=StreamSequence(5)) == ("dead",)
