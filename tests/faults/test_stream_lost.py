"""12: the stream is purged, or deleted and declared anew, with events in it that no loader has seen."""

import signal

import asyncpg
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import NOW, OLD, Audit, drained, generations, jetstream, parked, told_by_all

from qupersync_local.committed import Standing
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(12), pytest.mark.integration, pytest.mark.timeout(420)]
FIRST = 600
LOST = 1_400
ROWS = 1_600


async def test_no_loss_when_unseen_events_are_deleted_with_their_stream(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world:
        resends = await _lost(world, facts, how="delete")
        assert resends >= 1, "nobody asked for what the stream lost"
        assert (await world.standing()).log == 1


@pytest.mark.long
async def test_no_loss_when_unseen_events_are_purged(local_stack: ThreadedStack, facts: dict[str, object]) -> None:
    async with opened(local_stack) as world:
        resends = await _lost(world, facts, how="purge")
        assert resends >= 1, "nobody asked for what the stream lost"
        assert (await world.standing()).log == 1


@pytest.mark.long
async def test_a_baseline_when_stream_and_outbox_have_lost_what_nobody_saw(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world:
        await _lost(world, facts, how="delete", outbox_too=True)
        gaps = told_by_all(world, "gap")
        assert any(gap["answer"] == "unavailable" for gap in gaps), "the outbox had it after all"


async def _lost(world: World, facts: dict[str, object], *, how: str, outbox_too: bool = False) -> int:
    """Loaders stand still while events come and are lost; how often a lane was sent back to publish anew."""
    await world.insert(1, FIRST, moment=OLD)
    await world.migrate()
    async with Audit.opened(world) as audit, jetstream(world) as js:
        await world.services.run()
        before = (await _standing_still(world)).snapshot
        loader = world.services.processes["loader"]
        loader.send(signal.SIGSTOP)
        await world.insert(FIRST + 1, LOST)
        await world.source.execute(f"UPDATE {world.table} SET flag = NOT flag, updated_at = {NOW} WHERE id <= 300")
        await eventually("nothing was published", lambda: _published(world, LOST - FIRST + 300))
        lost = await _unseen(world)
        assert lost, "there is nothing to lose"
        if outbox_too:
            await _forget_outbox(world)
        await _lose(js, world, how)
        loader.send(signal.SIGCONT)
        await eventually("the stream was not declared anew", lambda: _declared(js, world))
        await world.insert(LOST + 1, ROWS)
        await drained(world, ROWS)
        await audit.assert_in_order()
        resends = await generations(world)
    assert await parked(world) == (0, 0)
    after = await world.standing()
    assert (after.snapshot != before) == outbox_too, "a snapshot is for what cannot be sent again"
    facts |= {
        "rows": ROWS,
        "events lost": lost,
        "gaps": len(told_by_all(world, "gap")),
        "resends": resends,
    }
    return resends


async def _standing_still(world: World) -> Standing:
    await world.wait_for_snapshot(None, seconds_max=180)
    return await world.wait_for("everything applied", lambda one: one.level, seconds_max=180)


async def _published(world: World, rows: int) -> bool:
    """Whether so many rows more than are loaded stand in the stream, and all that was extracted does."""
    world.services.check()
    one = await world.standing()
    return one.published.rows >= one.loaded.rows + rows and one.published.events == one.extracted.events


async def _unseen(world: World) -> int:
    one = await world.standing()
    return one.published.events - one.loaded.events


async def _forget_outbox(world: World) -> None:
    """What its retention would drop: everything that was published."""
    outbox = await asyncpg.connect(world.configuration["outbox"]["dsn"])
    try:
        await outbox.execute("DELETE FROM qupersync.outbox")
    finally:
        await outbox.close()


async def _lose(js: JetStreamContext, world: World, how: str) -> None:
    name = stream_name(PipelineName(world.name))
    if how == "purge":
        await js.purge_stream(name)
        assert (await js.stream_info(name)).state.messages == 0
    else:
        assert await js.delete_stream(name)


async def _declared(js: JetStreamContext, world: World) -> bool:
    try:
        await js.stream_info(stream_name(PipelineName(world.name)))
    except NotFoundError:
        return False
    return True
