"""Is it in sync, and if not, where is it? Asked of processes at work, through what holds pages up at each hop."""

import json
from typing import Any

import pytest
from tests.e2e.editing import equal
from tests.e2e.world import World, eventually, opened

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(600)
async def test_the_ledger_says_where_the_pages_are(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 1200)
        await world.migrate()
        assert (await _ledger(world))["whereabouts"][world.name]["sentence"] == "it has never run"
        await world.services.add("extractor", EXTRACTOR, "run").start()
        await world.services.add("loader", LOADER, "run").start()
        await equal(world, world.table, world.target, 1200)
        await eventually("the ledger says in sync", lambda: _says(world, "in sync: all "))
        found = await _ledger(world, "--state", "applied", "--mode", "snapshot")
        assert found["whereabouts"][world.name]["in_sync"]
        assert sum(page["rows"] for page in found["pages"]) == 1200
        for page in found["pages"]:
            assert page["extracted_at"] <= page["published_at"] <= page["applied"]["main"]
        await _a_run_has_its_pages(world, found["pages"][-1])

        loader = world.services.processes.pop("loader")
        assert await loader.stop() == 0, loader.tail()
        await world.insert(1201, 1300)
        await eventually("pages wait for the loader", lambda: _says(world, "to be loaded by main"))
        waiting = (await world.status())["pipelines"][world.name]["ledger"]["waiting"]
        assert (waiting["hop"], waiting["groups"]) == ("applied", ["main"])
        assert (await _ledger(world, "--state", "published"))["pages"][-1]["waits_for"] == ["main"]

        # A relation that is missing is told as one failed run, however often it is tried again.
        await world.source.execute(f"ALTER TABLE {world.table} RENAME TO {world.name}_away")
        await eventually("a failed run was tried again", lambda: _failed_again(world), pause_seconds=1.0)
        assert "nothing more is extracted: " in await _sentence(world)
        await world.source.execute(f"ALTER TABLE billing.{world.name}_away RENAME TO {world.name}")

        await world.services.add("loader-2", LOADER, "run").start()
        await equal(world, world.table, world.target, 1300)
        await eventually("the ledger says in sync again", lambda: _says(world, "in sync: all "))
        told = await world.operate("ledger", world.name, "--limit", "3")
        assert told.out.startswith(f"{world.name}: "), (
            told
        )  # a page may just have come: which sentence it is, is said above
        assert "more: the same --cursor " in told.out


async def _ledger(world: World, *options: str) -> dict[str, Any]:
    answer = await world.operate("ledger", world.name, "--json", "--limit", "200", *options)
    assert answer.code == 0, answer
    document: dict[str, Any] = json.loads(answer.out)
    return document


async def _sentence(world: World) -> str:
    return str(((await world.status())["pipelines"][world.name].get("ledger") or {}).get("sentence"))


async def _says(world: World, words: str) -> bool:
    return words in await _sentence(world)


async def _runs(world: World, *options: str) -> list[dict[str, Any]]:
    answer = await world.operate("history", world.name, "--json", "--limit", "200", *options)
    assert answer.code == 0, answer
    runs: list[dict[str, Any]] = json.loads(answer.out)["runs"]
    return runs


async def _a_run_has_its_pages(world: World, page: dict[str, Any]) -> None:
    (run,) = [run for run in await _runs(world) if run["id"] == page["run"]]
    assert "snapshot" in run["mode"]
    assert run["pages"] >= 1
    assert run["ended_at"] > run["started_at"]


async def _failed_again(world: World) -> bool:
    failed = await _runs(world, "--status", "failed")
    assert len(failed) <= 1
    return bool(failed) and failed[0]["attempts"] > 1 and failed[0]["pages"] == 0
