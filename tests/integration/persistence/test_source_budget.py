"""Extractors that contend for one source, each with its own connections: the budget holds, and nobody is forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.source_turns import SourceTurns
from qupersync_extractor.domain.source_budget import Amount, SourceLimits
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_extractor.infrastructure.postgres.source_use import PostgresSourceUse
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.database import create_engine
from qupersync_shared.runtime.lifecycle import end_tasks

PAGE = 100
PAGES = 6


@asynccontextmanager
async def extractor(dsn: str, name: str, limits: SourceLimits, *, seconds: float = 30) -> AsyncIterator[SourceTurns]:
    """What a process has of its own: connections, a listener, a place in the queue."""
    engine = create_engine(dsn, application_name=f"qupersync-{name}", connections=2)
    signals = PostgresSignals(dsn)
    turns = SourceTurns(use=PostgresSourceUse(engine, signals), owner=name, limits=limits, seconds=seconds)
    try:
        yield turns
    finally:
        await turns.close()
        await signals.close()
        await engine.dispose()


@dataclass
class Source:
    """Counts who reads it at once."""

    now: int = 0
    most: int = 0
    pages: list[str] = field(default_factory=list)

    async def read(self, turns: SourceTurns, name: str) -> None:
        turn = turns.ask(PipelineName(name), Amount(rows=PAGE, bytes=PAGE))
        try:
            await turn.granted
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.005)
            turn.count(PAGE, PAGE)
            self.pages.append(name)
            self.now -= 1
        finally:
            turn.end()

    async def pipeline(self, turns: SourceTurns, name: str) -> None:
        for _ in range(PAGES):
            await self.read(turns, name)


async def taken(engine: AsyncEngine) -> int:
    """All rows that are booked."""
    async with engine.connect() as connection:
        found: int = (await connection.execute(sa.select(sa.func.sum(tables.source_use.c.rows)))).scalar_one()
        return found


async def test_two_extractors_keep_one_budget_and_every_page_is_booked_once(
    outbox_dsn: str, engine: AsyncEngine
) -> None:
    limits = SourceLimits(reads=2, rows_per_minute=1_000_000)
    source = Source()
    async with AsyncExitStack() as closing:
        processes = [
            await closing.enter_async_context(extractor(outbox_dsn, name, limits)) for name in ("one", "other")
        ]
        async with asyncio.timeout(120):
            await asyncio.gather(
                *(source.pipeline(turns, f"{turns.owner}-{number}") for turns in processes for number in range(4))
            )
    assert source.most == 2
    assert len(source.pages) == 8 * PAGES
    # In the order of asking: nobody is a whole round ahead of another for long.
    half = source.pages[: len(source.pages) // 2]
    assert {source.pages.count(name) for name in source.pages} == {PAGES}
    assert min(half.count(name) for name in set(source.pages)) >= 1
    assert await taken(engine) == 8 * PAGES * PAGE


async def test_a_minute_s_rows_are_shared_and_the_rest_waits(outbox_dsn: str, engine: AsyncEngine) -> None:
    limits = SourceLimits(rows_per_minute=2 * PAGE)
    source = Source()
    async with AsyncExitStack() as closing:
        processes = [
            await closing.enter_async_context(extractor(outbox_dsn, name, limits)) for name in ("one", "other")
        ]
        # Overdrawn by so much that no minute that begins meanwhile makes it good.
        first = processes[0].ask(PipelineName("first"), Amount(rows=100 * PAGE))
        async with asyncio.timeout(30):
            await first.granted
            first.count(100 * PAGE, 0)
            first.end()
            waiting = [asyncio.create_task(source.read(turns, turns.owner)) for turns in processes]
            held_up: list[str | None] = []
            while len(held_up) < 2 or not all(held_up):
                await asyncio.sleep(0.05)
                held_up = [turn.held_up for turns in processes for turn in turns._turns.values()]
        assert all("rows of 200 are taken or being read (source.budget.rows_per_minute)" in str(one) for one in held_up)
        assert source.pages == []
        async with engine.begin() as connection:  # an hour passes
            await connection.execute(sa.text("UPDATE qupersync.source_use SET minute = minute - interval '1 hour'"))
        async with asyncio.timeout(30):
            await asyncio.gather(*waiting)
    assert len(source.pages) == 2


async def test_the_turn_of_an_extractor_that_died_comes_back_when_its_lease_is_over(outbox_dsn: str) -> None:
    limits = SourceLimits(reads=1)
    source = Source()
    async with (
        extractor(outbox_dsn, "other", limits) as other,
        extractor(outbox_dsn, "dead", limits, seconds=1.5) as dead,
    ):
        held = dead.ask(PipelineName("held"), Amount(rows=PAGE))
        async with asyncio.timeout(30):
            await held.granted
        assert dead._asking is not None
        await end_tasks([dead._asking])  # it is not heard of any more
        async with asyncio.timeout(60):
            await source.read(other, "other")
    assert source.pages == ["other"]
