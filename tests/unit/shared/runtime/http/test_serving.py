"""Servers on real sockets: who serves, who takes over, what clients may not do, and how it ends."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.runtime.http import Limits, serve, serving
from qupersync_shared.runtime.http.listening import PortTakenError, listening, shown
from qupersync_shared.runtime.lifecycle import Stop

SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class At:
    host: str = "127.0.0.1"
    port: int = 0


class Served:
    """A server in a task, and where it listens."""

    def __init__(self, app: ASGIApp, where: At, limits: Limits | None = None) -> None:
        self.stop = Stop()
        self.ports: asyncio.Queue[int] = asyncio.Queue()
        self.task = asyncio.create_task(
            serve(app, where, self.stop, name="test", limits=limits, told=self.ports.put_nowait)
        )

    async def port(self) -> int:
        async with asyncio.timeout(SECONDS):
            return await self.ports.get()

    async def end(self) -> None:
        self.stop.request()
        async with asyncio.timeout(SECONDS):
            await self.task


@pytest.fixture(autouse=True)
def _all_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    """Commands that other tests ran in this process may have turned the root logger down."""
    caplog.set_level("INFO")
    caplog.set_level("INFO", logger="qupersync_shared.runtime.http")


Start = Callable[..., Awaitable[tuple[Served, int]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    begun: list[Served] = []

    async def start(app: ASGIApp, *, where: At | None = None, limits: Limits | None = None) -> tuple[Served, int]:
        served = Served(app, where or At(), limits)
        begun.append(served)
        return served, await served.port()

    yield start
    for served in begun:
        await served.end()


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def defect(_: Request) -> Response:
    raise RuntimeError("a defect of the application")


def app() -> Starlette:
    routes = [Route("/", hello), Route("/echo", echo, methods=["POST"]), Route("/defect", defect)]
    return Starlette(routes=routes)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as one:
        one.bind(("::1", 0))
        return True
    return False


async def test_port_0_is_a_free_one_which_is_told(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    _, port = await start(app())

    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hello"
    (served,) = [record for record in caplog.records if record.message == "http_serves"]
    assert vars(served)["qupersync_fields"]["url"] == f"http://127.0.0.1:{port}"


async def test_a_server_does_not_say_what_it_is(start: Start) -> None:
    _, port = await start(app())

    async with httpx.AsyncClient() as client:
        assert "server" not in (await client.get(f"http://127.0.0.1:{port}/")).headers


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_ipv6_is_served(start: Start, host: str) -> None:
    _, port = await start(app(), where=At(host=host))

    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://[::1]:{port}/")).status_code == 200


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["localhost", "::"])
async def test_both_kinds_of_addresses_are_served_where_the_host_has_both(start: Start, host: str) -> None:
    _, port = await start(app(), where=At(host=host))

    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200


async def test_the_second_of_two_takes_over_and_complains_once(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_AGAIN_SECONDS", 0.05)
    tried: asyncio.Queue[None] = asyncio.Queue()

    async def trying(where: At) -> list[socket.socket]:
        try:
            return await listening(where)
        finally:
            tried.put_nowait(None)

    first, port = await start(app())
    monkeypatch.setattr(serving, "listening", trying)
    second = Served(app(), At(port=port))
    try:
        async with asyncio.timeout(SECONDS):
            for _ in range(3):
                await tried.get()
        await first.end()

        assert await second.port() == port
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
        (complaint,) = [record for record in caplog.records if record.message == "http_not_served"]
        assert "a port of its own" in vars(complaint)["qupersync_fields"]["error"]
    finally:
        await second.end()


async def test_a_port_that_is_taken_on_one_address_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = At(host="localhost", port=other.getsockname()[1])
        with pytest.raises(PortTakenError, match="another process listens"):
            await listening(where)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_host_that_is_none_of_this_machine_ends_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(serving, "_AGAIN_SECONDS", 0.01)
    failed = asyncio.Event()

    async def failing(where: At) -> list[socket.socket]:
        try:
            return await listening(where)
        except TransientError:
            failed.set()
            raise

    monkeypatch.setattr(serving, "listening", failing)
    served = Served(app(), At(host=host, port=free_port()))
    async with asyncio.timeout(SECONDS):
        await failed.wait()

    await served.end()
    (complaint,) = [record for record in caplog.records if record.message == "http_not_served"]
    assert "configuration" in vars(complaint)["qupersync_fields"]["error"]


async def test_a_defect_is_a_500_and_nothing_else(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    _, port = await start(app())

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/defect")).status_code == 500
        assert (await client.get("/")).status_code == 200
    (logged,) = [record for record in caplog.records if record.message == "http_failed"]
    assert vars(logged)["qupersync_fields"]["path"] == "/defect"


async def test_a_defect_of_a_bare_application_is_a_problem(start: Start) -> None:
    async def bare(scope: object, receive: object, send: object) -> None:
        raise RuntimeError("a defect")

    _, port = await start(with_lifespan(bare))

    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_application_that_does_not_start_is_tried_again(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_AGAIN_SECONDS", 0.01)
    tries = 0

    @contextlib.asynccontextmanager
    async def fails_once(_: Starlette) -> AsyncIterator[None]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("not today")
        yield

    served, _ = await start(Starlette(routes=[Route("/", hello)], lifespan=fails_once))

    port = await served.port()  # of the second time
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
    assert any(record.message == "http_application_failed" for record in caplog.records)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused(start: Start, announced: bool) -> None:
    _, port = await start(app(), limits=Limits(body_bytes=1000))

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield b"x" * 600

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.post("/echo", content=b"x" * 1000)).text == "1000"
        refused = await client.post("/echo", content=b"x" * 1200 if announced else parts())
    assert refused.status_code == 413
    assert refused.headers["connection"] == "close"


async def test_headers_without_an_end_are_refused(start: Start) -> None:
    _, port = await start(app(), limits=Limits(head_bytes=4096))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nX-Long: " + b"x" * 10_000)

    async with asyncio.timeout(SECONDS):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()


async def test_whoever_connects_and_says_nothing_is_shown_the_door(start: Start) -> None:
    _, port = await start(app(), limits=Limits(head_seconds=0.05))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: ")

    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(start: Start) -> None:
    _, port = await start(app(), limits=Limits(body_seconds=0.05))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n12345")

    async with asyncio.timeout(SECONDS):
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_more_connections_than_allowed_are_told_so(start: Start) -> None:
    _, port = await start(app(), limits=Limits(connections=2))
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]

    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 503
    for _, writer in idle:
        writer.close()


async def test_a_response_without_an_end_does_not_hold_the_process(start: Start) -> None:
    async def forever() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async def endless(_: Request) -> Response:
        return StreamingResponse(forever())

    served, port = await start(Starlette(routes=[Route("/", endless)]))
    async with httpx.AsyncClient() as client, client.stream("GET", f"http://127.0.0.1:{port}/") as answer:
        parts = answer.aiter_raw()
        assert await anext(parts) == b"first"

        await served.end()

    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_server_that_is_cancelled_leaves_nothing_open(start: Start) -> None:
    served, port = await start(app())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert await reader.readline()

    served.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await served.task

    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    served.stop.request()
    served.task = asyncio.create_task(asyncio.sleep(0))


async def test_signals_stay_with_the_process(start: Start) -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    await start(app())

    assert signal.getsignal(signal.SIGTERM) is before


def test_an_address_of_six_has_brackets() -> None:
    assert shown("::1", 80) == "[::1]:80"
    assert shown("localhost", 80) == "localhost:80"


def with_lifespan(bare: ASGIApp) -> ASGIApp:
    """An application that starts and ends as the protocol wants it."""
    inner = Starlette()

    async def whole(scope, receive, send) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        await (bare if scope["type"] == "http" else inner)(scope, receive, send)

    return whole
