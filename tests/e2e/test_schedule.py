"""Two extractors by one crontab: each occurrence is somebody's, and nobody's twice; a restart runs nothing again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise

import asyncpg
import pytest
from tests.e2e.editing import edit_and_wait
from tests.e2e.world import World, eventually, opened

from qupersync_local.services import EXTRACTOR
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e

RUNS = 8
_WATCHED = """
    CREATE TABLE whole_run (number bigserial, covers timestamptz NOT NULL);
    CREATE FUNCTION whole_run() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO whole_run (covers) VALUES (NEW.covers); RETURN NULL; END
    $$;
    CREATE TRIGGER whole_run AFTER INSERT OR UPDATE ON qupersync.last_run FOR EACH ROW EXECUTE FUNCTION whole_run()
"""


@pytest.mark.timeout(240)
async def test_each_occurrence_of_a_crontab_makes_one_run_in_one_of_two_extractors(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, pipeline={"schedule": {"cron": "* * * * * *"}}) as world:
        await world.insert(1, 100)
        await world.migrate()
        async with _watched(world) as outbox:
            for number in (1, 2):
                await world.services.add(f"extractor-{number}", EXTRACTOR, "run").start()
            await _runs(world, outbox, more=RUNS)
            await world.services.processes.pop("extractor-1").stop()
            await _runs(world, outbox, more=3)  # the other one goes on alone
            seconds = [moment.replace(microsecond=0) for moment in await _covered(outbox)]
            # A run covers its occurrence and all before it: another one in the same second would be the same again.
            # Two that find a pipeline which has never run may both begin at once.
            assert all(one < later for one, later in pairwise(seconds[1:])), seconds

            shown = (await world.status())["pipelines"][world.name]["schedule"]
            assert (shown["text"], shown["paused"], shown["requested"]) == ("cron * * * * * * (UTC)", False, False)
            assert shown["next_run_at"] is not None

            # An hourly schedule has nothing to do so soon, neither now nor after a restart.
            await edit_and_wait(world, lambda tree: _schedule(tree, world.name, {"every": "1h"}))
            made = len(await _covered(outbox))
            await world.services.processes.pop("extractor-2").stop()
            await world.services.add("extractor-3", EXTRACTOR, "run").start()
            await eventually("it has begun", lambda: _begun(outbox))
            await world.trigger("incremental")  # which is the only run that it makes
            await _runs(world, outbox, more=1)
            assert len(await _covered(outbox)) == made + 1


def _schedule(tree: dict[str, object], name: str, schedule: dict[str, str]) -> None:
    pipelines = tree["pipelines"]
    assert isinstance(pipelines, dict)
    pipelines[name]["schedule"] = schedule


@asynccontextmanager
async def _watched(world: World) -> AsyncIterator[asyncpg.Connection]:
    """The outbox database, which writes down every whole run."""
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        await connection.execute(_WATCHED)
        yield connection
    finally:
        await connection.close()


async def _covered(outbox: asyncpg.Connection) -> list[datetime]:
    return [row["covers"] for row in await outbox.fetch("SELECT covers FROM whole_run ORDER BY number")]


async def _begun(outbox: asyncpg.Connection) -> bool:
    """An extractor has its lanes, and looks at its timetable: what is due at once comes before what is asked now."""
    return bool(await outbox.fetchval("SELECT count(*) FROM qupersync.relay_cursor WHERE owner IS NOT NULL"))


async def _runs(world: World, outbox: asyncpg.Connection, *, more: int) -> None:
    before = len(await _covered(outbox))

    async def made() -> bool:
        world.services.check()
        return len(await _covered(outbox)) >= before + more

    await eventually(f"{more} more runs are made", made, seconds_max=90)
