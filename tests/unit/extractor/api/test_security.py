"""Who may ask, and from where: bearer tokens, sessions with their CSRF token, and this machine without either."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.middleware import Middleware

from qupersync_extractor.interface.api.app import LOOPBACK_NAMES
from qupersync_extractor.interface.api.guards import KnownHosts, NoTracebacks, SafeHeaders, SmallBodies
from qupersync_extractor.interface.api.problems import add_handlers
from qupersync_extractor.interface.api.security import Gatekeeper, Operator, Viewer
from qupersync_extractor.interface.api.sessions import COOKIE
from qupersync_extractor.interface.api.tokens import Tokens
from qupersync_shared.runtime.settings.control import TokenSection

OPERATOR, VIEWER = "the-secret-of-operators", "the-secret-of-viewers"
HOST = "http://127.0.0.1:8700"


def application(gatekeeper: Gatekeeper) -> FastAPI:
    guards = [Middleware(SafeHeaders), Middleware(NoTracebacks)]
    if gatekeeper.open:
        guards.append(Middleware(KnownHosts, hosts=LOOPBACK_NAMES))
    app = FastAPI(middleware=[*guards, Middleware(SmallBodies)])
    app.state.gatekeeper = gatekeeper
    add_handlers(app)

    @app.get("/look")
    async def look(caller: Viewer) -> dict[str, str]:
        return {"by": caller.name, "csrf": caller.csrf_token}

    @app.post("/act")
    async def act(caller: Operator) -> dict[str, str]:
        return {"by": caller.name}

    @app.post("/login")
    async def login(request: Request, response: Response) -> bool:
        secret = (await request.body()).decode()
        return gatekeeper.log_in(secret, request, response) is not None

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/defect")
    async def defect() -> None:
        raise RuntimeError("password=hunter2 postgresql://me:hunter2@host/db")

    return app


@pytest.fixture
def gatekeeper(tmp_path: Path) -> Gatekeeper:
    sections = []
    for name, role, secret in (("ann", "operator", OPERATOR), ("bob", "viewer", VIEWER)):
        (tmp_path / name).write_text(secret, encoding="utf-8")
        sections.append(TokenSection.model_validate({"name": name, "role": role, "file": tmp_path / name}))
    return Gatekeeper(Tokens(sections))


@asynccontextmanager
async def asking(gatekeeper: Gatekeeper, base: str = HOST) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(gatekeeper))
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client


@pytest.fixture
async def client(gatekeeper: Gatekeeper) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(gatekeeper) as client:
        yield client


@pytest.fixture
async def local() -> AsyncIterator[httpx.AsyncClient]:
    async with asking(Gatekeeper(Tokens([]))) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def is_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["type"] == f"urn:qupersync:problem:{kind}"
    assert found["status"] == status
    assert {"title", "detail", "cure"} <= found.keys()
    return found


async def test_roles_decide_what_a_token_may(client: httpx.AsyncClient) -> None:
    assert (await client.get("/look", headers=bearer(VIEWER))).json()["by"] == "bob"
    assert (await client.get("/look", headers=bearer(OPERATOR))).json()["by"] == "ann"
    assert (await client.post("/act", headers=bearer(OPERATOR))).json() == {"by": "ann"}
    told = is_problem(await client.post("/act", headers=bearer(VIEWER)), 403, "forbidden")
    assert "bob is a viewer" in told["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong-wrong-wrong-wrong"),
        {"Authorization": f"Basic {OPERATOR}"},
        {"Authorization": OPERATOR},
        {"Authorization": "Bearer"},
        {"Cookie": f"{COOKIE}=ann.9999999999.x.y"},
    ],
)
async def test_nobody_looks_without_a_token(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.get("/look", headers=headers)
    is_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")
    is_problem(await client.post("/act", headers=headers), 401, "unauthorized")


async def test_a_wrong_bearer_is_not_made_good_by_a_cookie(client: httpx.AsyncClient) -> None:
    await client.post("/login", content=OPERATOR)
    assert (await client.get("/look")).status_code == 200
    is_problem(await client.get("/look", headers=bearer("wrong-wrong-wrong-wrong")), 401, "unauthorized")


async def test_a_session_looks_and_acts_with_its_csrf_token(client: httpx.AsyncClient) -> None:
    response = await client.post("/login", content=OPERATOR)
    cookie = response.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))
    assert "secure" not in cookie, "the page is reached by http here"
    csrf = (await client.get("/look")).json()["csrf"]
    assert csrf

    is_problem(await client.post("/act"), 403, "cross-site")
    is_problem(await client.post("/act", headers={"X-CSRF-Token": "x" * len(csrf)}), 403, "cross-site")
    assert (await client.post("/act", headers={"X-CSRF-Token": csrf})).json() == {"by": "ann"}
    assert (await client.post("/act", data={"csrf_token": csrf})).json() == {"by": "ann"}
    is_problem(await client.post("/act", data={"csrf_token": "x"}), 403, "cross-site")


async def test_https_gives_a_cookie_that_goes_nowhere_else(gatekeeper: Gatekeeper) -> None:
    async with asking(gatekeeper, "https://sync.example.com") as client:
        response = await client.post("/login", content=VIEWER)
    assert "secure" in response.headers["set-cookie"].lower().split("; ")
    async with asking(gatekeeper) as client:
        response = await client.post("/login", content=VIEWER, headers={"X-Forwarded-Proto": "https"})
    assert "secure" in response.headers["set-cookie"].lower().split("; "), "a proxy in front speaks https"


async def test_a_wrong_secret_begins_no_session(client: httpx.AsyncClient) -> None:
    response = await client.post("/login", content="wrong-wrong-wrong-wrong")
    assert response.json() is False
    assert "set-cookie" not in response.headers


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:9999"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_no_other_site_acts_on_this_machine(local: httpx.AsyncClient, headers: dict[str, str]) -> None:
    is_problem(await local.post("/act", headers=headers), 403, "cross-site")


@pytest.mark.parametrize("headers", FOREIGN)
async def test_no_other_site_acts_with_a_session(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    await client.post("/login", content=OPERATOR)
    csrf = (await client.get("/look")).json()["csrf"]
    is_problem(await client.post("/act", headers={**headers, "X-CSRF-Token": csrf}), 403, "cross-site")


async def test_without_tokens_this_machine_does_everything(local: httpx.AsyncClient) -> None:
    assert (await local.get("/look")).json() == {"by": "local", "csrf": ""}
    assert (await local.post("/act")).json() == {"by": "local"}
    same = {"Origin": HOST, "Sec-Fetch-Site": "same-origin"}
    assert (await local.post("/act", headers=same)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8700", "127.0.0.1.evil.example", "", "[::2]:8700"])
async def test_without_tokens_foreign_names_are_refused(local: httpx.AsyncClient, host: str) -> None:
    is_problem(await local.get("/look", headers={"Host": host}), 421, "foreign-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8700", "127.0.0.1:1", "[::1]:8700"])
async def test_without_tokens_this_machine_has_several_names(local: httpx.AsyncClient, host: str) -> None:
    assert (await local.get("/look", headers={"Host": host})).status_code == 200


async def test_every_answer_keeps_browsers_careful(local: httpx.AsyncClient) -> None:
    for response in (await local.get("/look"), await local.get("/nowhere"), await local.get("/defect")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["cache-control"] == "no-store"
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_errors_are_problems_and_tell_no_secrets(local: httpx.AsyncClient) -> None:
    is_problem(await local.get("/nowhere"), 404, "not-found")
    response = await local.put("/act")
    is_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"
    told = is_problem(await local.get("/defect"), 500, "defect")
    assert "hunter2" not in str(told)
    assert "Traceback" not in str(told)


async def test_large_bodies_are_refused_however_they_come(local: httpx.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 10_000

    is_problem(await local.post("/echo", content=b"x" * 65_537), 413, "too-large")
    is_problem(await local.post("/echo", content=parts()), 413, "too-large")
    assert (await local.post("/echo", content=b"x" * 65_536)).json() == 65_536
