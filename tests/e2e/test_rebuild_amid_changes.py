"""A rebuild while what it stands on changes: the source's columns, the log, and what the stream still holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.e2e.test_rebuild import ROWS, loaded, rebuild, told
from tests.e2e.world import World, eventually
from tests.faults.gates import Gate
from tests.faults.watching import drained, jetstream

from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
SHADOW = "strpos(NEW.group_name, '~') > 0 AND (NEW.log, NEW.sequence) = (1, 2)"


@asynccontextmanager
async def amid_reading(world: World) -> AsyncIterator[None]:
    """A rebuild that is in the middle of its reading while the block runs, and swaps afterwards."""
    await loaded(world)
    async with Gate.opened(
        world.services_target_dsn, "public.qupersync_watermark", when=SHADOW, event="INSERT OR UPDATE"
    ) as gate:
        await gate.shut()
        rebuilding = asyncio.create_task(rebuild(world, "--json"))
        await gate.wait_for_waiting(seconds_max=120)
        yield
        await gate.open()
        answer = await rebuilding
    assert told(answer, "ended") == [{"event": "ended", "phase": "swapped", "equal": True, "kept": None}], answer
    await drained(world, ROWS)
    assert json.loads((await rebuild(world, "--dry-run", "--json")).out)["found"] is None


async def test_a_column_is_added(world: World) -> None:
    added = "SELECT count(*) > 0 FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'extra'"
    async with amid_reading(world):
        await world.source.execute(
            f"ALTER TABLE {world.table} ADD COLUMN extra varchar(20); "
            f"UPDATE {world.table} SET extra = 'x', updated_at = timezone('UTC', clock_timestamp())"
        )
        await eventually("a new column", lambda: world.app.fetchval(added, world.target))
    assert await world.app.fetchval(f"SELECT count(*) FROM {world.target} WHERE extra = 'x'") == ROWS


async def test_the_stream_loses_what_was_to_be_read(world: World) -> None:
    async with amid_reading(world):
        before = (await world.standing()).snapshot
        await world.trigger()
        await world.wait_for_snapshot(before)
        async with jetstream(world) as js:
            stream = stream_name(PipelineName(world.name))
            first = (await js.stream_info(stream)).state.first_seq
            await js.purge_stream(stream, seq=first + 15)


async def test_a_new_log_begins(world: World) -> None:
    begun = "SELECT bool_or(log = 2) FROM qupersync_pipeline WHERE strpos(group_name, '~') = 0"
    async with amid_reading(world):
        answer = await world.operate("reset", world.name, "--yes")
        assert answer.code == 0, answer
        await eventually("the new log", lambda: world.app.fetchval(begun))
