"""Memory for pages is shared fairly: bounded, in turn, and never a deadlock."""

import asyncio
import gc
import random
from typing import Any

import pytest
from tests.unit.extractor.application.bench import NAME, Bench, no_wait, pipeline

from qupersync_extractor.application.budget import ByteBudget, Reservation
from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.application.relation import row_schema
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_shared.kernel.errors import SourceUnavailableError


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_reservations_come_in_turn_and_never_exceed_the_budget() -> None:
    budget = ByteBudget(100)
    first = await budget.reserve(60)
    large = asyncio.create_task(budget.reserve(50))
    await settled()
    small = asyncio.create_task(budget.reserve(1))
    await settled()
    assert not large.done()
    assert not small.done(), "who comes later does not overtake"
    first.release()
    await asyncio.gather(large, small)
    assert budget.used == 51


async def test_one_greater_than_the_budget_passes_alone() -> None:
    budget = ByteBudget(100)
    first = await budget.reserve(10)
    giant = asyncio.create_task(budget.reserve(1000))
    await settled()
    assert not giant.done()
    first.release()
    held = await giant
    other = asyncio.create_task(budget.reserve(1))
    await settled()
    assert not other.done()
    held.release()
    await other


async def test_what_turned_out_greater_counts_and_what_turned_out_smaller_lets_others_in() -> None:
    budget = ByteBudget(100)
    first = await budget.reserve(90)
    second = asyncio.create_task(budget.reserve(50))
    await settled()
    first.fit(20)
    held = await second
    held.fit(500)
    assert budget.used == 520
    held.release()
    held.release()
    held.fit(7)
    first.release()
    assert budget.used == 0


async def test_a_cancelled_wait_gives_its_turn_away() -> None:
    budget = ByteBudget(100)
    first = await budget.reserve(100)
    given_up = asyncio.create_task(budget.reserve(100))
    next_one = asyncio.create_task(budget.reserve(40))
    await settled()
    given_up.cancel()
    await settled()
    first.release()
    held = await next_one
    assert budget.used == 40
    late = asyncio.create_task(budget.reserve(100))
    await settled()
    held.release()  # its turn comes, and at the same moment it is cancelled
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert budget.used == 0


async def test_a_reservation_that_nobody_holds_any_more_comes_back() -> None:
    budget = ByteBudget(100)
    reservation: Reservation | None = await budget.reserve(100)
    assert reservation is not None
    waiting = asyncio.create_task(budget.reserve(1))
    await settled()
    reservation = None
    gc.collect()
    async with asyncio.timeout(5):
        await waiting


async def test_many_pipelines_under_one_budget_all_end() -> None:
    chance, budget, greatest = random.Random(11), ByteBudget(100), 0

    async def run() -> None:
        """As a run does: the next page is read while this one is committed, and waited for afterwards."""
        nonlocal greatest

        async def read() -> Reservation:
            nonlocal greatest
            held = await budget.reserve(chance.randint(1, 60))
            greatest = max(greatest, budget.used)
            await asyncio.sleep(0)
            return held

        page = await read()
        for _ in range(20):
            ahead = asyncio.create_task(read())
            await asyncio.sleep(0)
            page.release()
            page = await ahead
        page.release()

    async with asyncio.timeout(30):
        await asyncio.gather(*(run() for _ in range(100)))
    assert budget.used == 0
    assert greatest <= 100


def reader(bench: Bench, budget: ByteBudget) -> PageReader:
    sizer = PageSizer(rows_max=50, page_bytes_max=1 << 20, event_bytes_max=900_000)
    return PageReader(pipeline(), bench.source, sizer, room=no_wait, budget=budget)


async def test_a_page_holds_what_it_takes_until_it_is_done() -> None:
    bench = await Bench().registered()
    bench.insert(*range(1, 40))
    budget = ByteBudget(1 << 20)
    schema = await row_schema(bench.source, pipeline())
    page = await reader(bench, budget).read(schema, KeyRange(after=None))
    assert budget.used == page.rows.batch.nbytes > 0
    page.done()
    page.done()
    assert budget.used == 0


async def test_a_read_that_fails_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await Bench().registered()
    budget = ByteBudget(1 << 20)
    schema = await row_schema(bench.source, pipeline())

    async def fail(request: ReadRequest) -> Any:
        raise SourceUnavailableError("away")

    monkeypatch.setattr(bench.source, "read", fail)
    with pytest.raises(SourceUnavailableError):
        await reader(bench, budget).read(schema, KeyRange(after=None))
    assert budget.used == 0


async def test_runs_of_many_pipelines_share_a_budget_smaller_than_one_page() -> None:
    benches = [await Bench().registered() for _ in range(8)]
    budget = ByteBudget(1)
    runs = []
    for bench in benches:
        bench.insert(*range(1, 30))
        use = bench.use_case(page_rows=5)
        use._reader._budget = budget
        runs.append(use.run())
    async with asyncio.timeout(60):
        await asyncio.gather(*runs)
    assert budget.used == 0
    assert all(bench.store.pipelines[NAME].state.snapshot_ended_at is not None for bench in benches)
