"""When nothing answers: requests say so soon, and what is not known is never shown as well."""

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.integration.api.conftest import BASE
from tests.integration.api.test_routes import is_problem

from qupersync_extractor.bootstrap import workshop
from qupersync_extractor.interface.api.serving import application
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.settings import Configuration

SECRET = "hunter2hunter2"


@pytest.fixture
async def cut_off() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API that reaches no server."""
    configuration = Configuration.model_validate(
        {
            "source": {
                "kind": "redshift",
                "host": "127.0.0.1",
                "port": 1,
                "database": "dev",
                "user": "sync",
                "password": SECRET,
            },
            "outbox": {"dsn": f"postgresql://sync:{SECRET}@127.0.0.1:1/none"},
            "nats": {"servers": ["nats://127.0.0.1:1"]},
            "control": {},
            "pipelines": {"orders": {"from": "sales.orders", "into": "public.orders", "key": ["id"]}},
        }
    )
    assert configuration.control is not None
    async with (
        workshop(configuration, role="api-test") as shop,
        application(shop, lambda: configuration, configuration.control, Stop()) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8700") as client,
    ):
        yield client


async def test_a_database_that_is_away_is_a_passing_trouble(cut_off: httpx.AsyncClient) -> None:
    for path in ("/history", "/ledger", "/actions", "/ledger/orders", "/history/0199a1de-7c11-7bc1-9d56-6a0b3a7c52f1"):
        answer = await cut_off.get(f"{BASE}{path}")
        told = is_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
        assert told["cure"]
        assert SECRET not in answer.text
    for path in ("/trigger", "/jobs/orders/pause", "/jobs/orders/reset"):
        is_problem(await cut_off.post(f"{BASE}{path}", headers={"Idempotency-Key": "k"}), 503, "unavailable")


async def test_status_says_what_nobody_knows(cut_off: httpx.AsyncClient) -> None:
    document = (await cut_off.get(f"{BASE}/status")).json()
    assert document["pipelines"]["orders"]["state"] == "unknown"
    assert document["probes"]["nats"]["verdict"] == "unknown"
    assert document["reason"]
    (job,) = (await cut_off.get(f"{BASE}/jobs")).json()["jobs"]
    assert (job["state"], job["control"], job["lag"]["freshness_seconds"]) == ("unknown", None, None)


async def test_the_process_is_alive_and_not_ready(cut_off: httpx.AsyncClient) -> None:
    assert (await cut_off.get("/health")).status_code == 200
    ready = await cut_off.get("/ready")
    assert ready.status_code == 503
    checks = ready.json()["checks"]
    assert {name for name, check in checks.items() if not check["ok"]} == {"source", "outbox", "nats", "progress"}
    assert SECRET not in ready.text


async def test_nothing_is_served_that_loads_from_elsewhere(cut_off: httpx.AsyncClient) -> None:
    for path in ("/docs", "/redoc"):
        is_problem(await cut_off.get(path), 404, "not-found")
    assert (await cut_off.get("/api/v1/openapi.json")).status_code == 200
