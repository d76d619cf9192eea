"""Wake-ups across processes: LISTEN on a connection of its own, and polling wherever that is not to be had.

What is notified names a pipeline, so that one listener serves all pipelines of a process and wakes those it is about.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import asyncpg

from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.database import DATABASE_ERRORS, connect

OUTBOX_CHANNEL: Final = "qupersync_outbox"
REQUEST_CHANNEL: Final = "qupersync_request"
SOURCE_CHANNEL: Final = "qupersync_source"
_CHANNELS: Final = (OUTBOX_CHANNEL, REQUEST_CHANNEL, SOURCE_CHANNEL)

# A commit may fall between a caller's read, which found nothing, and its wait. So a wait that begins this soon after a
# wake-up ends when this time is over.
GRACE_SECONDS: Final = 0.05
_BLIND_SECONDS_MAX: Final = 1.0
_RECONNECT_SECONDS: Final = (0.2, 5.0)


class PostgresSignals:
    """Wakes waiters when a transaction that notified was committed. The first wait connects; `close` ends it."""

    def __init__(self, dsn: str, *, application_name: str = "qupersync-listen") -> None:
        self._dsn = dsn
        self._application_name = application_name
        self._listener: asyncio.Task[None] | None = None
        self._listening = False
        self._waiters: dict[str, set[asyncio.Future[None]]] = {channel: set() for channel in _CHANNELS}
        self._rung_at: dict[str, float] = {}
        # Names heard that nobody has been told yet; None: some may have been missed.
        self._untold: dict[str, set[str] | None] = dict.fromkeys(_CHANNELS)

    async def wait(self, channel: str, seconds: float) -> None:
        """Returns when the channel was notified, or after `seconds`; sooner where the connection is gone."""
        loop = asyncio.get_running_loop()
        if self._listener is None:
            self._listener = loop.create_task(self._listen(), name="qupersync-listen")
        if not self._listening:
            seconds = min(seconds, _BLIND_SECONDS_MAX)
        since = loop.time() - self._rung_at.get(channel, float("-inf"))
        if since < GRACE_SECONDS:
            seconds = min(seconds, GRACE_SECONDS - since)
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters[channel].add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=max(seconds, 0))
        finally:
            self._waiters[channel].discard(waiter)
            waiter.cancel()

    async def named(self, channel: str, seconds: float) -> frozenset[str] | None:
        """The names that were notified since the last call; none after `seconds`, None where some may be missing.

        For one caller a channel: what it is told is not told again.
        """
        if not self._listening or self._untold[channel] == set():
            await self.wait(channel, seconds)
        names = self._untold[channel]
        self._untold[channel] = set() if self._listening else None
        return None if names is None else frozenset(names)

    async def close(self) -> None:
        """Ends the connection; whoever waits goes on."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        self._ring_all()

    async def _listen(self) -> None:
        first, longest = _RECONNECT_SECONDS
        pause = first
        while True:
            with contextlib.suppress(QupersyncError, *DATABASE_ERRORS):
                connection = await connect(self._dsn, name="outbox", application_name=self._application_name)
                pause = first
                await self._listen_on(connection)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _listen_on(self, connection: asyncpg.Connection) -> None:
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            for channel in _CHANNELS:
                await connection.add_listener(channel, self._hear(channel))
            self._listening = True
            self._ring_all()  # what was notified before is lost: let everybody look
            await ended.wait()
        finally:
            self._listening = False
            connection.terminate()

    def _hear(self, channel: str) -> Callable[..., None]:
        def hear(_connection: Any, _pid: int, _channel: str, name: str) -> None:
            names = self._untold[channel]
            if names is not None:
                names.add(name)
            self._ring(channel)

        return hear

    def _ring(self, channel: str) -> None:
        self._rung_at[channel] = asyncio.get_running_loop().time()
        for waiter in self._waiters[channel]:
            if not waiter.done():
                waiter.set_result(None)

    def _ring_all(self) -> None:
        for channel in _CHANNELS:
            self._untold[channel] = None
            self._ring(channel)
