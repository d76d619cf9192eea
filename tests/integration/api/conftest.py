"""The API over a migrated outbox database, a NATS server and a source that is there, asked without a socket."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from qupersync_extractor.application.control import note_configured
from qupersync_extractor.bootstrap import Workshop, workshop
from qupersync_extractor.interface.api.serving import application
from qupersync_extractor.stores import Stores
from qupersync_local.stack import OUTBOX_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings import Configuration

OPERATOR, VIEWER = "the-secret-of-operators", "the-secret-of-viewers"
BASE = "/api/v1/sync"
RUNS = 12
_RUNS = """
    INSERT INTO qupersync.run (id, pipeline, mode, cause, pages, rows, bytes, started_at, ended_at, error)
    SELECT gen_random_uuid(), CAST(:pipeline AS text), 'incremental', CASE WHEN n % 2 = 1 THEN 'due' ELSE 'first' END,
           1, 10, 1000, now() - n * interval '1 minute', now() - n * interval '59 seconds',
           CASE WHEN n % 5 = 0 THEN 'failed' END
    FROM generate_series(0, CAST(:runs AS int) - 1) AS n
"""
_PAGES = """
    INSERT INTO qupersync.ledger_page (pipeline, log, sequence, mode, rows, bytes)
    SELECT CAST(:pipeline AS text), 1, n, 'incremental', 10, 1000 FROM generate_series(1, 7) AS n
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/api" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def outbox_dsn(local_stack: ThreadedStack, outbox_template: str) -> Iterator[str]:
    name = f"api_{uuid4().hex[:12]}"
    local_stack.create_database(name, owner=OUTBOX_ROLE, template=outbox_template)
    yield local_stack.stack.dsn(OUTBOX_ROLE, name)
    local_stack.drop_database(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An application, what is behind it, and clients that have tokens."""

    app: FastAPI
    shop: Workshop
    configuration: Configuration
    operator: httpx.AsyncClient
    viewer: httpx.AsyncClient
    anybody: httpx.AsyncClient
    orders: str
    costs: str
    fresh: str  # configured, and never run

    @property
    def stores(self) -> Stores:
        return self.shop.stores


@pytest.fixture
def configuration(local_stack: ThreadedStack, outbox_dsn: str, tmp_path: Path) -> Configuration:
    described, mark = local_stack.describe(), uuid4().hex[:8]
    tokens = []
    for name, role, secret in (("ann", "operator", OPERATOR), ("bob", "viewer", VIEWER)):
        (tmp_path / name).write_text(secret, encoding="utf-8")
        tokens.append({"name": name, "role": role, "file": str(tmp_path / name)})
    tree: dict[str, Any] = {
        "source": described["source"],
        "outbox": {"dsn": outbox_dsn},
        "nats": described["nats"],
        "control": {"tokens": tokens},
        "pipelines": {
            f"{name}_{mark}": {"from": f"api.{name}", "into": f"public.{name}", "key": ["id"], "lanes": 2}
            for name in ("costs", "fresh", "orders")
        },
    }
    return Configuration.model_validate(tree)


@pytest.fixture
async def served(configuration: Configuration) -> AsyncIterator[Served]:
    async with serving(configuration) as made:
        yield made


@asynccontextmanager
async def serving(configuration: Configuration) -> AsyncIterator[Served]:
    stop = Stop()
    costs, fresh, orders = sorted(name for name in configuration.pipelines if name != "cost_usage")
    async with workshop(configuration, role="api-test") as shop:
        assert configuration.control is not None
        await shop.progress.processes()  # makes the bucket
        await _filled(shop.stores, [PipelineName(name) for name in configuration.pipelines if name != fresh])
        async with application(shop, lambda: configuration, configuration.control, stop) as app:
            clients = [_client(app, secret) for secret in (OPERATOR, VIEWER, None)]
            yield Served(
                app=app,
                shop=shop,
                configuration=configuration,
                operator=clients[0],
                viewer=clients[1],
                anybody=clients[2],
                orders=orders,
                costs=costs,
                fresh=fresh,
            )
            stop.request()
            for client in clients:
                await client.aclose()


def _client(app: FastAPI, secret: str | None) -> httpx.AsyncClient:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8700", headers=headers)


async def _filled(kept: Stores, pipelines: list[PipelineName]) -> None:
    """Pipelines that have run: their histories, some pages, and what people decided."""
    await note_configured(kept.controls, frozenset(pipelines), by="configuration")
    for pipeline in pipelines:
        await kept.registry.register(pipeline, 2)
        async with kept.engine.begin() as connection:
            await connection.execute(text(_RUNS), {"pipeline": pipeline, "runs": RUNS})
            await connection.execute(text(_PAGES), {"pipeline": pipeline})
