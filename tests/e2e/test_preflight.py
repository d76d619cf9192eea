"""`qupersync check` as a command, and what running services find when they start: shown, and in nobody's way."""

import json
from typing import Any

import pytest
from tests.e2e.world import World, eventually, opened

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.standin.faults import stall
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.e2e, pytest.mark.integration, pytest.mark.timeout(400)]


async def _entry(world: World) -> dict[str, Any]:
    entry: dict[str, Any] = (await world.status())["pipelines"][world.name]
    return entry


async def test_the_command_and_its_document(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        await world.migrate()
        await world.insert(1, 300)
        people = await world.operate("check", world.name)
        assert people.code == 0, people
        assert "checks passed" in people.out
        told = await world.operate("check", "--pipeline", world.name, "--json", "--full")
        assert told.code == 0, told
        document = json.loads(told.out)
        assert list(document) == ["ok", "checked_at", "verdicts", "rows"]
        assert document["ok"] is True
        assert document["verdicts"]["ok"] + document["verdicts"]["warning"] == len(document["rows"])
        assert all(list(row) == ["area", "subject", "verdict", "message", "cure"] for row in document["rows"])
        mine = [row["subject"] for row in document["rows"] if row["area"] == world.name]
        assert mine == [
            *("rights", "columns", "key", "cursor", "cursor ties", "sort key", "row width"),
            *("target table", "target rights"),
        ]
        areas = {row["area"] for row in document["rows"]}
        assert areas == {"configuration", "nats", "outbox", "source", "target", world.name}

        await world.source.execute(f"INSERT INTO {world.table} SELECT * FROM {world.table} WHERE id < 4")
        await world.app.execute(f"CREATE TABLE {world.target} (id bigint)")
        wrong = await world.operate("check", world.name)
        assert wrong.code == 1, wrong
        lines = wrong.out.splitlines()
        [at] = [number for number, line in enumerate(lines) if "has no unique index over the key" in line]
        assert lines[at].startswith("failed   ")
        assert "ADD PRIMARY KEY" in lines[at + 1]
        assert any("3 keys stand in more than one row in all 303 rows" in line for line in lines)
        unknown = await world.operate("check", "nothing")
        assert unknown.code == 2
        assert "no pipeline 'nothing'" in unknown.err


async def test_what_is_found_at_the_start_is_shown_while_it_lasts(local_stack: ThreadedStack) -> None:
    """A warning keeps nothing from working and is no reason; a failure is one, until it is mended, by itself."""
    async with opened(local_stack) as world:
        await world.migrate()
        await world.insert(1, 300)
        await world.source.execute(f"INSERT INTO {world.table} SELECT * FROM {world.table} WHERE id < 4")
        await world.app.execute(f"CREATE TABLE {world.target} (id bigint PRIMARY KEY)")
        await world.app.execute(f"CREATE RULE aside AS ON INSERT TO {world.target} WHERE new.id < 0 DO INSTEAD NOTHING")
        extractor = world.services.add("extractor", EXTRACTOR, "run")
        loader = world.services.add("loader", LOADER, "run")
        await extractor.start()
        await loader.start()

        async def noticed() -> bool:
            entry = await _entry(world)
            rule = "PostgreSQL refuses upserts there"
            return any("3 keys stand in more than one row" in one for one in entry["notices"]) and rule in (
                entry["reason"] or ""
            )

        await eventually("both are shown", noticed, pause_seconds=1)
        assert "3 keys" not in ((await _entry(world))["reason"] or "")
        assert f"note: {world.name}: key: 3 keys" in (await world.operate("status")).out

        await world.app.execute(f"DROP RULE aside ON {world.target}")
        await world.app.execute(f"DROP TABLE {world.target}")

        async def mended() -> bool:
            entry = await _entry(world)
            return entry["reason"] is None and entry["state"] == "live"

        await eventually("the failure is gone", mended, pause_seconds=1)
        assert any("3 keys" in one for one in (await _entry(world))["notices"])
        assert extractor.tail().count("3 keys stand") <= 1, "it is logged once"


async def test_a_look_that_hangs_keeps_nothing_from_working(local_stack: ThreadedStack) -> None:
    book = local_stack.faults
    async with opened(local_stack) as world:
        await world.migrate()
        await world.insert(1, 500, moment="timestamp '2024-01-01' + n * interval '1 second'")
        number = book.add(stall(f'"{world.name}".*GROUP BY k0', seconds=600, times=None))
        try:
            await world.services.run()
            await world.wait_for_snapshot(None)
        finally:
            book.remove(number)
        await world.assert_equal(rows=500)
