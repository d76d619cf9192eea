"""What probes answer, and that asking them often asks servers seldom."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.runtime.http import Check, Probes, Readiness, probes_app

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FixedClock:
    def now(self) -> datetime:
        return NOW


async def well() -> str | None:
    return None


async def badly() -> str | None:
    return "no lane was looked at for 90 s"


async def raising() -> str | None:
    raise DatabaseUnavailableError("the target does not answer", cure="Start it")


async def defective() -> str | None:
    raise RuntimeError("a defect of the check")


def client(registry: CollectorRegistry | None = None, **checks: Check) -> httpx.AsyncClient:
    probes = Probes(
        version="1.2.3",
        readiness=Readiness(checks, clock=FixedClock(), seconds_max=0.05),
        registry=registry or CollectorRegistry(),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=probes_app(probes)), base_url="http://probes")


async def test_health_asks_nobody() -> None:
    async with client(target=raising) as probes:
        answer = await probes.get("/health")

    assert answer.status_code == 200
    assert answer.json()["version"] == "1.2.3"
    assert answer.json()["uptime_seconds"] >= 0
    assert answer.headers["cache-control"] == "no-store"


async def test_ready_names_every_check() -> None:
    async with client(target=well, nats=well) as probes:
        answer = await probes.get("/ready")

    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "as_of": NOW.isoformat(),
        "checks": {"target": {"ok": True}, "nats": {"ok": True}},
    }


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (badly, "no lane was looked at for 90 s"),
        (raising, "the target does not answer. Start it"),
        (defective, "RuntimeError: a defect of the check"),
    ],
)
async def test_one_bad_check_makes_it_503_and_says_why(check: Check, reason: str) -> None:
    async with client(target=well, other=check) as probes:
        answer = await probes.get("/ready")

    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["checks"] == {"target": {"ok": True}, "other": {"ok": False, "reason": reason}}


async def test_a_check_that_hangs_is_given_up_and_not_begun_twice() -> None:
    began = 0
    cancelled = asyncio.Event()

    async def hangs() -> str | None:
        nonlocal began
        began += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as a driver that waits for a frozen server does
            cancelled.set()
            await asyncio.Event().wait()
        return None

    readiness = Readiness({"target": hangs}, seconds_max=0.02, keep_seconds=0.0)
    first, second = await readiness.look(), await readiness.look()
    await readiness.close()

    assert first.checks["target"].reason == second.checks["target"].reason == "no answer within 0.02 s"
    assert began == 1
    assert cancelled.is_set()


async def test_a_check_that_was_given_up_and_ends_during_the_next_look_is_no_answer() -> None:
    given_up, let = asyncio.Event(), asyncio.Event()

    async def frozen() -> str | None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
            await let.wait()
        return None

    readiness = Readiness({"target": frozen}, seconds_max=0.02, keep_seconds=0.0)
    assert not (await readiness.look()).ready
    await given_up.wait()
    readiness._seconds_max = 60.0
    looking = asyncio.create_task(readiness.look())
    for _ in range(3):  # it waits for the check by then
        await asyncio.sleep(0)
    let.set()
    found = await looking
    assert found.checks["target"].reason is not None
    assert "no answer" in found.checks["target"].reason


async def test_many_who_ask_at_once_are_one() -> None:
    asked = 0

    async def counted() -> str | None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return None

    readiness = Readiness({"target": counted}, keep_seconds=60.0)
    looks = await asyncio.gather(*(readiness.look() for _ in range(50)))
    await readiness.look()

    assert asked == 1
    assert all(look.ready for look in looks)


async def test_a_look_grows_old() -> None:
    answers = iter([None, "it went away"])

    async def changing() -> str | None:
        return next(answers)

    readiness = Readiness({"target": changing}, keep_seconds=0.0)

    assert (await readiness.look()).ready
    assert not (await readiness.look()).ready


async def test_whoever_stops_waiting_takes_the_look_from_nobody() -> None:
    let = asyncio.Event()

    async def waits() -> str | None:
        await let.wait()
        return None

    readiness = Readiness({"target": waits})
    impatient, patient = asyncio.create_task(readiness.look()), asyncio.create_task(readiness.look())
    await asyncio.sleep(0)
    impatient.cancel()
    let.set()

    assert (await patient).ready


@pytest.mark.parametrize(
    ("accept", "media_type", "ends"),
    [
        ("*/*", "text/plain", False),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text", True),
    ],
)
async def test_metrics_are_in_the_form_that_is_accepted(accept: str, media_type: str, ends: bool) -> None:
    registry = CollectorRegistry()
    Counter("qupersync_things", "Things", registry=registry).inc(3)
    async with client(registry) as probes:
        answer = await probes.get("/metrics", headers={"accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert answer.headers.get_list("content-type") == [answer.headers["content-type"]]
    assert "qupersync_things_total 3.0" in answer.text
    assert answer.text.endswith("# EOF\n") is ends


async def test_other_paths_and_methods_are_none() -> None:
    async with client() as probes:
        assert (await probes.get("/")).status_code == 404
        assert (await probes.post("/ready")).status_code == 405


@pytest.mark.parametrize("accept", ["text/plain;version=foo", "application/openmetrics-text;version=a.b.c"])
async def test_metrics_are_told_whatever_version_is_asked_for(accept: str) -> None:
    async with client() as probes:
        answer = await probes.get("/metrics", headers={"accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
