"""A stream much smaller than what goes through it: it frees itself, plans snapshots, and nothing is lost (B, L, V)."""

import json
from functools import partial

import pytest
from tests.e2e.world import World, eventually, opened

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e

COLUMNS = "id bigint NOT NULL, note varchar(60000), updated_at timestamp"
# Hardly compressible: 250 rows are about half a megabyte.
ROWS = """
    INSERT INTO {table}
    SELECT n, (SELECT string_agg(md5(random()::text || n || j), '') FROM generate_series(1, 120) AS j),
           timezone('UTC', transaction_timestamp())
    FROM generate_series({first}, {last}) AS n
"""
BYTES_MAX = 2 << 20
STEP = 250
# A full stream is looked at now and then, and each look frees a part of it: more steps than elsewhere.
SECONDS_MAX = 240.0


async def insert(world: World, first: int) -> None:
    await world.source.execute(ROWS.format(table=world.table, first=first, last=first + STEP - 1))


async def loaded(world: World, rows: int) -> bool:
    world.services.check()
    relation = await world.app.fetchval("SELECT to_regclass($1)", world.target)
    return relation is not None and await world.app.fetchval(f"SELECT count(*) FROM {world.target}") == rows


async def all_loaded(world: World, rows: int) -> None:
    """Says where everything stands when it takes too long."""
    try:
        await eventually("", partial(loaded, world, rows), seconds_max=SECONDS_MAX)
    except AssertionError:
        count = await world.app.fetchval(f"SELECT count(*) FROM {world.target}")
        said = (await world.status())["pipelines"][world.name]
        raise AssertionError(
            f"{count} of {rows} rows after {SECONDS_MAX:g} s; {await world.standing()}; {said}"
        ) from None


@pytest.mark.timeout(900)
async def test_more_than_the_stream_holds_goes_through_it_and_a_dead_group_is_named(
    local_stack: ThreadedStack,
) -> None:
    nats = local_stack.describe()["nats"] | {"stream_bytes_max": BYTES_MAX}
    async with opened(local_stack, columns=COLUMNS, nats=nats, pipeline={"lanes": 2, "page_rows": 100}) as world:
        await world.migrate()
        await insert(world, 1)
        await world.services.add("run", EXTRACTOR, "run").start()
        loader = world.services.add("load", LOADER, "run")
        await loader.start()
        first = 1
        for _ in range(5):
            first += STEP
            await insert(world, first)
            await all_loaded(world, first + STEP - 1)
        await world.assert_equal(first + STEP - 1)
        stream = (await world.status())["pipelines"][world.name]["stream"]
        assert stream["bytes"] < BYTES_MAX == stream["bytes_max"]

        await loader.stop()
        del world.services.processes[loader.name]
        for _ in range(6):
            first += STEP
            await insert(world, first)

        async def named() -> bool:
            return "qupersync groups remove main" in str((await world.status())["reason"])

        await eventually("the group that holds the stream is named", named, pause_seconds=1)
        listed = json.loads((await world.operate("groups", "list", "--json")).out)["groups"]
        assert [entry["holds_stream"] for entry in listed if entry["pipeline"] == world.name] == [True]

        await world.services.add("again", LOADER, "run").start()
        await all_loaded(world, first + STEP - 1)
        await world.assert_equal(first + STEP - 1)
