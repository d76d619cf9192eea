"""Redrive is a reread, through both services and the commands: what was parked or refused stands in the target."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.e2e.world import Answer, World, assert_one_message, eventually, opened

from qupersync_local.demo_warehouse import opened_for_writing
from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.envelope import GENERATION_HEADER, BatchEnvelope, Mode
from qupersync_shared.contracts.payload import checksum
from qupersync_shared.kernel.positions import decode_key

pytestmark = pytest.mark.e2e

OLD = "timestamp '2024-01-01' + n * interval '1 millisecond'"
NOW = "timezone('UTC', transaction_timestamp())"
# Nothing is read twice for rows that might have come late: what a lane lost, it has lost.
OPTIONS = {"lanes": 2, "lookback": "0s", "page_rows": 30}
_NEWEST = (
    "SELECT id, lane, headers::text AS headers FROM qupersync.outbox WHERE (log, sequence) > ($1, $2) ORDER BY sequence"
)
_SPOIL = "UPDATE qupersync.outbox SET payload = $2, headers = $3::jsonb WHERE id = $1"
_NO_ARROW = b"never was Arrow"


@pytest.mark.timeout(400)
async def test_events_of_every_mode_that_cannot_be_read_are_made_good_by_reading_their_source_again(
    local_stack: ThreadedStack,
) -> None:
    async with opened(local_stack, pipeline=OPTIONS) as world:
        await world.insert(1, 100, moment=OLD)
        await world.migrate()
        for name, module, command in (("extract", EXTRACTOR, "extract"), ("load", LOADER, "run")):
            await world.services.add(name, module, command).start()
        await relay(world)
        await eventually("the first snapshot", partial(same, world))

        # An incremental page.
        before = await without_relay(world)
        await world.insert(101, 120)
        await park(world, before, Mode.INCREMENTAL)
        await world.source.execute(f"DELETE FROM {world.table} WHERE id = 120")
        await world.source.execute(f"UPDATE {world.table} SET name = 'later', updated_at = {NOW} WHERE id = 119")
        await redriven(world, "dead-letters")
        await world.app.execute(f"DELETE FROM {world.target} WHERE id = 120")  # a reread by cursor cannot know of it
        await eventually("rows of the incremental page", partial(same, world))

        # A reread of keys, one of which is gone: the target has an older version of it.
        await world.app.execute(f"ALTER TABLE {world.target} ADD CONSTRAINT good CHECK (name <> 'bad') NOT VALID")
        await world.source.execute(f"UPDATE {world.table} SET name = 'bad', updated_at = {NOW} WHERE id = 7")
        await eventually("the row is in quarantine", partial(waits, world, "quarantine", 1))
        before = await without_relay(world)
        await world.source.execute(f"DELETE FROM {world.table} WHERE id = 7")
        assert (await world.operate("quarantine", "redrive", "--all")).code == 0
        await park(world, before, Mode.REREAD)
        assert await world.app.fetchval(f"SELECT count(*) FROM {world.target} WHERE id = 7") == 1
        await redriven(world, "dead-letters")
        await eventually("the key that is gone", partial(same, world))
        assert await waits(world, "quarantine", 0)

        # A page of a snapshot, whose range has lost rows meanwhile; the snapshot itself cannot make it good.
        before = await without_relay(world)
        await world.trigger("snapshot")
        await park(world, before, Mode.SNAPSHOT)
        await world.source.execute(f"DELETE FROM {world.table} WHERE id BETWEEN 2 AND 20")  # of that page
        letter = (await listed(world, "dead-letters"))[0]
        shown = json.loads((await world.operate("dead-letters", "show", str(letter["id"]), "--json")).out)
        assert "cannot be decoded" in shown["payload"]
        await redriven(world, "dead-letters")
        await eventually("rows of the snapshot's page", partial(same, world))
        assert await waits(world, "dead-letters", 0)


ODD_KEYS = ("it's", "a b", "%25", 'ü"\\', "", '{"v":1}', "trailing  ", "x\0y", "🙂", "line\nbreak")
BAD = "UPDATE main.odd SET note = 'bad', changed = get_current_timestamp()::TIMESTAMP"


@pytest.mark.timeout(400)
async def test_rows_with_strange_keys_are_listed_and_redriven_and_what_cannot_be_is_said(
    local_stack: ThreadedStack, tmp_path: Path
) -> None:
    file = tmp_path / "warehouse.duckdb"
    write(file, "CREATE TABLE main.odd (code VARCHAR, part DECIMAL(12, 2), note VARCHAR, changed TIMESTAMP)")
    for code in ODD_KEYS:
        values = [[code, part, "good"] for part in ("0.10", "-7.00")]
        write(file, "INSERT INTO main.odd VALUES (?, ?, ?, TIMESTAMP '2024-01-01')", values)
    pipeline = {"from": "main.odd", "key": ["code", "part"], "cursor": "changed", **OPTIONS}
    async with opened(
        local_stack, columns=None, pipeline=pipeline, source={"kind": "duckdb", "path": str(file)}
    ) as world:
        await world.migrate()
        for name, module in (("extract", EXTRACTOR), ("load", LOADER)):
            await world.services.add(name, module, "run").start()
        good = 2 * (len(ODD_KEYS) - 1)
        await eventually("all keys without NUL", partial(counted, world, "note = 'good'", good))
        await eventually("those with NUL wait", partial(waits, world, "quarantine", 2))

        await world.app.execute(f"ALTER TABLE {world.target} ADD CONSTRAINT good CHECK (note <> 'bad') NOT VALID")
        write(file, BAD)
        await eventually("all wait", partial(waits, world, "quarantine", good + 2))
        # Still refused: said so, and no loop.
        answer = await world.operate("quarantine", "redrive", "--all", "--wait", "60")
        assert answer.code == 1, answer
        assert f"0 left the quarantine, {good + 2} were refused again, 0 wait" in answer.out
        await world.app.execute(f"ALTER TABLE {world.target} DROP CONSTRAINT good")
        answer = await world.operate("quarantine", "redrive", "-p", world.name, "--wait", "60")
        assert answer.code == 1, answer
        assert f"{good} left the quarantine, 2 were refused again, 0 wait" in answer.out
        assert await counted(world, "note = 'bad'", good)
        rows = await listed(world, "quarantine")
        assert {decode_key(row["key"])[0].text for row in rows} == {"x\0y"}
        shown = await world.operate("quarantine", "show", rows[0]["row"])
        assert shown.code == 0, shown

        for arguments, part in (
            (("quarantine", "show", "target-999999"), "there is no row target-999999"),
            (("quarantine", "redrive", rows[0]["row"], "target-999999"), "there is no row target-999999"),
            (("quarantine", "discard", "target-999999", "--yes"), "there is no row target-999999"),
            (("quarantine", "redrive", "target-x"), "is not a number"),
            (("quarantine", "redrive", "17"), "names no row"),
            (("quarantine", "redrive"), "not one choice"),
            (("quarantine", "redrive", "--all", "-p", "nobody"), "there is no pipeline"),
            (("dead-letters", "redrive", "999999"), "there is no dead letter 999999"),
            (("dead-letters", "show", "x"), "is not a number"),
            (("dead-letters", "discard", "--all", "-p", world.name), "not one choice"),
        ):
            answer = await world.operate(*arguments)
            assert answer.code in (1, 2), answer
            assert_one_message(answer, part)

        process = world.services.processes.pop("extract")
        assert await process.stop() == 0, process.tail()
        answer = await world.operate("quarantine", "redrive", rows[0]["row"])
        assert answer.code == 1, answer
        assert_one_message(answer, "nothing was lost")
        write(file, "DELETE FROM main.odd WHERE code = 'x' || chr(0) || 'y' AND part < 0")
        await world.services.add("again", EXTRACTOR, "run").start()
        answer = await world.operate("quarantine", "redrive", *(row["row"] for row in rows), "--wait", "60")
        assert "1 left the quarantine, 1 were refused again" in answer.out, answer
        (row,) = await listed(world, "quarantine")
        assert (await world.operate("quarantine", "discard", row["row"])).code != 0  # nobody said yes
        assert (await world.operate("quarantine", "discard", row["row"], "--yes")).code == 0
        assert await listed(world, "quarantine") == []
        everything = json.loads((await world.operate("quarantine", "list", "--all", "--json")).out)["rows"]
        assert sorted({one["resolution"] for one in everything}) == ["discarded", "gone", "loaded"]


MANY = 2_500  # more than two requests hold


@pytest.mark.timeout(400)
async def test_thousands_of_refused_rows_are_asked_for_after_a_snapshot_and_survive_a_killed_extractor(
    local_stack: ThreadedStack,
) -> None:
    async with opened(local_stack, pipeline={**OPTIONS, "page_rows": 400}) as world:
        await world.insert(1, MANY, moment=OLD)
        await world.migrate()
        for name, module in (("extract", EXTRACTOR), ("load", LOADER)):
            await world.services.add(name, module, "run").start()
        await world.wait_for_snapshot(None)
        await world.app.execute(f"ALTER TABLE {world.target} ADD CONSTRAINT good CHECK (name <> 'bad') NOT VALID")
        await world.source.execute(f"UPDATE {world.table} SET name = 'bad', updated_at = {NOW}")
        waiting = "SELECT count(*) = $1 FROM qupersync_quarantine WHERE resolved_at IS NULL AND "
        await eventually("all wait", lambda: world.app.fetchval(waiting + "times >= 1", MANY))
        before = (await world.standing()).snapshot
        await world.trigger("snapshot")
        await world.wait_for_snapshot(before)
        # Once by the change, once by the snapshot, once more because the loader asked.
        await eventually("asked for", lambda: world.app.fetchval(waiting + "times >= 3", MANY))
        listing = await world.operate("quarantine", "list", "-n", "10")
        assert f"{MANY - 10} more" in listing.out, listing

        await world.app.execute(f"ALTER TABLE {world.target} DROP CONSTRAINT good")
        answer = await world.operate("quarantine", "redrive", "--all")
        assert (answer.code, f"for {MANY} rows" in answer.out) == (0, True), answer
        await world.services.processes.pop("extract").kill()
        await world.services.add("again", EXTRACTOR, "run").start()
        await eventually("all loaded", lambda: world.app.fetchval(waiting + "times >= 1", 0))
        await world.assert_equal(MANY)


def write(file: Path, statement: str, values: list[list[Any]] | None = None) -> None:
    with opened_for_writing(file) as connection:
        if values is None:
            connection.execute(statement)
        else:
            connection.executemany(statement, values)


async def counted(world: World, condition: str, rows: int) -> bool:
    world.services.check()
    if await world.app.fetchval("SELECT to_regclass($1)", world.target) is None:
        return False
    return bool(await world.app.fetchval(f"SELECT count(*) = $1 FROM {world.target} WHERE {condition}", rows))


async def same(world: World) -> bool:
    world.services.check()
    if await world.app.fetchval("SELECT to_regclass($1)", world.target) is None:
        return False
    return (await world.compare()).same


async def relay(world: World) -> None:
    await world.services.add("relay", EXTRACTOR, "relay").start()


async def without_relay(world: World) -> tuple[int, int]:
    """Where the log stands when nothing is published any more."""
    process = world.services.processes.pop("relay")
    assert await process.stop() == 0, process.tail()
    standing = await world.standing()
    return standing.log, standing.sequence


async def park(world: World, before: tuple[int, int], mode: Mode) -> None:
    """The first event with rows of this mode becomes unreadable in the outbox, is published and parked."""
    found: dict[str, Any] = {}

    async def committed() -> bool:
        for row in await outbox(world, _NEWEST, *before):
            headers = {**json.loads(row["headers"]), GENERATION_HEADER: "0"}
            envelope = BatchEnvelope.from_headers(headers)
            if envelope.mode is mode and envelope.row_count:
                found.update(id=row["id"], envelope=envelope)
                return not (mode is Mode.SNAPSHOT and await behind(world, before))
        return False

    await eventually(f"a page of mode {mode}", committed)
    told = found["envelope"].model_copy(update={"checksum": checksum(_NO_ARROW)}).headers()
    told.pop(GENERATION_HEADER)
    await outbox(world, _SPOIL, found["id"], _NO_ARROW, json.dumps(told))
    await relay(world)
    await eventually("the event is parked", partial(waits, world, "dead-letters", 1))


async def behind(world: World, before: tuple[int, int]) -> bool:
    """Whether the snapshot that began behind a place is not over."""
    rows = await outbox(world, _NEWEST, *before)
    return not any(json.loads(row["headers"]).get("ce-snapshotlast") == "true" for row in rows)


async def outbox(world: World, statement: str, *values: Any) -> list[Mapping[str, Any]]:
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        found: list[Mapping[str, Any]] = await connection.fetch(statement, *values)
        return found
    finally:
        await connection.close()


async def listed(world: World, group: str) -> list[dict[str, Any]]:
    """What `list --json` shows as waiting."""
    answer = await world.operate(group, "list", "--json")
    assert answer.code == 0, answer
    found: list[dict[str, Any]] = json.loads(answer.out)["rows" if group == "quarantine" else "letters"]
    return found


async def waits(world: World, group: str, count: int) -> bool:
    world.services.check()
    return len(await listed(world, group)) == count


async def redriven(world: World, group: str) -> Answer:
    answer = await world.operate(group, "redrive", "--all", "--wait", "60")
    assert answer.code == 0, answer
    return answer
