"""Commands: answered by one process, only after the handler returned; a failure gets no reply."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from qupersync_extractor.infrastructure.jetstream.commands import CommandServer, Handlers
from qupersync_local.nats import LocalNats
from qupersync_shared.contracts.commands import (
    Accepted,
    ForkReport,
    RereadRequest,
    ResendReply,
    ResendRequest,
    ResendStatus,
    SnapshotRequest,
)
from qupersync_shared.contracts.subjects import COMMAND_FORK, COMMAND_REREAD, COMMAND_RESEND, COMMAND_SNAPSHOT
from qupersync_shared.kernel.errors import DatabaseUnavailableError, StreamUnavailableError
from qupersync_shared.runtime.commands import ask
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import NatsSection

RESEND = ResendRequest(group="main", pipeline="cost", lane=1, log=1, from_sequence=7)
STUCK = "stuck"
SNAPSHOT = SnapshotRequest(group="main", pipeline="cost", log=1, reason="no baseline")


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    def handlers(self) -> Handlers:
        return Handlers(resend=self.resend, snapshot=self.accept, fork=self.accept, reread=self.accept)

    async def resend(self, request: ResendRequest) -> ResendReply:
        await self._take(request)
        return ResendReply(status=ResendStatus.REWOUND, generation=4)

    async def accept(self, request: SnapshotRequest | ForkReport | RereadRequest) -> Accepted:
        await self._take(request)
        return Accepted()

    async def _take(self, request: Any) -> None:
        self.seen.append(request)
        self.entered.set()
        await (asyncio.Event() if request.group == STUCK else self.gate).wait()
        if self.error:
            raise self.error


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def serve(connection: Connection, recorder: Recorder, **bounds: Any) -> CommandServer:
    server = CommandServer(connection, recorder.handlers(), **bounds)
    await server.start()
    await connection.client()
    return server


async def test_each_command_reaches_its_handler_and_is_answered(connection: Connection, recorder: Recorder) -> None:
    server = await serve(connection, recorder)
    client = await connection.client()
    fork = ForkReport(group="main", pipeline="cost", lane=0, log=1, sequence=3, event_id=uuid4())

    assert await ask(client, COMMAND_RESEND, RESEND, ResendReply) == ResendReply(
        status=ResendStatus.REWOUND, generation=4
    )
    assert await ask(client, COMMAND_SNAPSHOT, SNAPSHOT, Accepted) == Accepted()
    assert await ask(client, COMMAND_FORK, fork, Accepted) == Accepted()
    reread = RereadRequest(id=uuid4(), group="main", pipeline="cost", reason="quarantined", keys=("k",))
    assert await ask(client, COMMAND_REREAD, reread, Accepted) == Accepted()
    assert recorder.seen == [RESEND, SNAPSHOT, fork, reread]
    await server.stop()


async def test_the_reply_waits_for_the_handler(connection: Connection, recorder: Recorder) -> None:
    server = await serve(connection, recorder)
    recorder.gate.clear()
    asking = asyncio.create_task(ask(await connection.client(), COMMAND_RESEND, RESEND, ResendReply))
    await asyncio.wait_for(recorder.entered.wait(), 60)
    done, _ = await asyncio.wait([asking], timeout=0.2)
    assert not done
    recorder.gate.set()
    assert (await asyncio.wait_for(asking, 60)).status is ResendStatus.REWOUND
    await server.stop()


@pytest.mark.parametrize("error", [DatabaseUnavailableError("the outbox is away"), RuntimeError("a defect")])
async def test_a_failed_command_gets_no_reply_and_the_next_one_is_served(
    connection: Connection, recorder: Recorder, error: Exception
) -> None:
    server = await serve(connection, recorder)
    client = await connection.client()
    recorder.error = error
    with pytest.raises(StreamUnavailableError):
        await ask(client, COMMAND_SNAPSHOT, SNAPSHOT, Accepted, timeout=0.5)
    recorder.error = None
    assert await ask(client, COMMAND_SNAPSHOT, SNAPSHOT, Accepted) == Accepted()
    await server.stop()


async def test_a_malformed_command_is_passed_over(connection: Connection, recorder: Recorder) -> None:
    server = await serve(connection, recorder)
    client = await connection.client()
    await client.publish(COMMAND_RESEND, b'{"group": 1}')
    await client.publish(COMMAND_RESEND, b"\xff")
    await ask(client, COMMAND_RESEND, RESEND, ResendReply)
    assert recorder.seen == [RESEND]
    await server.stop()


async def test_a_handler_that_hangs_holds_no_other_command_up(connection: Connection, recorder: Recorder) -> None:
    server = await serve(connection, recorder, seconds_max=1)
    client = await connection.client()
    stuck = RESEND.model_copy(update={"group": STUCK})
    hanging = asyncio.create_task(ask(client, COMMAND_RESEND, stuck, ResendReply, timeout=3))
    await asyncio.wait_for(recorder.entered.wait(), 60)
    for _ in range(20):
        await ask(client, COMMAND_RESEND, RESEND, ResendReply, timeout=3)
    assert not hanging.done()
    with pytest.raises(StreamUnavailableError):
        await hanging
    await server.stop()


async def test_nobody_there_says_so(connection: Connection) -> None:
    with pytest.raises(StreamUnavailableError, match="nobody answers"):
        await ask(await connection.client(), COMMAND_RESEND, RESEND, ResendReply)


async def test_one_of_several_processes_answers(section: NatsSection) -> None:
    recorders = [Recorder() for _ in range(3)]
    connections = [Connection(section, name=f"extractor-{number}") for number in range(3)]
    servers = [await serve(c, r) for c, r in zip(connections, recorders, strict=True)]
    asker = Connection(section, name="asker")
    for _ in range(30):
        await ask(await asker.client(), COMMAND_SNAPSHOT, SNAPSHOT, Accepted)
    assert sum(len(recorder.seen) for recorder in recorders) == 30
    await asyncio.gather(*(server.stop() for server in servers))
    await asyncio.gather(*(connection.close() for connection in [*connections, asker]))


async def test_commands_are_served_again_after_the_server_returned_and_after_a_new_client(
    server: LocalNats, connection: Connection, section: NatsSection, recorder: Recorder
) -> None:
    served = await serve(connection, recorder)
    asker = Connection(section, name="asker", timeout=3)
    await asker.client()

    async def once() -> None:
        await connection.client()
        await ask(await asker.client(), COMMAND_SNAPSHOT, SNAPSHOT, Accepted, timeout=1)

    await once()
    await server.restart()
    await eventually(once)
    await (await connection.client()).close()  # as after an authorization error
    await eventually(once)
    await served.stop()
    await asker.close()


async def test_starting_needs_no_server(recorder: Recorder) -> None:
    async with LocalNats.start() as server:
        section = NatsSection(servers=[server.url])
        await server.stop()
        connection = Connection(section, name="early", timeout=1)
        commands = CommandServer(connection, recorder.handlers())
        await commands.start()
        await server.run()
        await eventually(connection.client)
        assert await ask(await connection.client(), COMMAND_SNAPSHOT, SNAPSHOT, Accepted) == Accepted()
        await commands.stop()
        await connection.close()


async def test_stopping_answers_what_is_under_way_and_takes_no_more(
    connection: Connection, section: NatsSection, recorder: Recorder
) -> None:
    served = await serve(connection, recorder)
    asker = Connection(section, name="asker")
    recorder.gate.clear()
    asking = asyncio.create_task(ask(await asker.client(), COMMAND_RESEND, RESEND, ResendReply))
    await asyncio.wait_for(recorder.entered.wait(), 60)
    stopping = asyncio.create_task(served.stop())
    await asyncio.sleep(0)
    recorder.gate.set()
    assert (await asking).status is ResendStatus.REWOUND
    await stopping
    with pytest.raises(StreamUnavailableError):
        await ask(await asker.client(), COMMAND_RESEND, RESEND, ResendReply, timeout=1)
    await asker.close()


async def eventually(action: Callable[[], Awaitable[Any]], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            await action()
        except StreamUnavailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return
