"""14: a loader stopped with an event in its hands, past ack_wait; another one applies it and more; then it resumes."""

import signal

import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.routes import Route, routed
from tests.faults.watching import NOW, OLD, Audit, drained, jetstream, parked, redelivered, retire

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(14), pytest.mark.integration]


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_stale_overwrite_by_a_loader_stopped_with_an_event_in_its_hands(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with (
        opened(local_stack, pipeline={"lanes": 1}) as world,
        routed(world, "nats") as stream,
        routed(world, "target") as target,
    ):
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        async with Audit.opened(world) as audit, jetstream(world) as js:
            await world.services.add("extractor", EXTRACTOR, "run").start()
            ways = {**stream.environment, **target.environment}
            stopped = world.services.add("stopped", LOADER, "run", environment=ways)
            await stopped.start()
            await world.wait_for_snapshot(None)

            def hold(chunk: bytes) -> None:
                if b"ce-sequence" in chunk:  # its event comes, and what it has to say of it does not reach the target
                    target.proxy.hold()

            stream.proxy.watch = hold
            await _touch(world, "older")
            await eventually("the event did not come", lambda: _withheld(target), pause_seconds=0.02)
            stream.proxy.watch = None
            stopped.send(signal.SIGSTOP)
            before = await audit.marks()
            other = world.services.add("other", LOADER, "run")
            await other.start()
            await _touch(world, "newer")
            await eventually("the other loader did not go on", lambda: _applied(world, "newer"))
            assert target.proxy.withheld, "the stopped loader got through"
            taken = (await audit.marks())[len(before) :]
            assert len(taken) >= 2, "the event in the stopped loader's hands was not applied by the other one"

            await retire(world, other)
            target.proxy.release()
            stopped.send(signal.SIGCONT)
            await world.insert(301, 500)
            await drained(world, 500)  # by the one that was stopped: there is no other any more
            assert await _applied(world, "newer"), "an older state came back"
            await audit.assert_in_order()
            again = await redelivered(js, world, lanes=1)
        assert again >= 1
        assert await parked(world) == (0, 0)
        facts |= {"rows": 500, "stops": 1, "redeliveries": again}


async def _touch(world: World, name: str) -> None:
    await world.source.execute(f"UPDATE {world.table} SET name = $1, updated_at = {NOW} WHERE id <= 100", name)


async def _withheld(target: Route) -> bool:
    return bool(target.proxy.withheld)


async def _applied(world: World, name: str) -> bool:
    world.services.check()
    return bool(await world.app.fetchval(f"SELECT count(*) = 100 FROM {world.target} WHERE name = $1", name))
