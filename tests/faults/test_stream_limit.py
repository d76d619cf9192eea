"""28: a loader group that is gone for good, and a stream at its limit when a snapshot is needed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.all_well import all_well
from tests.faults.watching import NOW, drained, jetstream, parked, retire, told_by_all

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(28), pytest.mark.integration, pytest.mark.long]

LIMIT = 1 << 20
ROWS = 200
COLUMNS = "id bigint NOT NULL, wide varchar(4000), updated_at timestamp"
# Hashes do not become small: some 200 kB of events each time that all rows change.
WIDE = "(SELECT string_agg(md5({round} || ' ' || n || ' ' || m), '') FROM generate_series(1, 64) AS m)"
FILL = "INSERT INTO {table} SELECT n, {wide}, timestamp '2024-01-01' FROM generate_series(1, {rows}) AS n"
CHANGE = """
    UPDATE {table} SET wide = changed.wide, updated_at = {now}
    FROM (SELECT n, {wide} AS wide FROM generate_series(1, {rows}) AS n) AS changed WHERE id = n
"""


@pytest.mark.timeout(400)
async def test_bounded_a_group_that_is_gone_fills_the_stream_until_its_claim_is_ended(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with _narrow(local_stack) as world, _second_target(world) as target:
        await _begin(world)
        migrate = world.services.add("gone-migrate", LOADER, "migrate", "--group", "gone", environment=target)
        await migrate.start()
        assert await migrate.wait(120) == 0, migrate.tail()
        gone = world.services.add("gone", LOADER, "run", "--group", "gone", environment=target)
        await gone.start()
        await world.services.add("loader", LOADER, "run").start()
        await drained(world, ROWS)
        await eventually("the other group does not begin", lambda: _registered(world, "gone"))
        await retire(world, gone, kill=True)
        reason = await _change_until(world, "qupersync groups remove gone")
        used = await _used(world)
        assert LIMIT // 2 < used <= LIMIT
        answer = await world.operate("groups", "remove", "gone", "--yes", "--force")
        assert answer.code == 0, answer
        await drained(world, ROWS)
        assert await parked(world) == (0, 0)
        assert await _used(world) < used, "nothing was let go"
        await all_well(world)  # nobody is missed who was sent away
        facts |= {"rows": ROWS, "bytes when full": used, "bytes afterwards": await _used(world), "reason": reason[:160]}


@pytest.mark.timeout(400)
async def test_bounded_a_stream_at_its_limit_lets_go_of_what_was_applied_and_takes_the_snapshot(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with _narrow(local_stack) as world:
        await _begin(world)
        loader = world.services.add("loader", LOADER, "run")
        await loader.start()
        await drained(world, ROWS)
        await retire(world, loader)
        await _change_until(world, "its stream has used")
        before = (await world.standing()).snapshot
        await world.trigger("snapshot")
        full = await _used(world)
        await world.services.add("loader", LOADER, "run").start()
        await drained(world, ROWS)
        await world.wait_for_snapshot(before)
        let_go = told_by_all(world, "stream_relieved") + told_by_all(world, "stream_compacted")
        assert let_go, "nothing was let go"
        await all_well(world)
        facts |= {"rows": ROWS, "bytes when full": full, "bytes afterwards": await _used(world), "purges": len(let_go)}


@asynccontextmanager
async def _narrow(stack: ThreadedStack) -> AsyncIterator[World]:
    """A world whose stream takes a megabyte, in events of up to 32 KiB."""
    sections: dict[str, Any] = {
        "nats": {"servers": [stack.stack.nats.url], "stream_bytes_max": "1MiB"},
        "extractor": {"lease": "3s", "event_bytes_max": "32KiB"},
    }
    async with opened(stack, columns=COLUMNS, pipeline={"lanes": 2}, **sections) as world:
        yield world


@asynccontextmanager
async def _second_target(world: World) -> AsyncIterator[dict[str, str]]:
    """The environment of loaders that have a database of their own, with the loader's tables."""
    name = f"other_{world.name}"
    await asyncio.to_thread(world.stack.create_database, name, owner=TARGET_ROLE)
    environment = {"QUPERSYNC_TARGET__DSN": world.stack.stack.dsn(TARGET_ROLE, name)}
    try:
        yield environment
    finally:
        await world.services.stop()
        await asyncio.to_thread(world.stack.drop_database, name)


async def _begin(world: World) -> None:
    await world.source.execute(FILL.format(table=world.table, wide=WIDE.format(round=0), rows=ROWS))
    await world.migrate()
    await world.services.add("extractor", EXTRACTOR, "run").start()


async def _change_until(world: World, words: str) -> str:
    """All rows change again and again, until status gives a reason with these words; the reason."""
    for number in range(1, 40):
        change = CHANGE.format(table=world.table, now=NOW, wide=WIDE.format(round=number), rows=ROWS)
        await world.source.execute(change)
        sequence = (await world.standing()).sequence
        await world.wait_for("the change is extracted", lambda one, sequence=sequence: one.sequence > sequence)
        reason = (await world.status())["pipelines"][world.name]["reason"]
        if reason and words in reason:
            return str(reason)
    raise AssertionError(f"no reason with {words!r} was shown while the stream filled")


async def _used(world: World) -> int:
    """The bytes that the stream holds."""
    async with jetstream(world) as js:
        return int((await js.stream_info(stream_name(PipelineName(world.name)))).state.bytes)


async def _registered(world: World, group: str) -> bool:
    """Whether the group has applied what there is, so that its claim is known."""
    answer = await world.operate("groups", "list", "--json")
    assert answer.code == 0, answer
    found = [one for one in json.loads(answer.out)["groups"] if (one["group"], one["pipeline"]) == (group, world.name)]
    return bool(found) and found[0]["waiting_events"] == 0
