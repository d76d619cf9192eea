"""What a loader process answers over HTTP, and to the services that ask it over NATS."""

import json
from typing import Any
from uuid import uuid4

import httpx
import yaml
from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import people
from tests.integration.loader.test_parked_commands import accept, undecodable
from tests.integration.loader.world import Proxy, World, eventually, opened

from qupersync_extractor.application.parked import Place, Wanted
from qupersync_extractor.infrastructure.jetstream.parked import ParkedInTargets, RebuildsInTargets
from qupersync_local.services import ServiceProcess
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.commands import RereadRequest
from qupersync_shared.contracts.parked import Chosen, ParkedKind
from qupersync_shared.contracts.subjects import COMMAND_REREAD
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.kernel.positions import Position, Scalar, ScalarKind

LETTERS = ParkedKind.DEAD_LETTERS


def probed(world: World) -> ServiceProcess:
    """A loader that answers probes, on a free port."""
    file = world.services.configuration
    configuration = yaml.safe_load(file.read_text())
    configuration["loader"]["probes"] = {"port": 0}
    file.write_text(yaml.safe_dump(configuration))
    return world.loader()


async def address(world: World, loader: ServiceProcess) -> str:
    async def told() -> str | None:
        lines = loader.log.read_text().splitlines() if loader.log.exists() else []
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return next((event["url"] for event in events if event["event"] == "http_serves"), None)

    found = await eventually(told, "the probes to be served", services=world.services)
    assert isinstance(found, str)
    return found


async def test_probes_tell_whether_the_process_can_work(postgres: PostgresHarness, local_stack: ThreadedStack) -> None:
    proxy = Proxy(postgres.dsn)
    await proxy.open()
    async with opened(postgres, local_stack.stack.nats.url, dsn=proxy.dsn) as world:
        loader = probed(world)
        await loader.start()
        await world.publish(world.source.page(people(1, 2, 3)))
        await world.applied(1)
        async with httpx.AsyncClient(base_url=await address(world, loader), timeout=20) as probes:

            async def verdicts(code: int) -> dict[str, Any] | None:
                answer = await probes.get("/ready")
                return answer.json() if answer.status_code == code else None

            ready = await eventually(lambda: verdicts(200), "the process to be ready", services=world.services)
            assert {name: check["ok"] for name, check in ready["checks"].items()} == {
                "target": True,
                "nats": True,
                "progress": True,
            }

            async def metrics() -> str | None:
                """Once the process has looked at the target after the first page."""
                told = (await probes.get("/metrics", headers={"accept": "application/openmetrics-text"})).text
                return told if "qupersync_loader_applied_age_seconds{" in told else None

            counted = await eventually(metrics, "the target's age to be told", services=world.services)
            assert f'qupersync_loader_rows_applied_total{{group="{world.group}"}} 3.0' in counted
            assert f'qupersync_loader_lanes{{group="{world.group}",pipeline="{world.name}"}} 2.0' in counted
            assert f'qupersync_loader_dead_letters{{group="{world.group}",pipeline="{world.name}"}} 0.0' in counted
            assert "process_resident_memory_bytes" in counted

            await proxy.shut()
            unready = await eventually(lambda: verdicts(503), "the target to be missed", services=world.services)
            assert unready["checks"]["nats"] == {"ok": True}
            assert "reason" in unready["checks"]["target"]
            assert (await probes.get("/health")).status_code == 200

            await proxy.open()
            await eventually(lambda: verdicts(200), "the process to be ready again", services=world.services)
        assert await loader.stop() == 0
    await proxy.shut()


async def test_a_dead_letter_is_found_and_made_good_over_nats(
    postgres: PostgresHarness, local_stack: ThreadedStack
) -> None:
    async with opened(postgres, local_stack.stack.nats.url) as world:
        loader = world.loader()
        await loader.start()
        await world.publish(world.source.page(people(0)))
        await world.applied(1)
        position = Position(cursor=Scalar(ScalarKind.INT, "7"), key=(Scalar(ScalarKind.INT, "1"),))
        page = world.source.incremental(people(1), position=position)
        damaged = [undecodable(page[0]), *page[1:]]
        await world.publish(damaged)
        await world.applied(2)
        parked = ParkedInTargets(world.connection, patience_seconds=30)
        place = Place(pipeline=world.name, group=GroupName(world.group))

        (letter,) = (await parked.page(place, Wanted(kind=LETTERS))).entries
        assert letter.event_id == damaged[0].envelope.id
        (reason,) = (await parked.reasons(place, LETTERS)).reasons
        assert reason.count == 1

        asked = await world.serve(COMMAND_REREAD, accept)
        redriven = await parked.redrive(place, LETTERS, Chosen(reason=reason.reason), by="ann", request=uuid4())
        assert (redriven.asked, redriven.snapshot, redriven.trouble) == (1, False, None)
        request = RereadRequest.model_validate_json(asked[0].data)
        assert request.cursor_span is not None
        assert request.redrives == (damaged[0].envelope.id,)

        await world.publish(world.source.reread(people(1), redrives=request.redrives))
        await world.applied(3)

        async def settled() -> bool:
            return (await parked.entry(place, LETTERS, letter.id)).resolution is not None

        await eventually(settled, "the letter to be made good", services=world.services)
        assert (await parked.page(place, Wanted(kind=LETTERS))).entries == ()
        assert await RebuildsInTargets(world.connection).list(GroupName(world.group)) == ()
        assert await loader.stop() == 0
