"""16: the target is killed and away for long, ends a deadlock, or times a lock out: tried again, nothing parked."""

import asyncio

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import NOW, OLD, Audit, drained, parked, shown, told_by_all, watermark_gate

from qupersync_local.postgres import LocalPostgres
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(16), pytest.mark.integration, pytest.mark.timeout(420)]
AWAY_SECONDS = 15.0  # three times ack_wait


@pytest.mark.long
async def test_nothing_parked_when_the_target_is_killed_inside_a_transaction_and_away_for_long(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with (
        LocalPostgres.start(fast=True, name="target") as target,
        opened(local_stack, target={"dsn": target.dsn("postgres")}) as world,
    ):
        await _begin(world)
        async with Audit.opened(world) as audit:
            async with watermark_gate(world) as gate:
                await gate.shut()
                await world.insert(301, 600)
                await gate.wait_for_waiting()
                before = await audit.marks()
                await target.kill()  # the gate's lock goes with it
            await shown(world, "target")
            await world.insert(601, 900)
            await asyncio.sleep(AWAY_SECONDS)  # how long it is away; not waited for anything
            await target.run()
        async with Audit.resumed(world) as audit:
            assert (await audit.marks())[: len(before)] == before
        await drained(world, 900)
        await target.restart()
        await world.insert(901, 1_000)
        await drained(world, 1_000)
        async with Audit.resumed(world) as audit:
            marks = await audit.assert_in_order()
        assert await parked(world) == (0, 0)
        facts |= {"rows": 1_000, "events": marks, "kills": 1, "restarts": 1}


@pytest.mark.long
async def test_nothing_parked_by_a_deadlock(local_stack: ThreadedStack, facts: dict[str, object]) -> None:
    async with opened(local_stack, pipeline={"lanes": 1}) as world:
        name = world.services_target_dsn.rpartition("/")[2]
        postgres = local_stack.stack.postgres
        # The loader looks for the deadlock it waits in; the other party of it never does.
        slow = postgres.execute(f"ALTER DATABASE \"{name}\" SET deadlock_timeout = '2s'")
        await asyncio.to_thread(local_stack.call, slow)
        await _begin(world)
        other = await asyncpg.connect(postgres.dsn(name), server_settings={"deadlock_timeout": "10min"})
        try:
            async with Audit.opened(world) as audit:
                transaction = other.transaction()
                await transaction.start()
                await other.execute(f"UPDATE {world.target} SET flag = NOT flag WHERE id = 200")
                await _touch(world)
                await eventually("the loader does not wait", lambda: _waits(world), pause_seconds=0.02)
                await other.execute(f"UPDATE {world.target} SET flag = NOT flag WHERE id BETWEEN 100 AND 199")
                await transaction.rollback()
                await drained(world, 300)
                await audit.assert_in_order()
        finally:
            await other.close()
        refused = [one for one in told_by_all(world, "event_not_applied") if "40P01" in one["error"]]
        assert refused, "there was no deadlock, or the loader was not its victim"
        assert await parked(world) == (0, 0)
        facts |= {"rows": 300, "deadlocks": len(refused)}


@pytest.mark.long
async def test_nothing_parked_by_a_lock_timeout(local_stack: ThreadedStack, facts: dict[str, object]) -> None:
    async with opened(local_stack, pipeline={"lanes": 1}) as world:
        await _begin(world)
        async with Audit.opened(world) as audit:
            other = await asyncpg.connect(world.services_target_dsn)
            try:
                async with other.transaction():
                    await other.execute(f"LOCK TABLE {world.target} IN SHARE MODE")
                    await _touch(world)
                    await shown(world, "55P03")
            finally:
                await other.close()
            await drained(world, 300)
            await audit.assert_in_order()
        refused = [one for one in told_by_all(world, "event_not_applied") if "55P03" in one["error"]]
        assert refused
        assert await parked(world) == (0, 0)
        facts |= {"rows": 300, "lock timeouts": len(refused)}


async def _begin(world: World) -> None:
    """The first 300 rows are loaded."""
    await world.insert(1, 300, moment=OLD)
    await world.migrate()
    await world.services.run()
    await world.wait_for_snapshot(None, seconds_max=180)
    await world.wait_for("everything applied", lambda one: one.level, seconds_max=180)


async def _touch(world: World) -> None:
    await world.source.execute(
        f"UPDATE {world.table} SET amount = amount + 1, updated_at = {NOW} WHERE id BETWEEN 100 AND 200"
    )


async def _waits(world: World) -> bool:
    """Whether a loader waits for a lock on a row."""
    return bool(
        await world.app.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND application_name LIKE 'qupersync-loader%'"
        )
    )
