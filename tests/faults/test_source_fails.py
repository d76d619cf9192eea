"""2: Redshift drops the connection in the middle of a page, stalls, aborts with 1023, cancels with 57014."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from tests.e2e.world import PATIENCE_SECONDS, World, opened
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.watching import OLD, drained, parked, shown

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.standin.faults import (
    Fault,
    FaultBook,
    disk_full,
    drop_connection,
    query_cancelled,
    serialization_failure,
    stall,
)
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(2), pytest.mark.integration, pytest.mark.timeout(420)]


@asynccontextmanager
async def _ordered(book: FaultBook, *faults: Fault) -> AsyncIterator[list[int]]:
    numbers = [book.add(fault) for fault in faults]
    try:
        yield numbers
    finally:
        for number in numbers:
            book.remove(number)


async def _happened(book: FaultBook, number: int, *, times: int = 1) -> None:
    await asyncio.to_thread(book.wait_fired, number, times=times, timeout_seconds=PATIENCE_SECONDS)


def _pages(world: World) -> str:
    """What the statements look like that read pages of this world: what a preflight asks has its limit within."""
    return rf'"{world.name}".*LIMIT\s+\d+$'


@pytest.mark.long
async def test_no_loss_when_reads_of_a_snapshot_and_of_changes_fail(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """The second and third page of every run fail in some way: what was read is thrown away and read again."""
    book = local_stack.faults
    async with opened(local_stack) as world:
        await world.insert(1, 2_500, moment=OLD)
        await world.migrate()
        pages, happened = _pages(world), 0
        rounds = (
            drop_connection(pages, after_rows=100, skip=1, times=2),
            serialization_failure(pages, table=world.table, skip=1, times=2),
            query_cancelled(pages, skip=1, times=2),
            drop_connection(pages, after_rows=499, skip=1),
            drop_connection(pages, skip=1),
            disk_full(pages, skip=1),
        )
        newest = 2_500
        for number, fault in enumerate(rounds):
            async with _ordered(book, fault) as (order,):
                if number == 0:
                    await world.services.run()
                else:
                    newest += 1_200
                    await world.insert(newest - 1_199, newest)
                await _happened(book, order, times=fault.times or 1)
                happened += book.fired(order)
                await drained(world, newest)
        await world.assert_gap_free()
        assert_each_once_in_order(await lane_events(world))
        assert await parked(world) == (0, 0)
        facts |= {"rows": newest, "reads failed": happened}


async def test_visible_while_the_source_cancels_every_read(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """The reason is shown for as long as nothing can be read, and nothing is committed meanwhile."""
    book = local_stack.faults
    async with opened(local_stack) as world:
        await world.insert(1, 500, moment=OLD)
        await world.migrate()
        async with _ordered(book, query_cancelled(_pages(world), times=None)) as (order,):
            await world.services.run()
            await _happened(book, order, times=2)
            await shown(world, "57014")
            assert (await world.standing()).sequence == 0
            failed = book.fired(order)
        await drained(world, 500)
        facts |= {"rows": 500, "reads failed": failed}


@pytest.mark.long
async def test_atomic_extraction_while_the_source_stalls_for_longer_than_a_lease(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """A second extractor waits meanwhile: the one that waits for Redshift is alive, and keeps the pipeline."""
    book = local_stack.faults
    async with opened(local_stack, extractor={"lease": "2s"}) as world:
        await world.insert(1, 1_500, moment=OLD)
        await world.migrate()
        await world.services.add("relay", EXTRACTOR, "relay").start()
        await world.services.add("loader", LOADER, "run").start()
        async with _ordered(book, stall(_pages(world), seconds=600, after_rows=50, skip=1)) as (order,):
            await world.services.add("extract-1", EXTRACTOR, "extract").start()
            await _happened(book, order)
            owner = (await _lease(world))["owner"]
            await world.services.add("extract-2", EXTRACTOR, "extract").start()
            renewals = await _renewals(world, over_seconds=5)
            stalled = await _lease(world)
            assert stalled["owner"] == owner, "the pipeline went to another extractor"
            assert (await world.standing()).sequence == 1, "something of the page that stalls was committed"
        await drained(world, 1_500)
        await world.assert_gap_free()
        facts |= {"rows": 1_500, "renewals while it stalled": renewals}


@pytest.mark.long
async def test_no_loss_when_the_source_never_answers_again(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """The read is given up a minute after the statement's time limit, and another connection reads the page."""
    book = local_stack.faults
    source = {**local_stack.describe()["source"], "statement_timeout": "2s"}
    async with opened(local_stack, source=source) as world:
        await world.insert(1, 1_500, moment=OLD)
        await world.migrate()
        async with _ordered(book, stall(_pages(world), seconds=600, after_rows=50, skip=1)) as (order,):
            await world.services.run()
            await _happened(book, order)
            await drained(world, 1_500, seconds_max=180)
            assert book.holds(order), "the stall was taken back"
        facts |= {"rows": 1_500, "stalls": 1}


async def _lease(world: World) -> asyncpg.Record:
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        return await connection.fetchrow("SELECT owner, lease_until FROM qupersync.extraction")
    finally:
        await connection.close()


async def _renewals(world: World, *, over_seconds: float) -> int:
    """How often the lease was prolonged until it lasts so much longer than it did."""
    first = last = (await _lease(world))["lease_until"]
    renewals = 0
    async with asyncio.timeout(60):
        while (last - first).total_seconds() < over_seconds:
            await asyncio.sleep(0.1)
            until = (await _lease(world))["lease_until"]
            renewals += until != last
            last = until
    return renewals
