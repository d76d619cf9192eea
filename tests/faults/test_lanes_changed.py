"""30: the number of lanes is changed while the lanes lag by different amounts. No older state wins, nothing is lost."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import yaml
from tests.e2e.world import World, opened
from tests.faults.gates import Gate
from tests.faults.watching import NOW, OLD, Audit, drained, parked

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(30), pytest.mark.integration]


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_stale_overwrite_when_lanes_change_while_they_lag_by_different_amounts(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline={"lanes": 3}) as world:
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        loader = world.services.add("loader", LOADER, "run")
        extractor = world.services.add("extractor", EXTRACTOR, "run")
        await loader.start()
        await extractor.start()
        await world.wait_for_snapshot(None)
        rows, lags = 300, []
        async with Audit.opened(world) as audit, _gates(world) as gates:
            for lanes in (5, 2):
                lags.append(await _lag(world, gates, lanes))
                await extractor.stop()
                _configure(world, lanes)
                answer = await world.operate("reset", world.name, "--yes")
                assert answer.code == 0, answer
                await extractor.start()
                await world.wait_for("a log with other lanes", lambda one, lanes=lanes: one.lanes == lanes)
                await _touch(world, f"read with {lanes} lanes")
                for gate in gates:
                    await gate.open()
                await drained(world, rows)  # by a loader whose configuration still says otherwise
                await loader.stop()
                await loader.start()
                await world.insert(rows + 1, rows + 100)
                rows += 100
                await drained(world, rows)
            await audit.assert_in_order()
        standing = await world.standing()
        assert (standing.lanes, set(standing.watermarks)) == (2, {0, 1})
        assert await parked(world) == (0, 0)
        facts |= {"rows": rows, "lanes": "3, 5, 2", "lags": lags}


@asynccontextmanager
async def _gates(world: World) -> AsyncIterator[Sequence[Gate]]:
    """A gate before the watermark of lane 0, and one before that of lane 1."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                Gate.opened(
                    world.services_target_dsn,
                    "public.qupersync_watermark",
                    when=f"NEW.lane = {lane}",
                    event="INSERT OR UPDATE",
                )
            )
            for lane in (0, 1)
        ]


async def _lag(world: World, gates: Sequence[Gate], lanes: int) -> str:
    """Lane 0 is held, some pages later lane 1; the others go on. How far the three kinds of lanes lag."""
    for gate in gates:
        await gate.shut()
        await _touch(world, f"before {lanes} lanes, {gate.number}")
        await gate.wait_for_waiting()
        reached = (await world.standing()).sequence
        await world.wait_for(
            "lanes that are not held go on", lambda one, reached=reached: one.watermarks[2] >= (one.log, reached)
        )
    standing = await world.standing()
    lags = [standing.sequence - standing.watermarks[lane][1] for lane in (0, 1, 2)]
    assert lags[0] > lags[1] > lags[2], f"the lanes do not lag by different amounts: {lags}"
    return "/".join(map(str, lags))


async def _touch(world: World, name: str) -> None:
    await world.source.execute(f"UPDATE {world.table} SET name = $1, updated_at = {NOW}", name)


def _configure(world: World, lanes: int) -> None:
    tree = world.configuration
    tree["pipelines"][world.name]["lanes"] = lanes
    world.services.configuration.write_text(yaml.safe_dump(tree), encoding="utf-8")
