"""The control API of real processes: served beside the pipelines, taken over by another, and gone with neither."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import httpx
from tests.e2e.world import opened

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

LIMIT_SECONDS = 120.0
BASE = "/api/v1/sync"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Asks until it is so; nobody tells when a port begins to be served."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                if await reached():
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)


async def test_the_api_tells_and_acts_and_another_process_takes_it_over(local_stack: ThreadedStack) -> None:
    port = free_port()
    async with (
        opened(local_stack, control={"port": port}) as world,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        await world.source.execute(f"INSERT INTO {world.table} (id) SELECT generate_series(1, 100)")
        await world.migrate()
        extractor = world.services.add("extractor", EXTRACTOR, "run")
        loader = world.services.add("loader", LOADER, "run")
        await extractor.start()
        await loader.start()
        await world.wait_for_snapshot(None)

        async def ready() -> bool:
            return (await client.get("/ready")).status_code == 200

        async def live() -> bool:
            job = (await client.get(f"{BASE}/jobs/{world.name}")).json()
            return job["state"] == "live" and job["last_run"]["status"] == "succeeded"

        await until(ready)
        await until(live)
        status = (await client.get(f"{BASE}/status")).json()
        assert {process["role"] for process in status["processes"]} >= {"extractor", "loader"}
        paused = await client.post(f"{BASE}/jobs/{world.name}/pause", json={"reason": "looking"})
        assert paused.json()["updated_by"] == "local"
        foreign = await client.post(f"{BASE}/trigger", headers={"Origin": "https://evil.example"})
        assert foreign.status_code == 403

        alone = world.services.add("control", EXTRACTOR, "serve")
        await alone.start()
        await extractor.stop()
        await until(ready)
        job = (await client.get(f"{BASE}/jobs/{world.name}")).json()
        assert (job["state"], job["control"]["reason"]) == ("paused", "looking")
        resumed = await client.post(f"{BASE}/jobs/{world.name}/resume")
        assert resumed.status_code == 200
