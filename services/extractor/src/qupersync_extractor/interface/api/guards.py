"""Around the application: who is called by what name, how much a request may say, and headers that browsers heed."""

import asyncio
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qupersync_extractor.interface.api.problems import RETRY_SECONDS, ProblemError, defect
from qupersync_shared.runtime.logs import get_logger

BODY_BYTES_MAX: Final = 65_536
READ_SECONDS_MAX: Final = 15.0  # a database that hangs gives its statements up after minutes
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # with no-referrer browsers send forms from `Origin: null`
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_log = get_logger(__name__)


class SafeHeaders:
    """Gives every answer headers that keep browsers from guessing, framing and remembering; a route's own stand."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, headed)


class NoTracebacks:
    """Answers what nobody foresaw as a problem, and logs it with its cause."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if scope["type"] != "http" or begun:
                raise
            _log.exception("http_failed", server="control", method=scope["method"], path=scope["path"])
            await defect().response()(scope, receive, send)


class KnownHosts:
    """Refuses requests under a foreign name: a page elsewhere may have its own name point at this machine."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.strip("[]").lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = _name(Headers(scope=scope).get("host", ""))
            if host not in self._hosts:
                known = ", ".join(sorted(self._hosts))
                refused = ProblemError(
                    421,
                    "foreign-host",
                    "This is not the host that was asked for",
                    f"without tokens requests are answered under the names {known}, not {host[:100]!r}",
                    cure="Ask http://127.0.0.1, or write control.tokens",
                )
                await refused.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


class PromptReads:
    """Answers what only looks within a time limit, whatever hangs behind it; what acts is left to its end."""

    def __init__(self, app: ASGIApp, *, seconds_max: float = READ_SECONDS_MAX) -> None:
        self._app = app
        self._seconds_max = seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds_max) as limit:
                await self._app(scope, receive, noted)
        except TimeoutError:
            if not limit.expired() or begun:
                raise
            await _unanswered(self._seconds_max).response()(scope, receive, send)


class SmallBodies:
    """Reads each body whole before anything is done with it, and refuses one that is too large.

    What arrives in part is dropped: a request may say less than was meant, such as all pipelines instead of one.
    """

    def __init__(self, app: ASGIApp, *, bytes_max: int = BODY_BYTES_MAX) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        try:
            body = await self._whole(receive) if not announced.isdigit() or int(announced) <= self._bytes_max else None
        except ClientDisconnect:
            _log.debug("http_client_left", server="control", path=scope["path"])
            return
        if body is None:
            await self._refusal().response()(scope, receive, send)
            return
        given = False

        async def whole() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, whole, send)

    async def _whole(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > self._bytes_max:
                return None
            if not message.get("more_body", False):
                return bytes(body)

    def _refusal(self) -> ProblemError:
        title = "The body is too large"
        return ProblemError(413, "too-large", title, f"it has more than {self._bytes_max} bytes", cure="Send less")


def _unanswered(seconds: float) -> ProblemError:
    return ProblemError(
        503,
        "unavailable",
        "A part of the system does not answer",
        f"there was no answer within {seconds:g} s",
        cure="GET /ready says which part it is",
        headers={"Retry-After": str(RETRY_SECONDS)},
    )


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
