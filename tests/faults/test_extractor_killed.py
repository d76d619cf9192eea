"""1: an extractor killed before its commit, inside it, and after it."""

import pytest
from tests.e2e.world import World, opened
from tests.faults.gates import Gate
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.watching import OLD, drained, parked

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(1), pytest.mark.integration, pytest.mark.timeout(400)]
SHORT_LEASE = {"lease": "2s"}
PAGE = "NEW.sequence > OLD.sequence"


@pytest.mark.parametrize(
    ("at_commit", "fails", "kept"),
    [
        pytest.param(False, False, 0, id="before the commit", marks=pytest.mark.long),
        pytest.param(True, True, 0, id="inside a commit that fails", marks=pytest.mark.long),
        pytest.param(True, False, 1, id="inside a commit that succeeds"),
    ],
)
async def test_atomic_extraction_when_the_extractor_is_killed(
    local_stack: ThreadedStack, facts: dict[str, object], *, at_commit: bool, fails: bool, kept: int
) -> None:
    """What the killed process never heard of is there with records and cursor, or not at all."""
    async with opened(local_stack, extractor=SHORT_LEASE) as world:
        await world.insert(1, 1_000, moment=OLD)
        await world.migrate()
        await world.extract_once()
        before = await world.standing()
        await world.insert(1_001, 3_000)
        async with Gate.opened(world.outbox_dsn, "qupersync.extraction", when=PAGE, at_commit=at_commit) as gate:
            await gate.shut()
            extract = world.services.add("extract", EXTRACTOR, "extract")
            await extract.start()
            sessions = await gate.wait_for_waiting()
            await extract.kill()
            if fails:
                await gate.end(*sessions)
            await gate.open()
            await gate.wait_for_gone(*sessions)
            after = await world.standing()
            assert after.sequence == before.sequence + kept
            assert after.extracted.events == after.lanes * after.sequence, "records and cursor are not of one page"
            await extract.start()
            await _start_the_rest(world)
            await drained(world, 3_000)
        await _assert_nothing_odd(world)
        facts |= {"rows": 3_000, "kills": 1, "pages kept": kept}


@pytest.mark.long
async def test_no_loss_when_the_extractor_is_killed_after_page_upon_page(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """Each life of the extractor commits a page or a few, and is killed while it is at the next one."""
    async with opened(local_stack, pipeline={"page_rows": 100}, extractor=SHORT_LEASE) as world:
        await world.insert(1, 2_000, moment=OLD)
        await world.migrate()
        await _start_the_rest(world)
        extract = world.services.add("extract", EXTRACTOR, "extract")
        kills, snapshots = 0, 0
        async with Gate.opened(world.outbox_dsn, "qupersync.extraction", when=PAGE) as gate:
            reached = 0
            for _ in range(4):
                await extract.start()
                standing = await world.wait_for("one more page", lambda one, than=reached: one.sequence > than)
                await gate.shut()
                sessions = await gate.wait_for_waiting()
                reached = (await world.standing()).sequence
                snapshots += standing.snapshotting
                await extract.kill()
                kills += 1
                await gate.open()
                await gate.wait_for_gone(*sessions)
                assert (await world.standing()).sequence == reached, "a page was committed that nobody had committed"
                await world.insert(2_000 + 300 * kills - 299, 2_000 + 300 * kills)
        assert snapshots > 1, "the snapshot was hardly interrupted"
        await extract.start()
        await drained(world, 2_000 + 300 * kills)
        await _assert_nothing_odd(world)
        facts |= {"rows": 2_000 + 300 * kills, "kills": kills}


async def _start_the_rest(world: World) -> None:
    await world.services.add("relay", EXTRACTOR, "relay").start()
    await world.services.add("loader", LOADER, "run").start()


async def _assert_nothing_odd(world: World) -> None:
    await world.assert_gap_free()
    assert_each_once_in_order(await lane_events(world))
    assert await parked(world) == (0, 0)
