"""The observer: what has come further is marked, what is away is caught up, and nothing is believed too soon."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from tests.unit.extractor.application.bench import NAME, Bench

from qupersync_extractor.application import observing
from qupersync_extractor.application.observing import LedgerObserver, reached_by_groups
from qupersync_extractor.domain.whereabouts import Reached, Whereabouts
from qupersync_extractor.infrastructure.memory.ledger import MemoryLedger
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.errors import DatabaseUnavailableError, StreamUnavailableError
from qupersync_shared.kernel.ids import (
    EventId,
    GroupName,
    Lane,
    Log,
    PipelineName,
    Sequence,
    StreamSequence,
    uuid7,
)

MAIN = GroupName("main")
APPLIED_AT = datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)


def lane(number: int, sequence: int, *, log: int = 1, lanes: int = 2, group: str = "main") -> LaneProgress:
    return LaneProgress(
        group=group,
        pipeline=NAME,
        lane=number,
        lanes=lanes,
        log=log,
        sequence=sequence,
        event_id=uuid7(),
        applied_at=APPLIED_AT,
    )


@dataclass
class Streams:
    """Which groups have consumers."""

    groups: list[GroupName] = field(default_factory=list)
    missing: set[PipelineName] = field(default_factory=set)

    async def acknowledged(self, pipeline: PipelineName) -> Mapping[tuple[GroupName, Lane], StreamSequence]:
        if pipeline in self.missing:
            raise StreamUnavailableError("the stream is missing")
        return {(group, Lane(0)): StreamSequence(1) for group in self.groups}


@dataclass
class Watched:
    """A pipeline that is observed."""

    bench: Bench
    ledger: MemoryLedger
    streams: Streams
    observer: LedgerObserver

    async def extract(self, *ids: int) -> None:
        self.bench.insert(*ids)
        await self.bench.use_case().run()

    async def publish(self, *sequences: int) -> None:
        for cursor, sequence in zip(await self.bench.cursors.claim(NAME, "relay", 60), sequences, strict=True):
            assert await self.bench.cursors.advance(replace(cursor, last_sequence=Sequence(sequence)), "relay")

    def apply(self, *sequences: int, group: str = "main") -> None:
        for number, sequence in enumerate(sequences):
            self.bench.progress.report(lane(number, sequence, group=group))

    async def standing(self) -> Whereabouts:
        return (await self.ledger.whereabouts([NAME]))[NAME]


@pytest.fixture
async def watched() -> Watched:
    bench = await Bench().registered()
    ledger, streams = MemoryLedger(bench.store), Streams()
    return Watched(bench, ledger, streams, LedgerObserver(marks=ledger, board=bench.progress, claims=streams))


def every_look_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "FULL_LOOK_SECONDS", 0.0)


async def test_pages_are_followed_from_hop_to_hop(watched: Watched) -> None:
    await watched.extract(*range(1, 8))
    last = watched.bench.sequence
    assert await watched.observer.look()
    await watched.publish(last, last - 1)
    watched.apply(last - 1, last - 2)
    assert await watched.observer.look()
    standing = await watched.standing()
    assert standing.published is not None
    assert (standing.published.sequence, standing.applied[MAIN].sequence) == (last - 1, last - 2)
    await watched.publish(last, last)
    watched.apply(last, last)
    await watched.observer.look()
    assert not await watched.observer.look()
    standing = await watched.standing()
    assert standing.in_sync
    assert standing.applied[MAIN].at == APPLIED_AT


async def test_the_bucket_is_left_alone_where_nothing_moves(watched: Watched) -> None:
    await watched.extract(1)
    last = watched.bench.sequence
    await watched.publish(last, last)
    watched.apply(last, last)
    for _ in range(2):
        await watched.observer.look()
    watched.bench.progress.trouble = StreamUnavailableError("nobody is asked")
    assert not await watched.observer.look()


async def test_what_was_away_is_caught_up(watched: Watched) -> None:
    await watched.extract(1)
    last = watched.bench.sequence
    await watched.publish(last, last)
    watched.apply(last, last)
    watched.bench.progress.trouble = StreamUnavailableError("NATS is away")
    with pytest.raises(StreamUnavailableError):
        await watched.observer.look()
    assert (await watched.standing()).published is not None
    watched.bench.progress.trouble = None
    watched.bench.store.unavailable = "the database is away"
    with pytest.raises(DatabaseUnavailableError):
        await watched.observer.look()
    watched.bench.store.unavailable = None
    await watched.observer.look()
    assert (await watched.standing()).in_sync


async def test_a_target_that_lost_pages_is_believed_when_it_says_so_twice(watched: Watched) -> None:
    await watched.extract(*range(1, 8))
    last = watched.bench.sequence
    await watched.publish(last, last)
    watched.apply(last, last)
    await watched.observer.look()
    await watched.extract(8)
    watched.apply(1, 1)
    await watched.observer.look()
    assert (await watched.standing()).applied[MAIN].sequence == last
    watched.apply(last, last)  # it was a stale word
    await watched.observer.look()
    watched.apply(1, 1)
    await watched.observer.look()
    assert (await watched.standing()).applied[MAIN].sequence == last
    await watched.observer.look()
    assert (await watched.standing()).applied[MAIN].sequence == 1


async def test_a_pipeline_that_rests_is_believed_too_while_others_move(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watched.extract(1)
    last = watched.bench.sequence
    await watched.publish(last, last)
    watched.apply(last, last)
    await watched.observer.look()
    await watched.bench.registry.register(PipelineName("busy"), 1)
    row = watched.bench.store.pipelines[PipelineName("busy")]
    row.state = replace(row.state, sequence=Sequence(9), lane_ids={Lane(0): EventId(uuid7())})
    watched.apply(0, 0)
    for limit in (0.0, 600.0, 0.0):  # a full look, one at what moves, a full look
        monkeypatch.setattr(observing, "FULL_LOOK_SECONDS", limit)
        assert await watched.observer.look()
    assert (await watched.standing()).applied[MAIN].sequence == 0


async def test_a_stream_that_is_gone_keeps_no_other_group_from_being_forgotten(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_look_is_full(monkeypatch)
    lost = PipelineName("a_lost_one")
    await watched.bench.registry.register(lost, 1)
    row = watched.bench.store.pipelines[lost]
    row.state = replace(row.state, sequence=Sequence(1), lane_ids={Lane(0): EventId(uuid7())})
    watched.streams.missing = {lost}
    await watched.extract(1)
    here = Reached(log=Log(1), sequence=Sequence(1))
    await watched.ledger.mark_applied({(lost, MAIN): here, (NAME, MAIN): here})
    await watched.observer.look()
    assert set((await watched.ledger.whereabouts([lost]))[lost].applied) == {MAIN}
    assert (await watched.standing()).applied == {}


async def test_a_group_that_says_nothing_counts_until_its_consumers_are_gone(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_look_is_full(monkeypatch)
    await watched.extract(1)
    last = watched.bench.sequence
    await watched.publish(last, last)
    watched.apply(last, last)
    await watched.observer.look()
    watched.bench.progress.forget()
    watched.streams.groups = [MAIN]
    await watched.observer.look()
    assert set((await watched.standing()).applied) == {MAIN}
    watched.streams.groups = []
    await watched.observer.look()
    assert (await watched.standing()).applied == {}


def test_a_group_is_where_its_slowest_lane_is() -> None:
    (reached,) = reached_by_groups([lane(0, 7), lane(1, 5)]).values()
    assert (reached.place, reached.at) == ((1, 5), APPLIED_AT)


def test_a_lane_that_says_nothing_of_a_log_has_applied_nothing_of_it() -> None:
    (reached,) = reached_by_groups([lane(0, 7), lane(1, 3, log=2)]).values()
    assert (reached.place, reached.at) == ((2, 0), None)


def test_lanes_that_a_log_does_not_have_are_of_an_older_one() -> None:
    entries = [lane(0, 7, log=2, lanes=1), lane(1, 90, log=1)]
    assert [reached.place for reached in reached_by_groups(entries).values()] == [(2, 7)]


def test_groups_and_pipelines_are_told_apart() -> None:
    found = reached_by_groups([lane(0, 7, lanes=1), lane(0, 9, lanes=1, group="reports")])
    assert {group: one.sequence for (_, group), one in found.items()} == {"main": 7, "reports": 9}
