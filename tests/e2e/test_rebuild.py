"""`qupersync rebuild` as a person runs it: beside live load, without the source, over damage, and around obstacles."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.e2e.world import PATIENCE_SECONDS, Answer, World, assert_one_message
from tests.faults.gates import Gate
from tests.faults.watching import NOW, OLD, drained

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
ROWS = 3_000


def told(answer: Answer, event: str) -> list[dict[str, Any]]:
    """The documents of one kind that `--json` printed."""
    return [found for line in answer.out.splitlines() if (found := json.loads(line))["event"] == event]


async def rebuild(world: World, *arguments: str, code: int = 0) -> Answer:
    answer = await world.operate("rebuild", world.name, *arguments)
    assert answer.code == code, answer
    return answer


async def loaded(world: World) -> None:
    """Everything runs, and the first snapshot is in the target."""
    await world.insert(1, ROWS, moment=OLD)
    await world.migrate()
    await world.services.add("extractor", EXTRACTOR, "run").start()
    await world.services.add("loader", LOADER, "run").start()
    await world.wait_for_snapshot(None)


async def without_source(world: World) -> None:
    """The extractor has ended, and everything it published is loaded."""
    await world.services.processes["extractor"].stop()
    del world.services.processes["extractor"]
    await world.wait_for("a level target", lambda one: one.level)


@asynccontextmanager
async def changing(world: World) -> AsyncIterator[list[int]]:
    """The source gains, changes and loses rows until the block ends; the list holds how many rows it then has."""
    count, stop = [ROWS], asyncio.Event()

    async def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await world.insert(ROWS + number, ROWS + number, moment=NOW)
            await world.source.execute(
                f"UPDATE {world.table} SET amount = $1, updated_at = timezone('UTC', clock_timestamp()) WHERE id = $2",
                number,
                number % ROWS + 1,
            )
            count[0] = ROWS + number
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.05)

    task = asyncio.create_task(change())
    try:
        yield count
    finally:
        stop.set()
        await task


async def oid(world: World) -> int:
    return int(await world.app.fetchval("SELECT $1::text::regclass::oid::bigint", world.target))


async def test_a_table_is_rebuilt_beside_live_load_and_swapped_in(world: World) -> None:
    await loaded(world)
    before = await oid(world)
    async with changing(world) as count:
        answer = await rebuild(world, "--json")
    began, ended = told(answer, "began")[0], told(answer, "ended")[0]
    assert (began["resumed"], ended) == (False, {"event": "ended", "phase": "swapped", "equal": True, "kept": None})
    assert [one["phase"] for one in told(answer, "phase")] == ["reading", "comparing", "swapping"]
    assert told(answer, "compared")[0]["shadow_rows"] >= ROWS
    assert told(answer, "reading")[-1]["rows"] >= ROWS
    assert told(answer, "placed")[0]["locked_seconds"] > 0
    assert await oid(world) != before
    await drained(world, count[0])
    assert await world.app.fetchval("SELECT count(*) FROM qupersync_pipeline") == 1
    left = "SELECT relname FROM pg_class WHERE relname ~ '^_qs_(shadow|old|part)_'"
    assert await world.app.fetch(left) == []


async def test_damage_is_found_and_mended_without_a_statement_on_the_source(
    local_stack: ThreadedStack, world: World
) -> None:
    await loaded(world)
    await without_source(world)
    asked = local_stack.faults.executed(world.name)
    assert asked > 0
    await world.app.execute(f"UPDATE {world.target} SET name = 'altered by hand' WHERE id = 77")
    await world.app.execute(f"DELETE FROM {world.target} WHERE id = 78")
    found = await rebuild(world, code=1)
    assert f"different: {ROWS - 1} rows live, {ROWS} rebuilt" in found.out
    keys = {
        word for line in found.out.splitlines() if "; keys: " in line for word in line.split("; keys: ")[1].split(", ")
    }
    assert keys == {"77", "78"}
    assert "--accept-difference" in found.out
    assert await world.app.fetchval(f"SELECT name FROM {world.target} WHERE id = 77") == "altered by hand"
    mended = await rebuild(world, "--accept-difference", "--json")
    assert told(mended, "began")[0]["resumed"] is True
    assert told(mended, "ended")[0]["phase"] == "swapped"
    assert local_stack.faults.executed(world.name) == asked, "the source was asked"
    await world.assert_equal(ROWS)
    await world.services.add("extractor", EXTRACTOR, "run").start()
    await world.insert(ROWS + 1, ROWS + 10, moment=NOW)
    await drained(world, ROWS + 10)


async def test_a_dry_run_a_kept_shadow_and_one_that_is_discarded(world: World) -> None:
    await loaded(world)
    before = await oid(world)
    preview = json.loads((await rebuild(world, "--dry-run", "--json")).out)
    assert preview["events"] >= 3 * ROWS / 500
    assert (preview["found"], preview["obstacles"]) == (None, [])
    kept = told(await rebuild(world, "--no-swap", "--json"), "ended")[0]
    assert (kept["phase"], kept["equal"]) == ("kept", True)
    assert await world.app.fetchval(f"SELECT count(*) FROM {kept['kept']}") == ROWS
    assert await world.app.fetchval("SELECT count(*) FROM qupersync_state") == 1, "a shadow is nobody's table"
    assert kept["kept"] in (await rebuild(world, "--discard")).out
    assert await world.app.fetchval("SELECT to_regclass($1)", kept["kept"]) is None
    assert await oid(world) == before
    refused = await world.operate("rebuild", world.name, "--no-swap", "--merge")
    assert refused.code == 2
    assert_one_message(await world.operate("rebuild", "unknown"), "unknown", world.name)


async def test_a_person_who_stops_it_is_told_that_the_next_call_goes_on(world: World) -> None:
    await loaded(world)
    async with Gate.opened(
        world.services_target_dsn,
        "public.qupersync_watermark",
        when="strpos(NEW.group_name, '~') > 0",
        event="INSERT OR UPDATE",
    ) as gate:
        await gate.shut()
        process = world.services.operate("rebuild", "rebuild", world.name)
        await process.start()
        await gate.wait_for_waiting(seconds_max=120)
        process.send(signal.SIGINT)
        assert await process.wait(PATIENCE_SECONDS) == 130
        await gate.open()
    assert "nothing was changed" in process.tail()
    assert told(await rebuild(world, "--json"), "began")[0]["resumed"] is True
    await world.assert_equal(ROWS)


async def test_what_is_in_the_way_of_a_swap_is_named_and_a_merge_passes_it(world: World) -> None:
    await loaded(world)
    await without_source(world)
    await world.app.execute(
        f"CREATE TABLE public.invoice_{world.name} (id bigint REFERENCES {world.target} (id)); "
        f"INSERT INTO public.invoice_{world.name} VALUES (1)"
    )
    refused = await rebuild(world, code=1)
    assert f"invoice_{world.name}" in refused.out
    assert "--merge" in refused.err
    await world.app.execute(f"UPDATE {world.target} SET name = 'altered by hand' WHERE id = 77")
    untouched = "SELECT xmin::text FROM {} WHERE id = 5"
    before, version = await oid(world), await world.app.fetchval(untouched.format(world.target))
    merged = await rebuild(world, "--merge", "--accept-difference", "--json")
    placed = told(merged, "placed")[0]
    assert (placed["way"], placed["written"], placed["removed"]) == ("merge", 1, 0)
    assert (await oid(world), await world.app.fetchval(untouched.format(world.target))) == (before, version)
    await world.assert_equal(ROWS)
