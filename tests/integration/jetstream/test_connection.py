"""Connections: bounded, honest about the reason, and healing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from qupersync_local.nats import LocalNats
from qupersync_shared.kernel.errors import StreamFullError, StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.jetstream import Connection, connect, ensure_bucket, ensure_consumer, ensure_stream
from qupersync_shared.runtime.settings import NatsSection

COST = PipelineName("cost")


async def until(done: Callable[[], Awaitable[Any]], *, seconds: float = 60) -> Any:
    """Tries until it no longer raises StreamUnavailableError; the last error after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await done()
        except StreamUnavailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def test_no_server_is_said_in_time_with_reason_and_cure() -> None:
    section = NatsSection(servers=["nats://someone:hidden@127.0.0.1:1"])
    began = time.monotonic()
    with pytest.raises(StreamUnavailableError, match="does not answer") as caught:
        await connect(section, name="test", timeout=1)
    assert "ConnectionRefused" in str(caught.value)
    assert time.monotonic() - began < 3
    assert "nats.servers" in caught.value.cure
    assert "hidden" not in str(caught.value)


async def test_a_server_that_accepts_and_says_nothing_is_no_reason_to_hang() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        began = time.monotonic()
        with pytest.raises(StreamUnavailableError, match="does not answer"):
            await connect(NatsSection(servers=[f"nats://127.0.0.1:{port}"]), name="test", timeout=1)
        assert time.monotonic() - began < 3


async def test_refused_credentials_are_called_that() -> None:
    users = {"authorization": {"users": [{"user": "sync", "password": "right"}]}}
    async with LocalNats.start(settings=users) as server:
        section = NatsSection.model_validate({"servers": [server.url], "user": "sync", "password": "wrong"})
        with pytest.raises(StreamUnavailableError, match="credentials"):
            await connect(section, name="test", timeout=1)
        right = NatsSection.model_validate({"servers": [server.url], "user": "sync", "password": "right"})
        client = await connect(right, name="test")
        await client.close()


async def test_a_connection_fails_at_once_while_the_server_is_away_and_heals(
    server: LocalNats, connection: Connection
) -> None:
    client = await connection.client()
    await server.kill()
    await until_disconnected(client)

    began = time.monotonic()
    with pytest.raises(StreamUnavailableError, match="does not answer"):
        await connection.jetstream()
    assert time.monotonic() - began < 0.5

    await server.run()
    js = await until(connection.jetstream)
    await ensure_bucket(js)
    assert await connection.client() is client, "a reconnect keeps the client"


async def test_a_client_that_the_server_closed_for_good_is_replaced(connection: Connection) -> None:
    first = await connection.client()
    await first.close()
    seen: list[Client] = []

    async def hook(client: Client) -> None:
        seen.append(client)

    await connection.on_connect(hook)
    second = await connection.client()
    assert second is not first
    assert seen == [second]
    assert await connection.client() is second


async def test_a_renewed_credential_is_enough(server: LocalNats) -> None:
    section = NatsSection(servers=[server.url])
    connection = Connection(section, name="test", timeout=1)
    client = await connection.client()
    await server.stop()
    server._settings["authorization"] = {"users": [{"user": "sync", "password": "right"}]}
    await server.run()
    with pytest.raises(StreamUnavailableError, match="credentials"):
        await until_closed_then(client, connection)
    await server.stop()
    del server._settings["authorization"]
    await server.run()
    await ensure_bucket(await until(connection.jetstream))
    await connection.close()


async def test_many_callers_wait_for_one_failing_attempt_not_one_after_the_other() -> None:
    connection = Connection(NatsSection(servers=["nats://127.0.0.1:1"]), name="test", timeout=1)
    began = time.monotonic()
    results = await asyncio.gather(*(connection.client() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, StreamUnavailableError) for result in results)
    assert time.monotonic() - began < 4
    await connection.close()


async def test_nothing_published_while_away_arrives_later(
    server: LocalNats, connection: Connection, section: NatsSection
) -> None:
    js = await connection.jetstream()
    await ensure_stream(js, COST, section)
    client = await connection.client()
    await server.kill()
    await until_disconnected(client)
    with pytest.raises(nats.errors.OutboundBufferLimitError):
        await client.publish("qupersync.lane.cost.0", b"late")
    await server.run()
    js = await until(connection.jetstream)
    assert (await js.stream_info("qupersync_cost")).state.messages == 0


async def test_a_stream_is_declared_as_designed_and_follows_the_configuration(
    connection: Connection, section: NatsSection
) -> None:
    js = await connection.jetstream()
    await ensure_stream(js, COST, section)
    await ensure_stream(js, COST, section.model_copy(update={"stream_bytes_max": 8 << 20}))

    config = (await js.stream_info("qupersync_cost")).config
    assert config.subjects == ["qupersync.lane.cost.*"]
    assert (config.retention, config.storage, config.discard) == ("limits", "file", "new")
    assert (config.max_bytes, config.max_msg_size, config.num_replicas) == (8 << 20, 1_000_000, 1)
    assert config.deny_delete
    assert not config.deny_purge
    assert not config.allow_direct, "the relay must read the leader's last message"
    assert config.compression == "none"


async def test_a_small_max_payload_bounds_the_stream() -> None:
    async with LocalNats.start(payload_bytes_max=200_000) as server:
        section = NatsSection(servers=[server.url], stream_bytes_max=8 << 20)
        connection = Connection(section, name="test")
        js = await connection.jetstream()
        await ensure_stream(js, COST, section)
        assert (await js.stream_info("qupersync_cost")).config.max_msg_size == 200_000
        await connection.close()


async def test_a_server_too_small_for_a_stream_says_so_with_the_numbers() -> None:
    async with LocalNats.start(store_bytes_max=10 << 20) as server:
        section = NatsSection(servers=[server.url], stream_bytes_max=8 << 20)
        connection = Connection(section, name="test")
        js = await connection.jetstream()
        await ensure_stream(js, COST, section)
        with pytest.raises(StreamFullError, match=r"8388608 bytes.*nats\.stream_bytes_max") as caught:
            await ensure_stream(js, PipelineName("second"), section)
        assert "max_file_store" in caught.value.cure
        await connection.close()


async def test_a_consumer_is_declared_as_designed_and_updated(connection: Connection, section: NatsSection) -> None:
    js = await connection.jetstream()
    group, lane = GroupName("main"), Lane(2)
    with pytest.raises(StreamUnavailableError, match="stream is missing"):
        await ensure_consumer(js, group, COST, lane, 60)
    await ensure_stream(js, COST, section)
    await ensure_consumer(js, group, COST, lane, 60)
    await ensure_consumer(js, group, COST, lane, 30)

    config = (await js.consumer_info("qupersync_cost", "main_cost_2")).config
    assert (config.ack_policy, config.deliver_policy) == ("explicit", "all")
    assert (config.ack_wait, config.max_ack_pending, config.max_deliver) == (30, 1, -1)
    assert config.filter_subject == "qupersync.lane.cost.2"
    assert not config.backoff


async def test_too_many_replicas_are_refused_with_a_reason(connection: Connection, section: NatsSection) -> None:
    js = await connection.jetstream()
    with pytest.raises(StreamUnavailableError, match="replicas"):
        await ensure_stream(js, COST, section.model_copy(update={"replicas": 3}))


async def test_no_jetstream_is_called_that() -> None:
    async with LocalNats.start() as server:
        await server.stop()
        del server._settings["jetstream"]
        # Without JetStream the greeting lacks what `run` waits for: start the process by hand.
        section = NatsSection(servers=[server.url])
        process = await plain_server(server)
        try:
            connection = Connection(section, name="test", timeout=3)
            js = await until(connection.jetstream)
            with pytest.raises(StreamUnavailableError, match="JetStream"):
                await ensure_bucket(js)
            await connection.close()
        finally:
            process.kill()
            await process.wait()


async def plain_server(server: LocalNats) -> asyncio.subprocess.Process:
    from qupersync_local.nats import _binary

    return await asyncio.create_subprocess_exec(
        str(_binary()),
        *("--addr", server.host, "--port", str(server.port)),
        stderr=asyncio.subprocess.DEVNULL,
    )


async def until_disconnected(client: Client) -> None:
    async with asyncio.timeout(10):
        while client.is_connected:  # noqa: ASYNC110  # nats-py offers no event for it
            await asyncio.sleep(0.01)


async def until_closed_then(client: Client, connection: Connection) -> None:
    """Asks on until the answer is about credentials (first it is about a server that is away)."""
    async with asyncio.timeout(20):
        while True:
            try:
                await connection.client()
            except StreamUnavailableError as error:
                if "credentials" in str(error):
                    raise
            await asyncio.sleep(0.05)
