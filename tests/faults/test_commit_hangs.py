"""32: a commit that hangs while the next page has been read already; a page in the middle of a snapshot that fails."""

import asyncio
import json

import asyncpg
import pytest
from tests.e2e.world import PATIENCE_SECONDS, World, eventually, opened
from tests.faults.gates import Gate
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.routes import routed
from tests.faults.watching import OLD, drained, told

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.standin.faults import drop_connection
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(32), pytest.mark.integration, pytest.mark.timeout(400)]
PAGE = "NEW.sequence > OLD.sequence"
# The lease outlives the hanging, so that the same process goes on.
PATIENT = {"lease": "15s"}
# An incremental run that is due comes before the next page of a snapshot, which is not read ahead then.
RARE = {"schedule": {"every": "10m"}}


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("fails", id="and fails", marks=pytest.mark.long),
        pytest.param("unanswered", id="and succeeds unheard"),
        pytest.param("succeeds", id="and succeeds", marks=pytest.mark.long),
    ],
)
async def test_atomic_extraction_when_a_commit_hangs_while_the_next_page_is_ready(
    local_stack: ThreadedStack, facts: dict[str, object], *, ending: str
) -> None:
    """What was read after a page whose commit failed, or may have, is thrown away and read again."""
    async with opened(local_stack, pipeline=RARE, extractor=PATIENT) as world, routed(world, "outbox") as route:
        await world.insert(1, 2_500, moment=OLD)
        await world.migrate()
        await world.services.add("relay", EXTRACTOR, "relay").start()
        await world.services.add("loader", LOADER, "run").start()
        async with Gate.opened(world.outbox_dsn, "qupersync.extraction", when=PAGE, at_commit=True) as gate:
            await gate.shut()
            read = _pages_read(world)
            extract = world.services.add("extract", EXTRACTOR, "extract", environment=route.environment)
            await extract.start()
            sessions = await gate.wait_for_waiting()
            await _next_page_is_read(world, read + 2)
            assert (await world.standing()).sequence == 0
            if ending == "fails":
                await gate.end(*sessions)
            if ending == "unanswered":
                route.proxy.hold()
            await gate.open()
            if ending == "unanswered":
                await world.wait_for("the page whose commit nobody heard of", lambda one: one.sequence == 1)
                await route.proxy.cut()
                route.proxy.release()
            await drained(world, 2_500)
        read = _pages_read(world) - read
        assert ending == "succeeds" or told(extract, "extraction_waits"), "the extractor never noticed"
        await world.assert_gap_free()
        await _assert_one_snapshot_without_holes(world)
        facts |= {"rows": 2_500, "pages read": read}


@pytest.mark.long
async def test_no_loss_when_the_middle_of_a_snapshot_fails(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """The snapshot goes on after its last committed page; no page of it is committed out of its order."""
    book = local_stack.faults
    async with opened(local_stack) as world:
        await world.insert(1, 3_000, moment=OLD)
        await world.migrate()
        order = book.add(drop_connection(_pages(world), after_rows=200, skip=3, times=2))
        try:
            await world.services.run()
            await asyncio.to_thread(book.wait_fired, order, times=2, timeout_seconds=PATIENCE_SECONDS)
            await drained(world, 3_000)
        finally:
            book.remove(order)
        await world.assert_gap_free()
        pages = await _assert_one_snapshot_without_holes(world)
        assert pages > 4
        facts |= {"rows": 3_000, "reads failed": 2, "pages": pages}


def _pages(world: World) -> str:
    """Statements that read pages: what a preflight asks has its limit within."""
    return rf'"{world.name}".*LIMIT\s+\d+$'


def _pages_read(world: World) -> int:
    return world.stack.faults.executed(_pages(world))


async def _next_page_is_read(world: World, count: int) -> None:
    """Returns when so many reads of pages have been answered: the source has no statement of ours under way."""
    await asyncio.to_thread(
        world.stack.faults.wait_executed, _pages(world), count=count, timeout_seconds=PATIENCE_SECONDS
    )
    busy = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE '%' || $1 || '%LIMIT%'"

    async def answered() -> bool:
        return await world.source.fetchval(busy + " AND pid <> pg_backend_pid()", world.name) == 0

    await eventually("the answer to the last read", answered, pause_seconds=0.05)


async def _assert_one_snapshot_without_holes(world: World) -> int:
    """Every snapshot page begins where the one before it ended, from the beginning to the end; how many there are."""
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        rows = await connection.fetch(
            "SELECT headers FROM qupersync.outbox WHERE lane = 0 AND headers ->> 'ce-mode' = 'snapshot' "
            "ORDER BY log, sequence"
        )
    finally:
        await connection.close()
    headers = [json.loads(row["headers"]) for row in rows]
    assert len({one["ce-snapshotid"] for one in headers}) == 1
    ends = [None, *(one.get("ce-rangeto") for one in headers)]
    assert [one.get("ce-rangefrom") for one in headers] == ends[:-1]
    assert ends[-1] is None
    assert None not in ends[1:-1]
    assert_each_once_in_order(await lane_events(world))
    return len(headers)
