"""Source, NATS or target away, at start-up and in mid-run: retried, shown with a reason, nothing lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from tests.e2e.world import ROWS, World, eventually, opened
from tests.faults.all_well import all_well

from qupersync_local.postgres import LocalPostgres
from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e
# Each probe has three seconds, at once with the others; the rest is for a machine that has other work.
ANSWER_SECONDS_MAX = 30.0
OLD = "timestamp '2024-01-01' + n * interval '1 millisecond'"


@pytest.fixture(scope="module")
def fragile() -> Iterator[ThreadedStack]:
    """A stack of our own, whose pieces may be taken away."""
    with ThreadedStack(options=StackOptions(fast=True)) as stack:
        yield stack


@asynccontextmanager
async def _own_target() -> AsyncIterator[LocalPostgres]:
    """A server for the target alone, so that it can go without the outbox."""
    async with LocalPostgres.start(fast=True, name="target") as server:
        yield server


class Piece:
    """One of the servers: how it goes away and comes back, and what the reason must name."""

    def __init__(self, area: str, kill: Callable[[], Awaitable[Any]], run: Callable[[], Awaitable[Any]]) -> None:
        self.area = area
        self.kill = kill
        self.run = run


def _pieces(stack: ThreadedStack, target: LocalPostgres) -> list[Piece]:
    def on_stack(make: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
        return lambda: asyncio.to_thread(lambda: stack.call(make()))

    source, nats = stack.stack.source, stack.stack.nats
    return [
        Piece("source", on_stack(source.kill), on_stack(source.run)),
        Piece("nats", on_stack(nats.kill), on_stack(nats.run)),
        Piece("target", target.kill, target.run),
    ]


@pytest.mark.timeout(400)
async def test_visible_and_no_loss_whatever_is_unreachable(fragile: ThreadedStack) -> None:
    async with _own_target() as target, opened(fragile, target={"dsn": target.dsn("postgres")}) as world:
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        pieces = _pieces(fragile, target)
        for piece in pieces:
            await piece.kill()
        await world.services.run()
        for piece in pieces:
            await _reason_appears(world)
            await piece.run()
        await _reason_goes(world)
        await eventually("the first snapshot in the target", lambda: _equal(world, 300))

        for number, piece in enumerate(pieces):
            await piece.kill()
            await _reason_appears(world)
            if piece.area == "source":
                await piece.run()
            await _insert(world, 301 + 100 * number, 400 + 100 * number)
            if piece.area != "source":
                await piece.run()
            await _reason_goes(world)
        world.services.check()
        await eventually("what changed during the outages", lambda: _equal(world, 600))


async def _reason_appears(world: World) -> None:
    """Whatever is away, `status` answers, and comes to say why nothing moves."""

    async def given() -> bool:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return (await world.status())["reason"] is not None

    await eventually("no reason was given", given, pause_seconds=0.3)


async def _reason_goes(world: World) -> None:
    await all_well(world)
    world.services.check()


async def _insert(world: World, first: int, last: int) -> None:
    connection = await asyncpg.connect(world.stack.stack.source.owner_dsn)
    try:
        await connection.execute(
            ROWS.format(table=world.table, first=first, last=last, moment="timezone('UTC', transaction_timestamp())")
        )
    finally:
        await connection.close()


async def _equal(world: World, rows: int) -> bool:
    """Whether exactly these rows are on both sides. The table may not be there yet."""
    try:
        compared = await world.compare()
    except (asyncpg.UndefinedTableError, OSError):
        return False
    world.services.check()
    return compared.same and compared.equal == rows
