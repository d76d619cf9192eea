"""A TCP proxy inside the test's process: what it carries can be slowed, held, cut in the middle, or refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

_CHUNK: Final = 64 * 1024


@dataclass(slots=True, eq=False)
class Proxy:
    """Listens on `port` for one server. All switches may be turned while connections are open.

    `bytes_per_second`: the greatest rate in each direction; `delay_seconds`: added to each chunk; `refusing`: new
    connections are closed at once; `hold()` stops everything without closing, as a cable that was pulled; `cut()`
    closes all open connections; `cut_after(bytes)` closes a connection when so much more came from the server;
    `swallow(match)` drops, once, the chunk from the server for which `match` holds, and cuts that connection.
    `hold_at(bytes)` holds from the client's chunk on that contains these bytes. `withheld` is what clients have sent
    since things are held; `watch` sees every chunk from the server that passes.
    """

    host: str
    server_port: int
    port: int = 0
    refusing: bool = False
    bytes_per_second: float | None = None
    delay_seconds: float = 0.0
    connections: int = 0
    cuts: int = 0
    withheld: bytearray = field(default_factory=bytearray)
    watch: Callable[[bytes], None] | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _cut_after: int | None = None
    _swallow: Callable[[bytes], bool] | None = None
    _hold_at: bytes | None = None

    @classmethod
    @asynccontextmanager
    async def opened(cls, host: str, server_port: int) -> AsyncIterator["Proxy"]:
        proxy = cls(host=host, server_port=server_port)
        proxy._flowing.set()
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.release()
            await proxy.cut()
            await server.wait_closed()

    def hold(self) -> None:
        """Nothing passes any more, nothing is closed."""
        self.withheld.clear()
        self._flowing.clear()

    def hold_at(self, content: bytes) -> None:
        """`hold()` as soon as a client sends this, once: nobody's patience is used up before."""
        self._hold_at = content

    def release(self) -> None:
        self._flowing.set()

    def cut_after(self, count: int) -> None:
        """The connection that carries the `count`-th byte from the server from now on is cut there, once."""
        self._cut_after = count

    def swallow(self, match: Callable[[bytes], bool]) -> None:
        self._swallow = match

    async def cut(self) -> None:
        """Closes every open connection."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.cuts += bool(tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # a cut connection is what this is for
        finally:
            self._open.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self.host, self.server_port)
        try:
            ways = [
                asyncio.create_task(self._pump(reader, server_writer, from_server=False)),
                asyncio.create_task(self._pump(server_reader, writer, from_server=True)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            server_writer.close()

    async def _held(self, reader: asyncio.StreamReader, chunk: bytes, *, from_server: bool) -> bytes:
        """The chunk and all that follows until things flow again; what clients send shows at once."""
        kept = bytearray()
        flowing: asyncio.Task[object] = asyncio.create_task(self._flowing.wait())
        try:
            while chunk:
                kept += chunk
                if not from_server:
                    self.withheld += chunk
                chunk = await _unless(flowing, reader)
            await flowing
        finally:
            flowing.cancel()
        return bytes(kept)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool) -> None:
        while chunk := await reader.read(_CHUNK):
            if not from_server and self._hold_at is not None and self._hold_at in chunk:
                self._hold_at = None
                self.hold()
            if not self._flowing.is_set():
                chunk = await self._held(reader, chunk, from_server=from_server)
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if self.bytes_per_second:
                await asyncio.sleep(len(chunk) / self.bytes_per_second)
            if from_server and self.watch is not None:
                self.watch(chunk)
            if from_server and self._swallow is not None and self._swallow(chunk):
                self._swallow = None
                self.cuts += 1
                return
            if from_server and self._cut_after is not None:
                if len(chunk) >= self._cut_after:
                    writer.write(chunk[: self._cut_after])
                    self._cut_after = None
                    self.cuts += 1
                    await writer.drain()
                    return
                self._cut_after -= len(chunk)
            writer.write(chunk)
            await writer.drain()


async def _unless(other: asyncio.Task[object], reader: asyncio.StreamReader) -> bytes:
    """What comes next; nothing at the connection's end, or when the other task is done before."""
    reading = asyncio.create_task(reader.read(_CHUNK))
    try:
        await asyncio.wait((other, reading), return_when=asyncio.FIRST_COMPLETED)
    finally:
        reading.cancel()
        await asyncio.wait((reading,))  # a reader has one who reads at a time
    return b"" if reading.cancelled() else reading.result()
