"""`qupersync verify`: finds what differs, names it, mends just that, and takes nothing that moves for drift."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.e2e.editing import edit
from tests.e2e.world import World, assert_one_message, eventually, opened

from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.positions import decode_key

pytestmark = pytest.mark.e2e

OLD = "timestamp '2024-01-01' + n * interval '1 millisecond'"
# Not the transaction's beginning: on a busy machine, much time may pass until its first statement can be seen.
NOW = "timezone('UTC', clock_timestamp())"
OPTIONS = {"lanes": 2, "lookback": "4s"}


async def verified(world: World, *arguments: str, code: int) -> dict[str, Any]:
    """What `qupersync verify --json` prints; it must end with this exit code."""
    answer = await world.operate("verify", world.name, "--json", *arguments)
    assert answer.code == code, answer
    document: dict[str, Any] = json.loads(answer.out)
    return document


def differences(document: dict[str, Any]) -> dict[tuple[str, ...], tuple[str, tuple[str, ...]]]:
    """By key: how it differs, and in which columns."""
    return {
        tuple(scalar.text for scalar in decode_key(one["key"])): (one["kind"], tuple(one["columns"]))
        for one in document["differences"]
    }


@asynccontextmanager
async def synced(local_stack: ThreadedStack, rows: int = 3000, **options: Any) -> AsyncIterator[World]:
    """A world whose rows have arrived, with an extractor and a loader at work."""
    async with opened(local_stack, pipeline={**OPTIONS, **options}) as world:
        await world.insert(1, rows, moment=OLD)
        await world.migrate()
        await world.services.run()
        await world.wait_for_snapshot(None)
        yield world


@pytest.mark.timeout(900)
async def test_what_differs_is_found_and_mended_and_nothing_else_is_written(local_stack: ThreadedStack) -> None:
    async with synced(local_stack) as world:
        document = await verified(world, code=0)
        assert document["equal"]
        assert (document["source_rows"], document["target_rows"]) == (3000, 3000)
        assert document["presence_only"] == ["tags"]

        target = world.target
        await world.app.execute(f"UPDATE {target} SET name = 'by hand', amount = amount + 1 WHERE id = 17")
        await world.app.execute(f"UPDATE {target} SET ratio = NULL WHERE id = 18")
        await world.app.execute(f"DELETE FROM {target} WHERE id BETWEEN 1000 AND 1002")
        await world.app.execute(
            f"INSERT INTO {target} (id, name, synced_at, _qs_sequence, _qs_slot) VALUES (999999, 'x', now(), 1, 0)"
        )
        before = {row[0]: row[1] for row in await world.app.fetch(f"SELECT id, xmin::text FROM {target}")}
        found = await verified(world, code=1)
        assert differences(found) == {
            ("17",): ("different", ("name", "amount")),
            ("18",): ("different", ("ratio",)),
            **{(str(n),): ("missing in the target", ()) for n in (1000, 1001, 1002)},
            ("999999",): ("only in the target", ()),
        }
        entry = (await world.status())["pipelines"][world.name]
        assert entry["state"] == "degraded"
        assert f"qupersync verify {world.name} --group main --repair" in entry["reason"]
        assert entry["verifications"]["main"]["differing"] == 6
        shown = await world.operate("verify", world.name)
        assert shown.code == 1, shown
        assert "(17) different: name, amount" in shown.out
        assert "by hand" not in shown.out  # names of columns, never values

        mended = await verified(world, "--repair", code=0)
        assert mended["repaired"] == 6
        assert mended["differences"] == []
        await world.assert_equal(3000)
        after = {row[0]: row[1] for row in await world.app.fetch(f"SELECT id, xmin::text FROM {target}")}
        written = {id_ for id_ in after if before.get(id_) != after[id_]}
        assert written == {17, 18, 1000, 1001, 1002}
        entry = (await world.status())["pipelines"][world.name]
        assert entry["state"] != "degraded"


@pytest.mark.timeout(900)
async def test_keys_of_several_columns_of_text_and_numbers(local_stack: ThreadedStack) -> None:
    columns = (
        "region varchar(40) NOT NULL, part numeric(12, 2) NOT NULL, at timestamp, note char(9), updated_at timestamp"
    )
    options = {"key": ["region", "part"], **OPTIONS}
    async with opened(local_stack, columns=columns, pipeline=options) as world:
        await world.source.execute(
            f"INSERT INTO {world.table} SELECT 'r é' || n % 50, n / 4.0, "
            "timestamp '2024-01-01' + n * interval '1 second', 'n' || n, timestamp '2024-01-01' "
            "FROM generate_series(1, 2000) AS n"
        )
        await world.migrate()
        await world.services.run()
        await world.wait_for_snapshot(None)
        assert (await verified(world, code=0))["source_rows"] == 2000
        where = "WHERE region = 'r é7' AND part IN (1.75, 14.25)"
        await world.app.execute(f"UPDATE {world.target} SET note = 'other' {where}")
        await world.app.execute(f"DELETE FROM {world.target} WHERE region = 'r é0' AND part = 500")
        found = differences(await verified(world, code=1))
        assert found == {
            ("r é7", "1.75"): ("different", ("note",)),
            ("r é7", "14.25"): ("different", ("note",)),
            ("r é0", "500"): ("missing in the target", ()),
        }
        assert (await verified(world, "--repair", code=0))["repaired"] == 3


@pytest.mark.timeout(900)
async def test_what_moves_is_no_drift(local_stack: ThreadedStack) -> None:
    async with synced(local_stack) as world:
        busy = asyncio.create_task(_write(world))
        try:
            for _ in range(3):
                document = await verified(world, code=0)
                assert document["differences"] == []
            await world.app.execute(f"UPDATE {world.target} SET name = 'by hand' WHERE id = 2999")
            found = await verified(world, code=1)
            assert differences(found) == {("2999",): ("different", ("name",))}
        finally:
            busy.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await busy


async def _write(world: World) -> None:
    """Changes rows, and adds some, without pause; a transaction that stays open for a while among them."""
    number = 3000
    while True:
        number += 5
        await world.insert(number, number + 4)
        await world.source.execute(
            f"UPDATE {world.table} SET amount = amount + 1, updated_at = {NOW} WHERE id % 100 = {number % 97}"
        )
        async with world.source.transaction():
            await world.source.execute(
                f"UPDATE {world.table} SET flag = NOT flag, updated_at = {NOW} WHERE id BETWEEN 100 AND 200"
            )
            await asyncio.sleep(0.2)


@pytest.mark.timeout(900)
async def test_nobody_there_and_nothing_to_compare_are_said(local_stack: ThreadedStack) -> None:
    async with opened(local_stack, pipeline=OPTIONS) as world:
        await world.insert(1, 50, moment=OLD)
        await world.migrate()
        answer = await world.operate("verify", world.name)
        assert answer.code == 2, answer
        assert_one_message(answer, "has never run")
        await world.extract_once()
        answer = await world.operate("verify", world.name)
        assert answer.code == 2, answer
        assert_one_message(answer, "no loader of group main answers", "qupersync-loader run --group main")
        assert (await world.operate("verify", "nobody")).code == 2
        assert (await world.operate("verify", world.name, "--group", "No Group")).code == 2
        await world.load()
        await world.app.execute(f"UPDATE {world.target} SET name = 'by hand' WHERE id = 7")
        loader = world.services.add("loader", "qupersync_loader.main", "run")
        await loader.start()
        await eventually("the loader reports", lambda: _reports(world, "loader"))
        # Without an extractor nobody can tell whether it is drift.
        answer = await world.operate("verify", world.name, "--wait", "2")
        assert answer.code == 1, answer
        assert "undecided: 1 keys differ" in answer.out


async def _reports(world: World, role: str) -> bool:
    world.services.check()
    return any(process["role"] == role and process["alive"] for process in (await world.status())["processes"])


@pytest.mark.timeout(900)
async def test_a_schedule_compares_by_itself_and_follows_the_file(local_stack: ThreadedStack) -> None:
    async with synced(local_stack) as world:
        await world.app.execute(f"DELETE FROM {world.target} WHERE id = 5")
        edit(world, lambda loaded: _schedule(loaded, world.name, {"every": "2s"}))

        async def told(differing: int) -> bool:
            entry = (await world.status())["pipelines"][world.name]
            known = (entry.get("verifications") or {}).get("main")
            return known is not None and known["differing"] == differing

        await eventually("the schedule finds it", lambda: told(1))
        await world.trigger("snapshot")
        await eventually("a later comparison finds nothing", lambda: told(0))


def _schedule(loaded: dict[str, Any], name: str, schedule: dict[str, str]) -> None:
    loaded["pipelines"][name]["verify"] = schedule
