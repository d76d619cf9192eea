"""Around every application: no request is larger or slower than it may be, none goes unlogged, no defect gets out."""

import asyncio
import time
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qupersync_shared.runtime.logs import get_logger

PROBLEM: Final = "application/problem+json"
_TOO_SLOW: Final = HTTPStatus.REQUEST_TIMEOUT
_TOO_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_DEFECT: Final = HTTPStatus.INTERNAL_SERVER_ERROR

_log = get_logger(__name__)


class Guard:
    """The application with limits on what clients send: so many bytes, and so many seconds from one part to the next.

    Requests are logged at debug, without what follows their path. A connection whose request was given up is closed.
    """

    def __init__(self, app: ASGIApp, *, server: str, body_bytes_max: int, body_seconds_max: float) -> None:
        self._app = app
        self._server = server
        self._body_bytes_max = body_bytes_max
        self._body_seconds_max = body_seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._begin_and_end(scope, receive, send)
            return
        began = time.monotonic()
        answer = _Answer(send)
        try:
            self._check(_announced(scope), answer)
            await self._app(scope, self._within(receive, answer), answer.send)
        except HTTPException as error:
            if answer.status is None:
                await _problem(error.status_code, str(error.detail))(scope, receive, answer.send)
        except ClientDisconnect:
            _log.debug("http_client_left", server=self._server, path=scope["path"])
        except Exception:  # noqa: BLE001  # one request must not end the server
            _log.exception("http_failed", server=self._server, method=scope["method"], path=scope["path"])
            if answer.status is None:
                await _problem(_DEFECT, "This is a defect: the log of the process has `http_failed` with its cause")(
                    scope, receive, answer.send
                )
        finally:
            _log.debug(
                "http_request",
                server=self._server,
                method=scope["method"],
                path=scope["path"],
                status=answer.status,
                milliseconds=round((time.monotonic() - began) * 1000, 1),
            )

    async def _begin_and_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:
            _log.exception("http_application_failed", server=self._server)
            raise

    def _within(self, receive: Receive, answer: "_Answer") -> Receive:
        size = 0
        whole = False

        async def limited() -> Message:
            nonlocal size, whole
            if whole:  # what comes now is the client's end, which may be waited for
                return await receive()
            try:
                async with asyncio.timeout(self._body_seconds_max):
                    message = await receive()
            except TimeoutError:
                answer.closes = True
                raise HTTPException(_TOO_SLOW, f"Nothing came for {self._body_seconds_max:g} s") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            self._check(size, answer)
            return message

        return limited

    def _check(self, size: int, answer: "_Answer") -> None:
        if size > self._body_bytes_max:
            answer.closes = True  # else all of it would be read to reach the next request
            raise HTTPException(_TOO_LARGE, f"The body has more than {self._body_bytes_max} bytes")


class _Answer:
    """What has been answered so far, and whether the connection ends with it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.closes = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.closes:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await self._send(message)


def _announced(scope: Scope) -> int:
    """The body's size by its header; 0 where it does not say, and what comes is counted."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _problem(status: int, detail: str) -> JSONResponse:
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"title": title, "status": int(status), "detail": detail}, status_code=status, media_type=PROBLEM
    )
