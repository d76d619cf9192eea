"""The status of many pipelines with long histories: how long those who ask wait, and what building it costs."""

import os
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.benchmarks.report import write

from qupersync_extractor.application.control import names_of, note_configured
from qupersync_extractor.bootstrap import workshop
from qupersync_extractor.infrastructure.postgres.schema import migrate_outbox
from qupersync_extractor.interface.api.serving import application
from qupersync_local.stack import OUTBOX_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings import Configuration

pytestmark = pytest.mark.benchmark

PIPELINES = 100
RUNS = int(os.environ.get("QUPERSYNC_BENCHMARK_RUNS", "1000000"))
AT_ONCE = 50_000
ASKED = 200
BASE = "/api/v1/sync"
_FILL = """
    INSERT INTO qupersync.run (id, pipeline, mode, cause, pages, rows, bytes, started_at, ended_at, error)
    SELECT gen_random_uuid(), (CAST(:names AS text[]))[1 + n % 100], 'incremental', 'due', 1, 100, 10000,
           now() - n * interval '1 second', now(), CASE WHEN n % 1000 = 0 THEN 'failed' END
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""


def configured(stack: ThreadedStack, dsn: str) -> Configuration:
    described, mark = stack.describe(), uuid4().hex[:6]
    return Configuration.model_validate(
        {
            "source": described["source"],
            "outbox": {"dsn": dsn},
            "nats": described["nats"],
            "control": {},
            "pipelines": {
                f"b{mark}_{n:03}": {"from": f"bench.t{n}", "into": f"public.t{n}", "key": ["id"], "lanes": 4}
                for n in range(PIPELINES)
            },
        }
    )


async def milliseconds(asked: int, ask: Callable[[], Awaitable[httpx.Response]]) -> dict[str, float]:
    """The median and the worst of so many answers."""
    took = []
    for _ in range(asked):
        began = time.perf_counter()
        assert (await ask()).status_code == 200
        took.append((time.perf_counter() - began) * 1000)
    return {"median": round(statistics.median(took), 2), "worst": round(max(took), 2)}


@pytest.mark.timeout(1_500)
async def test_status_and_history_of_many_pipelines(local_stack: ThreadedStack) -> None:
    name = f"bench_{uuid4().hex[:8]}"
    local_stack.create_database(name, owner=OUTBOX_ROLE)
    dsn = local_stack.stack.dsn(OUTBOX_ROLE, name)
    await migrate_outbox(dsn)
    configuration = configured(local_stack, dsn)
    try:
        write("status", await _measured(configuration))
    finally:
        local_stack.drop_database(name)


async def _measured(configuration: Configuration) -> dict[str, Any]:
    stop, names = Stop(), sorted(configuration.pipelines)
    assert configuration.control is not None
    async with workshop(configuration, role="bench") as shop:
        await shop.progress.processes()  # makes the bucket
        await note_configured(shop.stores.controls, names_of(names), by="bench")
        for one in names:
            await shop.stores.registry.register(PipelineName(one), 4)
            await shop.stream.declare(PipelineName(one))
        for first in range(1, RUNS, AT_ONCE):
            async with shop.stores.engine.begin() as connection:
                filled = {"names": names, "first": first, "last": min(first + AT_ONCE - 1, RUNS)}
                await connection.execute(text(_FILL), filled)
        async with shop.stores.engine.begin() as connection:
            await connection.execute(text("ANALYZE qupersync.run"))
        async with (
            application(shop, lambda: configuration, configuration.control, stop) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
        ):
            built = await milliseconds(1, lambda: client.get(f"{BASE}/status"))
            figures = {
                "pipelines": PIPELINES,
                "runs": RUNS,
                "first_ms": built["median"],
                "status_ms": await milliseconds(ASKED, lambda: client.get(f"{BASE}/status")),
                "jobs_ms": await milliseconds(ASKED, lambda: client.get(f"{BASE}/jobs")),
                "history_ms": await milliseconds(ASKED, lambda: client.get(f"{BASE}/history")),
                "pipelines_history_ms": await milliseconds(
                    ASKED, lambda: client.get(f"{BASE}/history", params={"pipeline": names[7], "status": "failed"})
                ),
            }
            stop.request()
            js = await shop.connection.jetstream()
            for one in names:
                await js.delete_stream(f"qupersync_{one}")
    return figures
