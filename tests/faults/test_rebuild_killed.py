"""25: a rebuild beside live load that is killed at each of its steps, and two of one pipeline at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.gates import Gate
from tests.faults.watching import NOW, OLD, Audit, drained, parked

from qupersync_local.services import ServiceProcess
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(25), pytest.mark.integration]

_SHADOW = "SELECT shadow_schema || '.' || shadow_table FROM qupersync_rebuild WHERE ended_at IS NULL"


class _Rebuilds:
    """One rebuild after the other, each killed where it stands."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kills = 0
        self.rows = 0
        self._live: Any = None

    async def begin(self, *arguments: str) -> ServiceProcess:
        self._live = await self._identity()
        process = self.world.services.operate(f"rebuild-{self.kills}", "rebuild", self.world.name, *arguments)
        await process.start()
        return process

    async def kill(self, process: ServiceProcess) -> None:
        await process.kill()
        self.kills += 1
        del self.world.services.processes[process.name]

    async def untouched(self) -> None:
        """The live table is the one it was before, and loading has gone on in it."""
        assert await self._identity() == self._live
        await self.grow()

    async def grow(self) -> None:
        self.rows += 20
        await self.world.insert(self.rows - 19, self.rows, moment=NOW)
        await drained(self.world, self.rows)

    async def _identity(self) -> Any:
        return await self.world.app.fetchrow(
            "SELECT oid, relfilenode, relowner, relacl::text FROM pg_class WHERE oid = $1::text::regclass",
            self.world.target,
        )


@asynccontextmanager
async def _locked(world: World, table: str, mode: str) -> AsyncIterator[None]:
    """Somebody else has the table in an open transaction."""
    connection = await asyncpg.connect(world.services_target_dsn)
    try:
        await connection.execute(f"BEGIN; LOCK TABLE {table} IN {mode} MODE")
        yield
        await connection.execute("ROLLBACK")
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.close(timeout=5)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_the_live_table_is_untouched_while_a_rebuild_is_killed_at_each_step(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world:
        rebuilds = _Rebuilds(world)
        rebuilds.rows = 1_500
        await world.insert(1, rebuilds.rows, moment=OLD)
        await world.migrate()
        await world.services.run()
        await world.wait_for_snapshot(None)
        async with Audit.opened(world) as audit:
            await _while_it_reads(rebuilds)
            await _in_a_phase(rebuilds, "comparing")
            await _in_a_phase(rebuilds, "swapping")
            await _while_it_waits_for_readers(rebuilds)
            swapped = await _inside_its_commit(rebuilds)
            await _to_its_end(rebuilds)
            facts["watermarks"] = await audit.count()
        assert await parked(world) == (0, 0)
        assert await world.app.fetchval("SELECT count(*) FROM qupersync_pipeline") == 1
        facts |= {"rows": rebuilds.rows, "kills": rebuilds.kills, "swapped by the killed commit": swapped}


async def _while_it_reads(rebuilds: _Rebuilds) -> None:
    """Inside the transaction that applies an event to the shadow; and a second rebuild is refused meanwhile."""
    world = rebuilds.world
    async with Gate.opened(
        world.services_target_dsn,
        "public.qupersync_watermark",
        when="strpos(NEW.group_name, '~rebuild') > 0",
        event="INSERT OR UPDATE",
    ) as gate:
        await gate.shut()
        process = await rebuilds.begin()
        backends = await gate.wait_for_waiting(seconds_max=180)
        second = await world.operate("rebuild", world.name)
        assert second.code == 1, second
        assert "is being rebuilt by" in second.err
        await rebuilds.kill(process)
        await gate.open()
        await gate.wait_for_gone(*backends)
    await rebuilds.untouched()


async def _in_a_phase(rebuilds: _Rebuilds, phase: str) -> None:
    """As it says what it is about to do, with what the killed one left, which this one goes on with."""
    world = rebuilds.world
    shadow = await world.app.fetchval(_SHADOW)
    assert shadow is not None, "the killed rebuild left nothing"
    async with Gate.opened(
        world.services_target_dsn, "public.qupersync_rebuild", when=f"NEW.phase = '{phase}'"
    ) as gate:
        await gate.shut()
        process = await rebuilds.begin()
        backends = await gate.wait_for_waiting(seconds_max=180)
        await rebuilds.untouched()
        await rebuilds.kill(process)
        await gate.open()
        await gate.wait_for_gone(*backends)
    assert await world.app.fetchval(_SHADOW) == shadow


async def _while_it_waits_for_readers(rebuilds: _Rebuilds) -> None:
    """A reader has the live table: the swap does not get it, loading goes on, and then the rebuild is killed."""
    world = rebuilds.world
    async with _locked(world, world.target, "ACCESS SHARE"):
        process = await rebuilds.begin("--json")
        await eventually(
            "the rebuild does not wait for readers",
            lambda: _said(process, '"waits"'),
            seconds_max=180,
        )
        await rebuilds.untouched()
        await rebuilds.kill(process)
    await rebuilds.untouched()


async def _inside_its_commit(rebuilds: _Rebuilds) -> bool:
    """The one moment at which either may be: all of the swap, or nothing of it; whether it was all."""
    world = rebuilds.world
    async with Gate.opened(
        world.services_target_dsn,
        "public.qupersync_rebuild",
        when="NEW.phase = 'swapped'",
        at_commit=True,
    ) as gate:
        await gate.shut()
        process = await rebuilds.begin()
        before = rebuilds._live
        backends = await gate.wait_for_waiting(seconds_max=180)
        await rebuilds.kill(process)
        await gate.open()
        await gate.wait_for_gone(*backends)
    swapped = bool(await rebuilds._identity() != before)
    assert swapped is bool(await world.app.fetchval(_SHADOW) is None)
    await rebuilds.grow()
    return swapped


async def _to_its_end(rebuilds: _Rebuilds) -> None:
    world = rebuilds.world
    stop = asyncio.Event()

    async def change() -> None:
        while not stop.is_set():
            rebuilds.rows += 1
            await world.insert(rebuilds.rows, rebuilds.rows, moment=NOW)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.1)

    task = asyncio.create_task(change())
    try:
        done = await world.operate("rebuild", world.name)
    finally:
        stop.set()
        await task
    assert done.code == 0, done
    assert "swapped" in done.out
    await drained(world, rebuilds.rows)


async def _said(process: ServiceProcess, words: str) -> bool:
    assert process.running, process.tail()
    return words in process.log.read_text("utf-8", errors="replace")
