"""The keeper of a stream, over adapters in memory: it stays within its limit, whatever groups and snapshots do."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.unit.extractor.application.bench import NAME, Bench

from qupersync_extractor.application.retention import StreamKeeper
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.domain.pipeline import DeletePolicy
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.infrastructure.memory.retention import MemoryPlaceBoard, MemoryRetention
from qupersync_extractor.infrastructure.memory.stream import MemoryStream
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.errors import StreamFullError
from qupersync_shared.kernel.ids import GroupName, Lane, StreamSequence

MAIN = GroupName("main")


class World:
    """A bench whose events are relayed, applied by loader groups, and kept."""

    def __init__(self, *, bytes_max: int = 1 << 30, **options: Any) -> None:
        self.bench = Bench(stream=MemoryStream(bytes_max=bytes_max))
        self.use = self.bench.use_case(page_rows=50)
        self.retained = MemoryRetention(self.bench.stream)
        self.board = MemoryPlaceBoard()
        self.troubles = Troubles()
        self.options = options
        self.keeper = self.new_keeper()
        self.ids = 0
        self.chance = random.Random(7)

    def new_keeper(self) -> StreamKeeper:
        return StreamKeeper(
            pipeline=NAME,
            deletes=self.options.get("deletes", DeletePolicy.APPLY),
            stream=self.retained,
            board=self.board,
            progress=self.bench.progress,
            registry=self.bench.registry,
            cursors=self.bench.cursors,
            troubles=self.troubles,
            replay_retention=self.options.get("replay_retention", timedelta(0)),
        )

    async def change(self, rows: int = 20) -> None:
        """Rows are inserted and extracted."""
        self.bench.pass_time(timedelta(minutes=1))
        for number in range(self.ids + 1, self.ids + rows + 1):
            self.bench.insert(number, note=self.chance.randbytes(100).hex())
        self.ids += rows
        await self.extract()

    async def extract(self, forced: ForcedMode | None = None) -> None:
        self.bench.pass_time(timedelta(seconds=1))
        await self.use.run(forced=forced)

    async def relay(self) -> bool:
        """Publishes what fits; whether everything did."""
        for lane in range(2):
            relay = await self.bench.lane_relay(lane)
            try:
                while not (await relay.publish_some()).idle:
                    pass
            except StreamFullError:
                return False
        return True

    def load(self, group: GroupName = MAIN) -> None:
        """The group applies everything that stands in the stream."""
        for lane in (Lane(0), Lane(1)):
            messages = self.bench.stream.messages(NAME, lane)
            known = {p.lane: p for p in self.bench.progress._lanes.values() if p.group == group}
            whole = known[lane].snapshot_whole if lane in known else None
            done = self.retained.done.setdefault(NAME, {})
            for message in messages:
                envelope = BatchEnvelope.from_headers(dict(message.headers))
                whole = envelope.snapshot_id if envelope.snapshot_last else whole
                done[group, lane] = message.stream_sequence
                self.tell(group, envelope, whole)

    def tell(self, group: GroupName, envelope: BatchEnvelope, whole: UUID | None) -> None:
        self.bench.progress.report(
            LaneProgress(
                group=group,
                pipeline=NAME,
                lane=envelope.lane,
                lanes=2,
                log=envelope.log,
                sequence=envelope.sequence,
                event_id=envelope.id,
                snapshot_whole=whole,
                applied_at=datetime.now(UTC),
            )
        )

    @property
    def wish(self) -> str | None:
        wish = self.bench.store.pipelines[NAME].state.snapshot_wish
        return wish.reason if wish is not None else None

    @property
    def kept_modes(self) -> list[str]:
        found = [BatchEnvelope.from_headers(dict(m.headers)) for m in self.bench.stream.messages(NAME, Lane(0))]
        return [envelope.mode.value for envelope in found]

    @property
    def share(self) -> float:
        kept, _ = self.bench.stream.content(NAME)
        return sum(message.bytes for message in kept) / self.bench.stream.bytes_max


async def begun(**options: Any) -> World:
    """A pipeline whose first snapshot is relayed and loaded."""
    world = World(**options)
    await world.bench.registered()
    await world.change()
    assert await world.relay()
    world.load()
    await world.keeper.look()
    return world


async def test_a_snapshot_that_every_group_has_lets_everything_before_it_go() -> None:
    world = await begun()
    for _ in range(3):
        await world.change()
    await world.extract(ForcedMode.SNAPSHOT)
    await world.relay()
    before = world.kept_modes
    await world.keeper.look()
    assert world.kept_modes == before, "the group has yet to load it"

    world.load()
    await world.keeper.look()

    assert world.kept_modes[0] == "snapshot"
    assert len(world.kept_modes) < len(before)
    told = world.board.entries[NAME]
    assert told.replayable_since is not None
    assert [entry.cut for entry in told.places] == [False]


async def test_a_second_group_holds_what_it_has_not_applied() -> None:
    world = await begun()
    world.load(GroupName("second"))
    await world.change()
    await world.extract(ForcedMode.SNAPSHOT)
    await world.relay()
    world.load()
    before = world.kept_modes
    await world.keeper.look()
    assert world.kept_modes == before
    world.load(GroupName("second"))
    await world.keeper.look()
    assert len(world.kept_modes) < len(before)


async def test_a_group_known_by_its_consumers_alone_holds_too() -> None:
    world = await begun()
    world.retained.done[NAME].update({(GroupName("new"), Lane(lane)): 0 for lane in range(2)})  # type: ignore[dict-item]
    await world.change()
    await world.extract(ForcedMode.SNAPSHOT)
    await world.relay()
    world.load()
    before = world.kept_modes
    await world.keeper.look()
    assert world.kept_modes == before


async def test_what_is_known_of_the_stream_outlives_the_keeper_and_a_lost_bucket() -> None:
    world = await begun()
    await world.change()
    await world.extract(ForcedMode.SNAPSHOT)
    await world.relay()
    world.load()
    world.keeper = world.new_keeper()
    world.board.entries.clear()
    before = len(world.kept_modes)
    await world.keeper.look()
    assert len(world.kept_modes) < before


async def test_a_page_that_is_not_where_it_was_purges_nothing() -> None:
    world = await begun()
    await world.change()
    await world.extract(ForcedMode.SNAPSHOT)
    await world.relay()
    await world.keeper.look()
    told = world.board.entries[NAME]
    moved = tuple(p.model_copy(update={"first": {0: p.first[0] - 2, 1: p.first[1]}}) for p in told.places)
    world.board.entries[NAME] = told.model_copy(update={"places": moved})
    world.keeper = world.new_keeper()
    world.load()
    before = world.kept_modes
    await world.keeper.look()
    assert world.kept_modes == before
    await world.keeper.look()
    assert len(world.kept_modes) < len(before), "the stream itself told where it is"


async def test_another_stream_of_the_same_name_is_read_anew() -> None:
    world = await begun()
    world.bench.stream.delete(NAME)
    await world.bench.stream.declare(NAME)
    world.retained.made_at += timedelta(hours=1)
    await world.keeper.look()
    assert world.board.entries[NAME].replayable_since is None
    assert "no whole snapshot" in (world.board.entries[NAME].not_rebuildable or "")


async def test_a_busy_stream_plans_snapshots_and_never_fills() -> None:
    world = await begun(bytes_max=400_000)
    wishes = 0
    for _ in range(120):
        await world.change(3)
        assert await world.relay()
        world.load()
        await world.keeper.look()
        wishes += world.wish is not None
        assert world.share < 0.98
    assert wishes >= 2
    assert world.board.entries[NAME].replayable_since is not None


async def test_a_full_stream_with_everything_applied_frees_itself() -> None:
    world = await begun(bytes_max=60_000)
    while await world.relay():
        await world.change(5)
    world.load()
    await world.keeper.look()

    assert world.share < 0.8
    assert await world.relay()
    told = world.board.entries[NAME]
    assert told.replayable_since is None
    assert "purged" in (told.not_rebuildable or "")
    assert all(world.bench.stream.messages(NAME, Lane(lane)) for lane in range(2)), "each lane keeps its last message"


async def test_a_dead_group_holds_a_full_stream_and_is_named_with_the_cure() -> None:
    world = await begun(bytes_max=200_000)
    world.load(GroupName("dead"))
    while await world.relay():
        await world.change(5)
    world.load()
    await world.keeper.look()
    assert world.share >= 0.8
    reason = world.troubles.by_pipeline()[NAME]
    assert "qupersync groups remove dead" in reason
    assert world.board.entries[NAME].held_by == ("dead",)
    assert world.wish is None, "another snapshot frees nothing"

    for lane in range(2):  # groups remove
        del world.retained.done[NAME][GroupName("dead"), Lane(lane)]
    world.bench.progress._lanes = {k: v for k, v in world.bench.progress._lanes.items() if v.group != "dead"}
    await world.keeper.look()
    assert world.share < 0.8
    assert NAME not in world.troubles.by_pipeline()


async def test_a_snapshot_larger_than_the_stream_is_not_read_over_and_over() -> None:
    world = await begun(bytes_max=40_000)
    for _ in range(10):
        await world.change(20)
        while not await world.relay():
            world.load()
            await world.keeper.look()
        world.load()
    snapshots = 0
    for _ in range(100):
        await world.extract()
        for _ in range(30):
            if await world.relay():
                break
            world.load()
            await world.keeper.look()
        world.load()
        await world.keeper.look()
        snapshots += world.wish is not None
    assert snapshots <= 2
    assert world.board.entries[NAME].not_rebuildable


async def test_a_snapshot_that_waits_in_the_outbox_is_waited_for() -> None:
    world = await begun(bytes_max=100_000)
    while world.share < 0.65:
        await world.change(3)
        await world.relay()
        world.load()
    await world.keeper.look()
    assert world.wish is not None
    await world.extract()  # takes the snapshot, which nobody relays
    for _ in range(5):
        await world.keeper.look()
    assert world.wish is None


@pytest.mark.parametrize("used", [0.65, 0.9])
async def test_a_source_that_forgets_is_never_compacted_but_loading_outranks_replay(used: float) -> None:
    world = await begun(bytes_max=100_000, deletes=DeletePolicy.KEEP)
    await world.extract(ForcedMode.SNAPSHOT)
    while world.share < used:
        await world.change(2)
        await world.relay()
        world.load()
    before = len(world.kept_modes)
    await world.keeper.look()
    assert world.wish is None
    assert (len(world.kept_modes) < before) == (used > 0.8)
    assert "forgets" in (world.board.entries[NAME].not_rebuildable or "")


async def test_a_keeper_that_takes_over_again_knows_what_the_other_one_purged() -> None:
    """Two relays may hold the first lane in turn. Purges differ by lane: a look at the stream alone does not tell."""
    world = await begun(bytes_max=60_000)
    assert world.board.entries[NAME].replayable_since is not None
    while await world.relay():
        await world.change(5)
    world.load()
    world.retained.done[NAME][MAIN, Lane(0)] = StreamSequence(0)  # that lane is held; the other one was applied

    other = world.new_keeper()
    world.keeper.rest()
    await other.look()
    assert world.board.entries[NAME].replayable_since is None

    other.rest()
    await world.keeper.look()
    assert world.board.entries[NAME].replayable_since is None


@pytest.mark.parametrize("bytes_max", [15_000, 17_000, 19_000, 21_000, 24_000, 30_000])
async def test_a_stream_that_takes_few_events_at_once_is_freed_whenever_it_refuses_one(bytes_max: int) -> None:
    """The next event may be larger than what is left below the share from which room is made."""
    world = await begun(bytes_max=bytes_max)
    for _ in range(12):
        await world.change(40)
        for _ in range(40):
            if await world.relay():
                break
            world.load()
            world.keeper.hurry()
            await world.keeper.look_if_due()
        else:
            pytest.fail(f"the stream is used to {world.share:.0%}, everything is applied, and nothing goes on")
        world.load()


async def test_a_stream_that_is_too_small_for_one_event_a_lane_says_so() -> None:
    world = await begun(bytes_max=12_000)
    for _ in range(12):
        await world.change(40)
        for _ in range(40):
            if await world.relay():
                break
            world.load()
            world.keeper.hurry()
            await world.keeper.look_if_due()
    assert world.share < 0.8
    assert "nats.stream_bytes_max is too small" in world.troubles.by_pipeline()[NAME]
