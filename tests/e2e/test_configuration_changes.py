"""The configuration is edited while an extractor and loaders run: nobody is restarted, nothing is lost."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.e2e.editing import another_table, edit, equal, insert, write
from tests.e2e.world import World, command, eventually, opened
from tests.faults.watching import jetstream, shown, told

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.stream_reading import lane_consumers

pytestmark = pytest.mark.e2e


@asynccontextmanager
async def running(stack: ThreadedStack, *arguments: str, **pipeline: Any) -> AsyncIterator[World]:
    """A world with 200 rows, an extractor and a loader, all of it loaded."""
    async with opened(stack, pipeline=pipeline) as world:
        await world.insert(1, 200)
        await world.migrate()
        for name, module in (("extractor", EXTRACTOR), ("loader", LOADER)):
            await world.services.add(name, module, "run", *arguments).start()
        await equal(world, world.table, world.target, 200)
        yield world


def added(world: World, name: str, table: str, **options: Any) -> dict[str, Any]:
    """The section of a further pipeline, like the first one."""
    return {**world.configuration["pipelines"][world.name], "from": table, "into": f"public.{name}", **options}


async def pids(world: World) -> dict[str, int]:
    return {name: process.pid for name, process in world.services.processes.items() if process.running}


async def status_is_clean(world: World) -> bool:
    return (await world.status())["reason"] is None


@pytest.mark.timeout(400)
async def test_a_pipeline_is_added_changed_removed_and_added_again_while_all_run(local_stack: ThreadedStack) -> None:
    async with running(local_stack) as world:
        before = await pids(world)
        name = f"{world.name}_more"
        table = await another_table(world, name, 300)
        edit(world, lambda tree: tree["pipelines"].update({name: added(world, name, table)}))
        await equal(world, table, f"public.{name}", 300)
        await insert(world, table, 301, 350)
        await equal(world, table, f"public.{name}", 350)
        await eventually("nothing is wrong", lambda: status_is_clean(world), pause_seconds=1)

        edit(world, lambda tree: tree["pipelines"][name].update({"into": f"public.{name}_b", "page_rows": 100}))
        await equal(world, table, f"public.{name}_b", 350)

        edit(world, lambda tree: tree["pipelines"].pop(name))
        await _let_go(world, name, times=2)
        async with jetstream(world) as js:
            claims = await lane_consumers(js, PipelineName(name))
        assert len(claims) == 3, "the consumers stay: they are the group's claim"
        outbox = await asyncpg.connect(world.outbox_dsn)
        try:
            leases = "SELECT count(*) FROM qupersync.relay_cursor WHERE pipeline = $1 AND owner IS NOT NULL"
            owner = "SELECT owner FROM qupersync.extraction WHERE pipeline = $1"
            assert await outbox.fetchval(leases, name) == 0
            assert await outbox.fetchval(owner, name) is None
        finally:
            await outbox.close()
        await insert(world, table, 351, 400)
        await world.insert(201, 250)
        await equal(world, world.table, world.target, 250)
        assert await world.app.fetchval(f"SELECT count(*) FROM public.{name}_b") == 350, "nobody loads it any more"

        edit(world, lambda tree: tree["pipelines"].update({name: added(world, name, table, into=f"public.{name}_b")}))
        await equal(world, table, f"public.{name}_b", 400)
        await equal(world, world.table, world.target, 250)
        assert await pids(world) == before


async def _let_go(world: World, name: str, *, times: int) -> None:
    """Extractor and loader have let the pipeline go so many times."""

    async def done() -> bool:
        gone = [
            sum(entry["pipeline"] == name for entry in told(process, "pipeline_let_go"))
            for process in world.services.processes.values()
            if process.running
        ]
        return all(count >= times for count in gone)

    await eventually(f"{name} is let go", done)


@pytest.mark.timeout(400)
async def test_a_broken_file_is_refused_as_a_whole_and_the_old_one_goes_on(local_stack: ThreadedStack) -> None:
    async with running(local_stack) as world:
        good, target_dsn = world.services.configuration.read_text("utf-8"), world.services_target_dsn
        name = f"{world.name}_more"
        table = await another_table(world, name, 50)
        # The command reads another file: the processes' own file is broken.
        aside = world.services.configuration.with_name("aside.yaml")
        aside.write_text(good, encoding="utf-8")
        edit(world, lambda tree: tree["pipelines"].update({name: added(world, name, table, page_rows="many")}))
        await _shown_by(world, aside, "page_rows", "qupersync.yaml:", "the one before goes on", "loader", "extractor")
        write(world, "pipelines: [")
        await _shown_by(world, aside, "not YAML")
        write(world, "")
        await _shown_by(world, aside, "pipelines is missing")
        await world.insert(201, 260)
        await equal(world, world.table, world.target, 260, dsn=target_dsn)
        write(world, good)
        await eventually("the trouble is over", lambda: status_is_clean(world), pause_seconds=1)


async def _shown_by(world: World, config: Path, *parts: str) -> None:
    reasons: list[str] = []

    async def there() -> bool:
        answer = await command("qupersync", "status", "--json", config=config)
        reasons[:] = [answer.out]
        return all(part in answer.out for part in parts)

    await eventually(f"status does not show {parts}", there, pause_seconds=0.5)


@pytest.mark.timeout(400)
async def test_connections_need_a_restart_and_say_so_while_pipelines_are_taken_up(local_stack: ThreadedStack) -> None:
    async with running(local_stack) as world:
        name = f"{world.name}_more"
        table = await another_table(world, name, 50)

        def change(tree: dict[str, Any]) -> None:
            tree["pipelines"][name] = added(world, name, table)
            tree["extractor"] = {**tree["extractor"], "memory_max": "64MiB"}
            tree["loader"] = {**tree["loader"], "connections": 3}

        edit(world, change)
        await equal(world, table, f"public.{name}", 50)
        await shown(world, "extractor", "restart it")
        await shown(world, "loader", "restart it")


@pytest.mark.timeout(400)
async def test_a_hangup_is_all_it_takes_where_nobody_watches(local_stack: ThreadedStack) -> None:
    async with running(local_stack, "--no-watch") as world:
        name = f"{world.name}_more"
        table = await another_table(world, name, 50)
        edit(world, lambda tree: tree["pipelines"].update({name: added(world, name, table)}))
        for process in world.services.processes.values():
            if process.running:
                process.send(signal.SIGHUP)
        await equal(world, table, f"public.{name}", 50)
        assert all(process.running for process in world.services.processes.values() if process.lasting)


@pytest.mark.timeout(400)
async def test_a_pipeline_that_cannot_begin_says_so_and_ends_nobody(local_stack: ThreadedStack) -> None:
    async with running(local_stack) as world:
        name = f"{world.name}_more"
        edit(world, lambda tree: tree["pipelines"].update({name: added(world, name, f"billing.{name}")}))
        await shown(world, name, "billing")
        await world.insert(201, 260)
        await equal(world, world.table, world.target, 260)
        table = await another_table(world, name, 50)  # mended at the source
        await equal(world, table, f"public.{name}", 50)


@pytest.mark.timeout(400)
async def test_loaders_join_and_leave_with_no_configuration(local_stack: ThreadedStack) -> None:
    async with running(local_stack, lanes=4) as world:
        for step, wanted in enumerate((4, 2)):
            loaders = [process for process in world.services.processes.values() if process.name.startswith("loader")]
            loaders = [process for process in loaders if process.lasting]
            first = 201 + 3_000 * step
            await world.insert(first, first + 2_999)
            for number in range(len(loaders), wanted):
                joining = world.services.add(f"loader-{number}", LOADER, "run")
                await joining.start()
                await eventually("it has begun", partial(_has_begun, joining))
            for process in loaders[wanted:]:
                assert await process.stop() == 0, process.tail()
                del world.services.processes[process.name]
            await equal(world, world.table, world.target, first + 2_999)


async def _has_begun(process: ServiceProcess) -> bool:
    return bool(told(process, "loader_starts"))


async def test_the_stream_of_a_new_pipeline_is_declared_without_migrate(local_stack: ThreadedStack) -> None:
    """A relay that runs alone takes up the file, too."""
    async with opened(local_stack) as world:
        await world.migrate()
        await world.services.add("relay", EXTRACTOR, "relay").start()
        name = f"{world.name}_more"
        edit(world, lambda tree: tree["pipelines"].update({name: added(world, name, f"billing.{name}")}))
        async with jetstream(world) as js:

            async def declared() -> bool:
                return stream_name(PipelineName(name)) in [info.config.name for info in await js.streams_info()]

            await eventually("its stream is there", declared)


async def test_other_lanes_in_the_file_wait_for_a_reset_where_nothing_runs_too(
    local_stack: ThreadedStack,
) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 100)
        await world.migrate()
        await world.extract_once()
        before = world.configuration["pipelines"][world.name]["lanes"]
        edit(world, lambda tree: tree["pipelines"][world.name].update(lanes=7))
        await world.insert(101, 120)
        await world.extract_once()
        await world.load()
        assert len((await world.standing()).watermarks) == before
        await world.assert_equal(rows=120)
        said = " ".join(map(str, (await world.status())["reasons"]))
        assert f"runs with {before} lanes, the configuration says 7" in said
        assert f"qupersync reset {world.name}" in said

        assert (await world.operate("reset", world.name, "--yes")).code == 0
        await world.extract_once()
        await world.load()
        assert len((await world.standing()).watermarks) == 7
        await world.assert_equal(rows=120)
