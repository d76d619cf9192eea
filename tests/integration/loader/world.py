"""A pipeline on a real stream with a real target, and loader processes over it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import Event, Extractor, pipeline

from qupersync_local.services import LOADER, ServiceProcess, Services
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection, ensure_stream
from qupersync_shared.runtime.settings import NatsSection

SECONDS_MAX = 30.0


async def eventually(
    condition: Callable[[], Awaitable[Any]], what: str, *, seconds: float = SECONDS_MAX, services: Any = None
) -> Any:
    """The first true value of the condition; fails, saying what was waited for, when time is over."""
    deadline = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            words = "" if services is None else "\n".join(p.tail() for p in services.processes.values())
            raise AssertionError(f"not within {seconds:g} s: {what}\n{words}")
        await asyncio.sleep(0.05)


@dataclass(kw_only=True)
class World:
    postgres: PostgresHarness
    client: Client
    connection: Connection
    section: NatsSection
    services: Services
    source: Extractor
    answers: dict[str, list[Msg]] = field(default_factory=dict)

    @property
    def name(self) -> PipelineName:
        return self.source.name

    async def declare(self) -> None:
        await ensure_stream(self.client.jetstream(), self.name, self.section)

    async def publish(self, *pages: Sequence[Event], generation: int = 0) -> None:
        js = self.client.jetstream()
        for event in [event for page in pages for event in page]:
            await js.publish(event.envelope.subject, event.body, headers=event.headers(generation))

    async def rows(self) -> dict[Any, Any]:
        found = await self.postgres.rows(pipeline(name=self.name))
        return {row["id"]: row["name"] for row in found}

    async def sequences(self) -> list[int]:
        rows = await self.postgres.fetch("SELECT sequence FROM qupersync_watermark ORDER BY lane")
        return [row[0] for row in rows]

    async def applied(self, sequence: int, *, lanes: int | None = None) -> None:
        """Waits until every lane has applied the sequence."""

        async def there() -> bool:
            return await self.sequences() == [sequence] * (lanes or self.source.lanes)

        await eventually(there, f"sequence {sequence} on every lane", services=self.services)

    def loader(self, name: str = "loader", *arguments: str) -> ServiceProcess:
        return self.services.add(name, LOADER, "run", *arguments)

    async def run_until_drained(self, name: str = "drain") -> ServiceProcess:
        process = self.loader(name, "--until-drained")
        await process.start()
        await process.wait(60)
        return process

    async def heartbeats(self) -> list[ProcessHeartbeat]:
        with contextlib.suppress(bucket.BucketMissingError):
            found = await bucket.read(self.client, ["process.loader.>"])
            beats = [ProcessHeartbeat.model_validate_json(entry.value) for entry in found.values()]
            return [beat for beat in beats if beat.group == self.group]
        return []

    async def forget_heartbeats(self) -> None:
        """What killed processes have left in the bucket: other tests of the same server would miss them."""
        for key, entry in (await bucket.read(self.client, ["process.loader.>"])).items():
            if ProcessHeartbeat.model_validate_json(entry.value).group == self.group:
                await bucket.remove(self.client.jetstream(), key)

    async def progress(self) -> list[LaneProgress]:
        with contextlib.suppress(bucket.BucketMissingError):
            found = await bucket.read(self.client, [f"lane.{self.group}.{self.name}.*"])
            return [LaneProgress.model_validate_json(entry.value) for entry in found.values()]
        return []

    @property
    def group(self) -> str:
        return f"g_{self.name}"

    async def trouble(self) -> str | None:
        """What some living loader says of the pipeline; "" when all say that nothing is wrong."""
        beats = await self.heartbeats()
        return next((b.troubles[self.name] for b in beats if self.name in b.troubles), "") if beats else None

    async def serve(self, subject: str, answer: Callable[[bytes], bytes]) -> list[Msg]:
        """Answers a command for this pipeline; the messages it got."""
        got: list[Msg] = []
        marker = f'"{self.name}"'.encode()

        async def receive(message: Msg) -> None:
            if marker in message.data:
                got.append(message)
                await message.respond(answer(message.data))

        await self.client.subscribe(subject, cb=receive)
        await self.client.flush()
        return got


class Proxy:
    """A door between loader and target that can be shut as a crash would: refused, and reset."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._host, self._port = parts.hostname or "", parts.port or 5432
        self._parts = parts
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._own_port = 0

    @property
    def dsn(self) -> str:
        credentials = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{credentials}@127.0.0.1:{self._own_port}"))

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, far_writer}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        for each in (writer, far_writer):
            self._writers.discard(each)
            each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def opened(
    postgres: PostgresHarness,
    nats_url: str,
    *,
    lanes: int = 2,
    connections: int = 4,
    dsn: str | None = None,
    connect: bool = True,
    **pipeline_section: Any,
) -> AsyncIterator[World]:
    """A world with a pipeline of its own; the stream is declared if NATS is to be connected to now."""
    name = f"p{uuid4().hex[:10]}"
    section = NatsSection(servers=[nats_url])
    connection = Connection(section, name="test", timeout=5)
    configuration = {
        "nats": {"servers": [nats_url]},
        "target": {"dsn": dsn or postgres.dsn},
        "loader": {"group": f"g_{name}", "connections": connections, "ack_wait": "5s"},
        "pipelines": {
            name: {"from": "src.people", "into": "public.people", "key": ["id"], "lanes": lanes, **pipeline_section}
        },
    }
    async with Services.opened(configuration) as services:
        world = World(
            postgres=postgres,
            client=await connection.client() if connect else Client(),
            connection=connection,
            section=section,
            services=services,
            source=Extractor(name=name, lanes=lanes),
        )
        try:
            if connect:
                await world.declare()
            yield world
        finally:
            await services.stop()
            if connect:
                with contextlib.suppress(Exception):
                    await world.client.jetstream().delete_stream(f"qupersync_{name}")
                with contextlib.suppress(Exception):
                    await world.forget_heartbeats()
            await connection.close()
