"""Serves an application inside the running event loop, for as long as the process does what it is there for."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.http.guarding import Guard
from qupersync_shared.runtime.http.listening import Listen, listening, shown
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import describe, get_logger

_AGAIN_SECONDS: Final = 3.0
_GRACE_SECONDS: Final = 1
_LATE_SECONDS: Final = 2.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may take: beyond `connections` they are told 503, beyond the sizes 413 or 400."""

    connections: int = 200
    head_bytes: int = 32_768
    head_seconds: float = 10.0
    body_bytes: int = 1_000_000
    body_seconds: float = 15.0
    idle_seconds: int = 15


async def serve(
    app: ASGIApp,
    listen: Listen,
    stop: Stop,
    *,
    name: str,
    limits: Limits | None = None,
    told: Callable[[int], None] | None = None,
) -> None:
    """Serves until the stop is requested, and raises nothing: where it cannot, it says why and tries again.

    Of several processes with one port one serves, and another takes over when that one ends. `told` is called with the
    port whenever it begins to listen. Responses under way at the end get a second.
    """
    log = _log.bind(server=name)
    known: str | None = None
    while not stop.requested:
        try:
            sockets = await listening(listen)
            known = None
            port = sockets[0].getsockname()[1]
            log.info("http_serves", url=f"http://{shown(listen.host, port)}")
            if told is not None:
                told(port)
            await _serve(app, sockets, stop, name=name, limits=limits or Limits())
        except QupersyncError as error:
            if (reason := describe(error)) != known:
                log.warning("http_not_served", error=reason)
            known = reason
        except (Exception, SystemExit):  # uvicorn ends the process where an application does not start
            log.exception("http_server_failed")
        if not stop.requested:
            await stop.wait(_AGAIN_SECONDS)


async def _serve(app: ASGIApp, sockets: list[socket.socket], stop: Stop, *, name: str, limits: Limits) -> None:
    guarded = Guard(app, server=name, body_bytes_max=limits.body_bytes, body_seconds_max=limits.body_seconds)
    server = _Server(
        uvicorn.Config(
            guarded,
            http=_protocol(limits.head_seconds),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="critical",  # what matters is logged here, in our own words
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=limits.connections,
            timeout_keep_alive=limits.idle_seconds,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            h11_max_incomplete_event_size=limits.head_bytes,
        )
    )
    ending = asyncio.create_task(_end_with(server, stop))
    try:
        await server.serve(sockets)
    finally:
        await end_tasks([ending])
        server.let_go()
        for one in sockets:
            one.close()


async def _end_with(server: uvicorn.Server, stop: Stop) -> None:
    await stop.wait()
    server.should_exit = True
    await asyncio.sleep(_GRACE_SECONDS + _LATE_SECONDS)
    server.force_exit = True


class _Server(uvicorn.Server):
    """Leaves the signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def let_go(self) -> None:
        """Closes what a server that was cancelled leaves open."""
        for listener in getattr(self, "servers", ()):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _protocol(head_seconds: float) -> type[H11Protocol]:
    """What uvicorn has, for connections that do not say what they want within so many seconds: they are closed."""

    class Protocol(H11Protocol):
        _silence: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._heard()
            super().connection_lost(exc)

        def _watch(self) -> None:
            answering = getattr(self, "cycle", None)  # None before the first request, whatever its type says
            if answering and not answering.response_complete:
                self._heard()
            elif self._silence is None and not self.transport.is_closing():
                self._silence = self.loop.call_later(head_seconds, self.transport.abort)

        def _heard(self) -> None:
            if self._silence is not None:
                self._silence.cancel()
                self._silence = None

    return Protocol
