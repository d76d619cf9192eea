"""The front of the stand-in: accepts Redshift drivers and talks to the PostgreSQL behind for them."""

import asyncio
import ssl
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from qupersync_local.standin import wire
from qupersync_local.standin.conversation import Conversation
from qupersync_local.standin.faults import FaultBook, FaultKind, Taken

_CHUNK_BYTES = 1 << 18
_BUFFER_BYTES = 1 << 20
_STARTUP_BYTES_MAX = 10_000
_STALL_STEP_SECONDS = 0.02


class Behind(Protocol):
    """The server behind: a unix socket where there is one, else host and port."""

    @property
    def socket(self) -> Path | None: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class Front:
    """Listens on 127.0.0.1. `protocol` is the highest version it offers: 2 as a cluster, 0 for rows as they are."""

    def __init__(
        self,
        *,
        behind: Behind,
        book: FaultBook,
        types: Mapping[int, int],
        protocol: int = 2,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.protocol = protocol
        self.tls = tls
        self.types = dict(types)
        self._behind = behind
        self._book = book
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def run(self) -> None:
        """Listen, on the port it had before if it listened before."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, limit=_BUFFER_BYTES, backlog=256, reuse_address=True
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every session; `run` listens on the same port again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop_sessions()

    async def drop_sessions(self) -> None:
        """Break every open connection, as a restart or a failover of the cluster does."""
        tasks = dict(self._sessions)
        for task, writer in tasks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def sessions(self) -> int:
        """How many connections are open."""
        return len(self._sessions)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._sessions[task] = writer
        task.add_done_callback(lambda done: self._sessions.pop(done, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._book.take_refusal() is not None:
                return
            parameters = await self._startup(reader, writer)
            if parameters is not None:
                await self._session(parameters, reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError, struct.error):
            pass  # one of the two sides is gone, or the client does not speak the protocol
        finally:
            writer.close()

    async def _startup(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, str] | None:
        """Answer requests for encryption and cancellation; the startup packet's parameters, or None when done."""
        while True:
            (size,) = struct.unpack("!i", await reader.readexactly(4))
            if not 8 <= size <= _STARTUP_BYTES_MAX:  # noqa: PLR2004 - length and code
                return None
            body = await reader.readexactly(size - 4)
            (code,) = struct.unpack_from("!i", body)
            if code == wire.PROTOCOL_3:
                return wire.startup_parameters(body[4:])
            if code == wire.CANCEL_REQUEST:
                await self._forward_cancel(struct.pack("!i", size) + body)
                return None
            encrypt = code == wire.SSL_REQUEST and self.tls is not None
            if code not in {wire.SSL_REQUEST, wire.GSS_REQUEST}:
                return None
            writer.write(b"S" if encrypt else b"N")
            await writer.drain()
            if encrypt and self.tls is not None:
                await writer.start_tls(self.tls)

    async def _open_behind(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = self._behind.socket
        if path is not None:
            return await asyncio.open_unix_connection(str(path), limit=_BUFFER_BYTES)
        return await asyncio.open_connection(self._behind.host, self._behind.port, limit=_BUFFER_BYTES)

    async def _forward_cancel(self, packet: bytes) -> None:
        reader, writer = await self._open_behind()
        writer.write(packet)
        await writer.drain()
        await reader.read()  # the server closes when it has passed the request on
        writer.close()

    async def _session(
        self, parameters: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        taken = self._book.take_connection(parameters)
        if taken is not None and taken.fault.kind is FaultKind.SLOW_CONNECT:
            await self._stall(taken)
        elif taken is not None:
            text = f'password authentication failed for user "{parameters.get("user", "")}"'
            writer.write(wire.error(code="28000", text=text, severity="FATAL"))
            await writer.drain()
            return
        wanted = parameters.get("client_protocol_version")
        conversation = Conversation(
            book=self._book,
            types=self.types,
            protocol=min(int(wanted), self.protocol) if wanted and wanted.isdigit() else 0,
            announce=wanted is not None,
        )
        behind_reader, behind_writer = await self._open_behind()
        try:
            kept = {key: value for key, value in parameters.items() if key not in wire.REDSHIFT_ONLY}
            behind_writer.write(wire.startup_packet(kept))
            asking = asyncio.ensure_future(_ask(conversation, reader, behind_writer))
            answering = asyncio.ensure_future(self._answer(conversation, behind_reader, writer))
            both = (asking, answering)
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            behind_writer.transport.abort()

    async def _answer(
        self, conversation: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass answers on until one side ends or a fault breaks the connection."""
        while chunk := await reader.read(_CHUNK_BYTES):
            output = conversation.from_server(chunk)
            while True:
                writer.write(output.data)
                await writer.drain()
                if output.fault is None:
                    break
                if output.fault.fault.kind is FaultKind.DROP:
                    return
                await self._stall(output.fault)
                output = conversation.from_server(b"")
            self._watch_idle(conversation, writer)

    def _watch_idle(self, conversation: Conversation, writer: asyncio.StreamWriter) -> None:
        taken, conversation.idle_close = conversation.idle_close, None
        if taken is None:
            return
        asked = conversation.asked

        def close() -> None:
            if conversation.asked == asked:
                writer.close()

        asyncio.get_running_loop().call_later(taken.fault.seconds, close)

    async def _stall(self, taken: Taken) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + taken.fault.seconds
        while loop.time() < end and self._book.holds(taken.number):  # noqa: ASYNC110 - withdrawn by any thread
            await asyncio.sleep(min(_STALL_STEP_SECONDS, max(0.0, end - loop.time())))


async def _ask(conversation: Conversation, reader: asyncio.StreamReader, behind: asyncio.StreamWriter) -> None:
    """Pass what the client asks on until it ends."""
    while chunk := await reader.read(_CHUNK_BYTES):
        behind.write(conversation.from_client(chunk))
        await behind.drain()
