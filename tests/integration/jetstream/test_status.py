"""`qupersync status` and `check` against a real server: a reason while something is away, none afterwards."""

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from qupersync_extractor.infrastructure.jetstream.progress import JetStreamProgress
from qupersync_local.nats import LocalNats
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.contracts.progress import LaneProgress, ProcessHeartbeat, lane_key
from qupersync_shared.contracts.subjects import lane_subject
from qupersync_shared.kernel.errors import DatabaseUnavailableError, StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.cli.checking import as_document
from qupersync_shared.runtime.cli.status import status
from qupersync_shared.runtime.jetstream import Connection, ensure_bucket, ensure_stream
from qupersync_shared.runtime.plugins import Plugin, Plugins, StatusPart
from qupersync_shared.runtime.preflight import Preflight
from qupersync_shared.runtime.preflight.nats import check_nats
from qupersync_shared.runtime.settings import Configuration, NatsSection

COST = PipelineName("cost")


class Sync:
    """What a running extractor and loader leave on NATS."""

    def __init__(self, connection: Connection, section: NatsSection) -> None:
        self.connection = connection
        self.section = section
        self.configuration = Configuration.model_validate(
            {
                "nats": section.model_dump(),
                "pipelines": {"cost": {"from": "a.b", "into": "c.d", "key": ["id"], "lanes": 2}},
            }
        )
        self.source_away = False

    async def declare(self) -> None:
        js = await self.connection.jetstream()
        await ensure_bucket(js)
        await ensure_stream(js, COST, self.section)

    async def publish(self, sequence: int, lane: int, payload: bytes = b"rows") -> None:
        envelope = BatchEnvelope(
            id=uuid4(),
            source="urn:test",
            subject=lane_subject(COST, Lane(lane)),
            time=datetime.now(UTC),
            pipeline=COST,
            lane=lane,
            lanes=2,
            log=1,
            sequence=sequence,
            mode=Mode.INCREMENTAL,
            row_count=0,
            key_columns=("id",),
            schema_fingerprint="f",
            checksum="c",
            correlation_id=uuid4(),
        )
        js = await self.connection.jetstream()
        await js.publish(lane_subject(COST, Lane(lane)), payload, headers=envelope.headers())

    async def apply(self, sequence: int, lane: int) -> None:
        now = datetime.now(UTC)
        entry = LaneProgress(
            group="main",
            pipeline=COST,
            lane=lane,
            lanes=2,
            log=1,
            sequence=sequence,
            event_id=uuid4(),
            honest_time=now,
            applied_at=now,
        )
        key = lane_key(GroupName("main"), COST, Lane(lane))
        await bucket.write(await self.connection.jetstream(), key, entry.model_dump_json().encode())

    async def beat(self, **troubles: str) -> None:
        progress = JetStreamProgress(self.connection)
        for role, group in (("extractor", None), ("loader", "main")):
            await progress.beat(
                ProcessHeartbeat(
                    role=role,
                    instance="test",
                    group=group,
                    started_at=datetime.now(UTC),
                    beat_at=datetime(1999, 1, 1, tzinfo=UTC),  # a clock that is far off
                    version="1",
                    troubles=troubles,
                )
            )

    async def status(self) -> dict[str, Any]:
        async def ask_source(_: Configuration) -> StatusPart:
            if self.source_away:
                raise DatabaseUnavailableError("connection refused", cure="Start it")
            return StatusPart(pipelines={"cost": {"state": "live"}})

        plugin = Plugin(name="source", status=ask_source)
        began = time.monotonic()
        document = await status(self.configuration, Plugins(whole=(plugin,)))
        assert time.monotonic() - began < 30
        return document

    async def heals(self, *, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            try:
                await self.beat()
            except StreamUnavailableError:
                await asyncio.sleep(0.05)
            document = await self.status()
            if document["reason"] is None:
                return document
            assert time.monotonic() < deadline, document["reason"]


@pytest.fixture
async def sync(connection: Connection, section: NatsSection) -> Sync:
    running = Sync(connection, section)
    await running.declare()
    for lane in range(2):
        await running.publish(1, lane)
        await running.apply(1, lane)
    await running.beat()
    return running


async def test_a_healthy_sync_has_no_reason_and_shows_its_lanes(sync: Sync) -> None:
    await sync.publish(2, 1, b"x" * 500_000)
    document = await sync.status()

    assert document["reason"] is None
    cost = document["pipelines"]["cost"]
    assert cost["state"] == "live"
    assert [(lane["published_sequence"], lane["applied_sequence"]) for lane in cost["lanes"]] == [(1, 1), (2, 1)]
    assert cost["lag"]["stream_events"] == 1
    assert 0 <= cost["lag"]["freshness_seconds"] < 60
    assert cost["stream"]["messages"] == 3
    assert [process["alive"] for process in document["processes"]] == [True, True]
    assert all(process["age_seconds"] < 60 for process in document["processes"])


async def test_looking_leaves_no_consumer_behind(sync: Sync) -> None:
    for _ in range(3):
        await sync.status()
    js = await sync.connection.jetstream()
    assert await js.consumers_info("qupersync_cost") == []


async def test_a_foreign_message_at_the_end_of_a_lane_is_passed_over(sync: Sync) -> None:
    await (await sync.connection.jetstream()).publish("qupersync.lane.cost.0", b"?")
    document = await sync.status()
    assert document["reason"] is None
    assert [lane["published_sequence"] for lane in document["pipelines"]["cost"]["lanes"]] == [None, 1]


async def test_nats_killed_in_mid_run_is_the_reason_until_it_is_back(sync: Sync, server: LocalNats) -> None:
    assert (await sync.status())["reason"] is None
    await server.kill()
    document = await sync.status()
    assert "does not answer" in document["reason"]
    assert document["probes"]["nats"]["verdict"] == "unknown"
    assert document["pipelines"]["cost"]["lag"]["stream_events"] is None, "nothing is guessed"
    await server.run()
    document = await sync.heals()
    assert document["pipelines"]["cost"]["lag"]["stream_events"] == 0


async def test_nats_frozen_in_mid_run_is_the_reason_until_it_goes_on(sync: Sync, server: LocalNats) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        document = await sync.status()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert document["probes"]["nats"]["verdict"] == "unknown"
    assert document["reason"].startswith("nats: ")
    await sync.heals()


async def test_nats_away_at_start_up_is_the_reason_until_it_is_there() -> None:
    async with LocalNats.start() as server:
        section = NatsSection(servers=[server.url], stream_bytes_max=8 << 20)
        connection = Connection(section, name="test", timeout=1)
        sync = Sync(connection, section)
        await server.stop()
        assert "nats: NATS at" in (await sync.status())["reason"]
        await server.run()
        assert "no bucket" in (await sync.status())["reason"], "it is there, and nothing is declared"
        await sync.declare()
        await sync.heals()
        await connection.close()


async def test_a_source_away_is_the_reason_until_it_is_back(sync: Sync) -> None:
    sync.source_away = True
    document = await sync.status()
    assert document["reason"] == "source: connection refused"
    assert document["pipelines"]["cost"]["state"] == "unknown"
    sync.source_away = False
    assert (await sync.status())["reason"] is None


async def test_a_target_away_is_told_by_the_loaders_heartbeat(sync: Sync) -> None:
    await sync.beat(cost="target: connection refused")
    document = await sync.status()
    assert document["reason"] == "cost: target: connection refused"
    assert document["pipelines"]["cost"]["state"] == "retrying"
    await sync.beat()
    assert (await sync.status())["reason"] is None


async def test_check_goes_from_red_to_green(connection: Connection, section: NatsSection) -> None:
    sync = Sync(connection, section)
    before = as_document(await check_nats(Preflight(configuration=sync.configuration)))
    assert [(row["subject"], row["verdict"]) for row in before["rows"]] == [
        ("server", "ok"),
        ("max_payload", "ok"),
        ("JetStream", "ok"),
        ("stream of cost", "failed"),
        ("stream of progress", "failed"),
    ]
    assert all("migrate" in row["cure"] for row in before["rows"] if row["verdict"] == "failed")
    await sync.declare()
    after = as_document(await check_nats(Preflight(configuration=sync.configuration)))
    assert after["ok"]
