"""Rows about servers: versions, clocks, rights, NATS; over real ones, and by rule where no old one can be had."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from nats.js.api import StreamConfig, StreamInfo, StreamState
from tests.e2e.world import opened
from tests.integration.preflight.conftest import Preflown, migrate

from qupersync_extractor.interface.preflight import extractor_checks
from qupersync_loader.interface.preflight import loader_checks
from qupersync_local.stack import OUTBOX_ROLE, TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.progress import ProcessHeartbeat
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.jetstream import connect
from qupersync_shared.runtime.plugins import Verdict
from qupersync_shared.runtime.preflight import Preflight
from qupersync_shared.runtime.preflight.nats import payload_row, server_row, stream_row, versions_row
from qupersync_shared.runtime.preflight.postgres import clock_row, version_row
from qupersync_shared.runtime.settings import NatsSection

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OK, WARNING, FAILED = Verdict.OK, Verdict.WARNING, Verdict.FAILED


async def test_servers_that_are_as_they_should_be(preflown: Preflown) -> None:
    nats = await preflown.nats()
    outbox = await preflown.area(extractor_checks, "outbox")
    source = await preflown.area(extractor_checks, "source")
    target = await preflown.area(loader_checks, "target")
    stream = f"stream of {preflown.world.name}"
    assert list(nats) == [
        *("server", "max_payload", "JetStream", stream, "stream of progress", "clock", "wire format"),
    ]
    assert list(outbox) == ["database", "version", "clock", "rights"]
    assert list(source) == ["connection", "version", "clock"]
    assert list(target) == ["connection", "version", "clock", "rights", "tables"]
    for rows in (nats, outbox, source, target):
        assert {row.verdict for row in rows.values()} == {OK}, rows
    assert outbox["version"].message.startswith("PostgreSQL ")
    assert "qupersync.batch.v1" in nats["wire format"].message


async def test_what_is_not_migrated_or_not_declared(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        preflown = Preflown(world=world)
        outbox = await preflown.area(extractor_checks, "outbox")
        assert outbox["database"].verdict is FAILED
        assert outbox["database"].cure == "Run `qupersync-extractor migrate`"
        assert outbox["rights"].verdict is OK
        target = await preflown.area(loader_checks, "target")
        assert target["tables"].verdict is FAILED
        assert target["tables"].cure == "Run `qupersync-loader migrate`"
        nats = await preflown.nats()
        assert nats[f"stream of {world.name}"].verdict is FAILED


async def test_rights_in_the_outbox_database(preflown: Preflown) -> None:
    world = preflown.world
    admin = await asyncpg.connect(world.stack.stack.postgres.dsn(world.outbox_dsn.rpartition("/")[2]))
    try:
        await admin.execute("ALTER TABLE qupersync.outbox OWNER TO postgres")
        found = (await preflown.area(extractor_checks, "outbox"))["rights"]
        assert found.verdict is FAILED
        assert "cannot make its partitions" in found.message
        assert f"GRANT postgres TO {OUTBOX_ROLE}" in found.cure
        assert f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA qupersync TO {OUTBOX_ROLE}" in found.cure
    finally:
        await admin.close()


async def test_a_database_that_may_not_be_migrated(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        name = world.outbox_dsn.rpartition("/")[2]
        admin = await asyncpg.connect(world.stack.stack.postgres.dsn(name))
        try:
            await admin.execute(f"ALTER DATABASE {name} OWNER TO postgres")
        finally:
            await admin.close()
        found = (await Preflown(world=world).area(extractor_checks, "outbox"))["rights"]
        assert found.verdict is FAILED
        assert found.cure == f"GRANT CREATE ON DATABASE {name} TO {OUTBOX_ROLE}"


async def test_rights_in_the_target_database(preflown: Preflown) -> None:
    world = preflown.world
    name = world.services_target_dsn.rpartition("/")[2]
    admin = await asyncpg.connect(world.stack.stack.postgres.dsn(name))
    try:
        await admin.execute("ALTER TABLE qupersync_watermark OWNER TO postgres")
        tables = (await preflown.area(loader_checks, "target"))["rights"]
        assert tables.verdict is FAILED
        assert tables.cure == f"GRANT SELECT, INSERT, UPDATE, DELETE ON qupersync_watermark TO {TARGET_ROLE}"
        await admin.execute(tables.cure)
        await admin.execute(f"ALTER DATABASE {name} OWNER TO postgres; REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
        temporary = (await preflown.area(loader_checks, "target"))["rights"]
        assert temporary.verdict is FAILED
        assert temporary.cure == f"GRANT TEMPORARY ON DATABASE {name} TO {TARGET_ROLE}"
        await admin.execute(temporary.cure)
        assert (await preflown.area(loader_checks, "target"))["rights"].verdict is OK
    finally:
        await admin.close()


async def test_a_stream_that_is_not_as_configured(local_stack: ThreadedStack) -> None:
    async with opened(local_stack) as world:
        await migrate(world)
        preflown = Preflown(world=world)
        section = preflown.configuration.nats
        assert section is not None
        client = await connect(section, name="test")
        try:
            js = client.jetstream()
            found = (await js.stream_info(stream_name(PipelineName(world.name)))).config
            await js.update_stream(found.evolve(max_bytes=2 << 20))
        finally:
            await client.close()
        row = (await preflown.nats())[f"stream of {world.name}"]
        assert row.verdict is WARNING
        assert "2 MiB" in row.message
        assert row.cure == "Run `qupersync-extractor migrate`"


async def test_servers_that_are_away(preflown: Preflown) -> None:
    configuration = preflown.configuration
    away = {"dsn": "postgresql://nobody@127.0.0.1:1/nowhere"}
    broken = type(configuration).model_validate(
        {**preflown.world.configuration, "outbox": away, "target": away, "nats": {"servers": ["nats://127.0.0.1:1"]}}
    )
    for checks, area, subject in (
        (extractor_checks, "outbox", "database"),
        (loader_checks, "target", "connection"),
    ):
        rows = await checks(Preflight(configuration=broken))
        [row] = [one for one in rows if one.area == area]
        assert (row.subject, row.verdict) == (subject, FAILED)
        assert "cannot be reached" in row.message


def test_versions_too_old() -> None:
    assert version_row("target", 180_001, "18.1").verdict is OK
    old = version_row("target", 130_014, "13.14 (Debian)")
    assert (old.verdict, old.message, old.cure) == (FAILED, "PostgreSQL 13.14 is too old", "Use PostgreSQL 14 or newer")
    assert [server_row("nats-server", release).verdict for release in ((2, 10), (2, 11), (2, 15))] == [
        *(FAILED, WARNING, OK),
    ]


def test_clocks() -> None:
    after = NOW + timedelta(seconds=2)
    assert clock_row("source", NOW + timedelta(seconds=1), NOW, after).verdict is OK
    assert clock_row("source", NOW + timedelta(seconds=31), NOW, after).verdict is OK
    ahead = clock_row("source", NOW + timedelta(seconds=601), NOW, after)
    assert (ahead.verdict, ahead.message) == (WARNING, "it is 600 s ahead of this machine's")
    behind = clock_row("target", NOW - timedelta(hours=2), NOW, NOW)
    assert (behind.verdict, behind.message) == (WARNING, "it is 7200 s behind this machine's")


def test_max_payload() -> None:
    assert payload_row(1 << 20, 900_000).verdict is OK
    small = payload_row(65_536, 900_000)
    assert small.verdict is WARNING
    assert "event_bytes_max: 65536" in small.cure


def test_room_for_a_stream_to_grow() -> None:
    section = NatsSection(servers=["nats://localhost"], replicas=3, stream_bytes_max=1 << 30)
    info = StreamInfo(
        config=StreamConfig(name="s", max_bytes=1 << 30, num_replicas=3),
        state=StreamState(messages=1, bytes=24 << 20, first_seq=1, last_seq=1, consumer_count=0),
    )
    assert stream_row("s", "s", info, section, storage_max=-1, stored=0).verdict is OK
    assert stream_row("s", "s", info, section, storage_max=10 << 30, stored=1 << 30).verdict is OK
    short = stream_row("s", "s", info, section, storage_max=2 << 30, stored=1 << 30)
    assert short.verdict is WARNING
    assert "room for 1 GiB" in short.message


def test_processes_of_other_versions() -> None:
    def beat(version: str) -> ProcessHeartbeat:
        return ProcessHeartbeat(role="loader", instance="a", started_at=NOW, beat_at=NOW, version=version)

    assert versions_row([beat("1.0")], "1.0").verdict is OK
    mixed = versions_row([beat("1.0"), beat("0.9")], "1.0")
    assert mixed.verdict is WARNING
    assert "loader a 0.9" in mixed.message
