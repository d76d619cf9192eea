"""What only a real server can show: plans, lost connections, frozen clients, wake-ups across connections."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.integration.persistence.outbox import record

from qupersync_extractor.infrastructure.postgres.outbox import PostgresOutboxReader
from qupersync_extractor.infrastructure.postgres.registry import PostgresRegistry
from qupersync_extractor.infrastructure.postgres.signals import GRACE_SECONDS, REQUEST_CHANNEL, PostgresSignals
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_extractor.infrastructure.postgres.unit_of_work import PostgresUnitOfWorkFactory
from qupersync_shared.kernel.errors import DatabaseUnavailableError
from qupersync_shared.kernel.ids import FencingToken, PipelineName, Sequence
from qupersync_shared.runtime.database import connect, create_engine, end_frozen_sessions

PIPELINE = PipelineName("orders")
LONG_SECONDS = 30.0
_OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()"
)

_FILL = """
    INSERT INTO qupersync.outbox (id, pipeline, lane, log, sequence, event_type, event_version, correlation_id,
                                  headers, payload)
    SELECT gen_random_uuid(), pipeline, lane, 1, sequence, 't', 1, gen_random_uuid(), '{}', 'x'
    FROM unnest('{orders,others}'::text[]) AS pipeline, generate_series(0, 3) AS lane,
         generate_series(1, 300) AS sequence
"""


@pytest.fixture
async def admin(outbox_dsn: str) -> AsyncIterator[Any]:
    connection = await connect(outbox_dsn, application_name="qupersync-admin")
    yield connection
    await connection.close()


@pytest.fixture
async def token(engine: AsyncEngine, signals: PostgresSignals) -> FencingToken:
    registry = PostgresRegistry(engine, signals)
    await registry.register(PIPELINE, 1)
    token = await registry.acquire(PIPELINE, "test", 600)
    assert token is not None
    return token


@pytest.mark.parametrize(("name", "first_node"), [("next_records", "Merge Append"), ("depths", "GroupAggregate")])
async def test_the_relay_reads_by_index_also_when_the_plan_is_old(
    engine: AsyncEngine, admin: Any, token: FencingToken, name: str, first_node: str
) -> None:
    values = {"pipeline": "'orders'", "pipelines": "ARRAY['orders']", "lane": "0", "log": "1", "after": "290"}
    values |= {"limit": "16", "bytes_max": str(1 << 20)}
    compiled = statement(name).compile(dialect=engine.dialect)
    arguments = ", ".join(values[parameter] for parameter in compiled.positiontup or ())
    async with engine.connect() as connection:
        await connection.execute(statement("by_index"))
        await connection.exec_driver_sql(f"PREPARE reading AS {compiled}")
        # The plan is made, and kept, while every partition is empty and known to be; then one is filled.
        for _ in range(7):
            await connection.exec_driver_sql(f"EXECUTE reading ({arguments})")
        await admin.execute(_FILL)
        plan = "\n".join((await connection.exec_driver_sql(f"EXPLAIN ANALYZE EXECUTE reading ({arguments})")).scalars())
    if name == "next_records":  # the other one is planned anew each time, which is as good
        assert "(pipeline = $" in plan, plan  # the kept plan, not one made for these values
    assert "Seq Scan on outbox" not in plan, plan
    assert "Bitmap" not in plan, plan
    assert f"{first_node}  (" in plan, plan
    touched = [line for line in plan.splitlines() if "Index Scan using outbox_" in line]
    assert touched, plan
    assert all("_pkey on outbox_" in line for line in touched), plan


async def test_a_connection_lost_in_the_transaction_is_transient_and_loses_the_page(
    engine: AsyncEngine, admin: Any, token: FencingToken
) -> None:
    factory = PostgresUnitOfWorkFactory(engine)
    async with factory() as work:
        state = await work.extractions.lock(PIPELINE, token)
        await work.outbox.add([record(PIPELINE, 1)])
        await work.extractions.save(replace(state, sequence=Sequence(1)))
        assert await admin.fetchval(_OTHERS, "qupersync-test") >= 1
        with pytest.raises(DatabaseUnavailableError):
            await work.commit()
    assert await admin.fetchval("SELECT count(*) FROM qupersync.outbox") == 0
    async with factory() as work:
        assert (await work.extractions.lock(PIPELINE, token)).sequence == 0
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_commit_without_an_answer_is_transient_and_the_state_tells(
    engine: AsyncEngine, admin: Any, token: FencingToken
) -> None:
    """The server is killed while it commits: a deferred trigger holds the COMMIT until then."""
    await admin.execute(
        """
        CREATE FUNCTION wait_in_commit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER wait_in_commit AFTER UPDATE ON qupersync.extraction
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_in_commit();
        SELECT pg_advisory_lock(42);
        """
    )
    factory = PostgresUnitOfWorkFactory(engine)

    async def page() -> None:
        async with factory() as work:
            state = await work.extractions.lock(PIPELINE, token)
            await work.outbox.add([record(PIPELINE, 1)])
            await work.extractions.save(replace(state, sequence=Sequence(1)))
            await work.commit()

    task = asyncio.create_task(page())
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(LONG_SECONDS):
        while not await admin.fetchval(waits):
            assert not task.done()
    await admin.fetchval(_OTHERS, "qupersync-test")
    with pytest.raises(DatabaseUnavailableError):
        await task
    await admin.execute("SELECT pg_advisory_unlock(42)")
    async with factory() as work:
        kept = (await work.extractions.lock(PIPELINE, token)).sequence
    assert await admin.fetchval("SELECT count(*) FROM qupersync.outbox") == kept == 0


async def test_an_idle_connection_that_was_closed_is_not_handed_out(engine: AsyncEngine, admin: Any) -> None:
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
    closed = asyncio.Event()
    driver.add_termination_listener(lambda _: closed.set())  # type: ignore[union-attr]
    await admin.fetchval(_OTHERS, "qupersync-test")
    await asyncio.wait_for(closed.wait(), LONG_SECONDS)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1


async def test_the_sessions_limits_are_set(engine: AsyncEngine) -> None:
    names = (
        "idle_in_transaction_session_timeout",
        "lock_timeout",
        "statement_timeout",
        "tcp_keepalives_idle",
        "TimeZone",
    )
    async with engine.connect() as connection:
        shown = [(await connection.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
    assert shown == ["20s", "5s", "1min", "5", "UTC"]


async def test_a_session_that_idles_in_its_transaction_loses_the_row(outbox_dsn: str, token: FencingToken) -> None:
    """Fault 29: the process is frozen inside the page transaction; here it just does nothing."""
    frozen = create_engine(
        outbox_dsn, application_name="qupersync-frozen", connections=1, idle_in_transaction_seconds=0.5
    )
    living = create_engine(outbox_dsn, application_name="qupersync-living", connections=2)
    try:
        async with PostgresUnitOfWorkFactory(frozen)() as stuck:
            await stuck.extractions.lock(PIPELINE, token)
            async with PostgresUnitOfWorkFactory(living)() as work:
                await work.extractions.lock(PIPELINE, token)  # returns only when the server ended the other
            with pytest.raises(DatabaseUnavailableError):
                await stuck.commit()
        async with frozen.connect() as connection:  # the pool has thrown the dead one away
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    finally:
        await frozen.dispose()
        await living.dispose()


_FREEZE_IN_COPY = """
import asyncio, os, signal, sys
from qupersync_shared.runtime.database import connect

async def rows():
    yield b"1\\n" * 100
    os.kill(os.getpid(), signal.SIGSTOP)
    yield b"2\\n"

async def main():
    connection = await connect(sys.argv[1], application_name="qupersync-frozen", statement_timeout_seconds=1)
    async with connection.transaction():
        await connection.execute("CREATE TEMP TABLE staging (a int)")
        await connection.execute("SELECT FROM qupersync.extraction FOR UPDATE")
        await connection.copy_to_table("staging", source=rows())

asyncio.run(main())
"""


async def test_a_client_frozen_while_it_sends_is_ended_by_who_waits(
    outbox_dsn: str, engine: AsyncEngine, admin: Any, token: FencingToken
) -> None:
    """No timeout of the server ends a COPY whose client does not go on: the next process has to."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FREEZE_IN_COPY, outbox_dsn, stderr=subprocess.DEVNULL
    )
    try:
        sending = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'qupersync-frozen' AND query LIKE 'COPY%'"
        )
        old = sending + " AND query_start < clock_timestamp() - interval '1500 ms'"  # past its statement timeout
        async with asyncio.timeout(LONG_SECONDS):
            while not await admin.fetchval(old):
                assert child.returncode is None
        async with engine.begin() as connection:
            assert await end_frozen_sessions(connection) == 0  # it may be a slow one still
        async with engine.begin() as connection:
            assert await end_frozen_sessions(connection, older_than_seconds=1) == 1
        async with PostgresUnitOfWorkFactory(engine)() as work:
            await work.extractions.lock(PIPELINE, token)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()


async def test_the_listener_returns_after_its_connection_was_lost(
    engine: AsyncEngine, admin: Any, token: FencingToken, signals: PostgresSignals
) -> None:
    reader = PostgresOutboxReader(engine, signals)
    for sequence in (1, 2):
        await reader.wait(0)
        await _listening(admin)
        await asyncio.wait_for(_silence(reader), LONG_SECONDS)
        heard = asyncio.create_task(reader.wait(LONG_SECONDS))
        async with PostgresUnitOfWorkFactory(engine)() as work:
            await work.extractions.lock(PIPELINE, token)
            await work.outbox.add([record(PIPELINE, sequence)])
            await work.commit()
        await asyncio.wait_for(heard, LONG_SECONDS / 3)
        assert await admin.fetchval(_OTHERS, "qupersync-listen") == 1


async def test_a_requested_run_wakes_the_extractors(
    engine: AsyncEngine, admin: Any, token: FencingToken, signals: PostgresSignals
) -> None:
    registry = PostgresRegistry(engine, signals)
    await registry.wait_for_request(0)
    await _listening(admin)
    waiting = asyncio.create_task(registry.wait_for_request(LONG_SECONDS))
    await registry.request_run(PIPELINE, "snapshot")
    await asyncio.wait_for(waiting, LONG_SECONDS / 3)
    request = await registry.run_request(PIPELINE)
    assert request is not None
    assert request.mode == "snapshot"


async def test_a_request_that_comes_between_two_waits_ends_the_second(
    engine: AsyncEngine, admin: Any, token: FencingToken, signals: PostgresSignals
) -> None:
    registry = PostgresRegistry(engine, signals)
    await registry.wait_for_request(0)
    await _listening(admin)
    async with asyncio.timeout(LONG_SECONDS):
        while signals._untold[REQUEST_CHANNEL] != set():  # until nothing may have been missed
            await registry.wait_for_request(0.1)
        await registry.request_run(PIPELINE, None)  # while nobody waits: the board looks, and looking takes long
        while not signals._untold[REQUEST_CHANNEL]:  # noqa: ASYNC110  # hearing it without waiting for it is the point
            await asyncio.sleep(0.01)
        await asyncio.sleep(2 * GRACE_SECONDS)
    await asyncio.wait_for(registry.wait_for_request(10 * LONG_SECONDS), LONG_SECONDS)


async def test_a_listener_tells_pipelines_apart_and_knows_when_it_may_have_missed_some(
    engine: AsyncEngine, admin: Any, token: FencingToken, signals: PostgresSignals
) -> None:
    reader = PostgresOutboxReader(engine, signals)
    for sequence in (1, 2):
        async with asyncio.timeout(LONG_SECONDS):
            while await reader.next_committed(0.2) is not None:  # not connected yet, or not any more: look everywhere
                continue
            while await reader.next_committed(0.2) != frozenset():
                continue
        async with PostgresUnitOfWorkFactory(engine)() as work:
            await work.extractions.lock(PIPELINE, token)
            await work.outbox.add([record(PIPELINE, sequence)])
            await work.commit()
        assert await reader.next_committed(LONG_SECONDS) == {PIPELINE}
        await admin.fetchval(_OTHERS, "qupersync-listen")


async def test_what_waits_to_be_read_again_is_found_by_index(engine: AsyncEngine, admin: Any) -> None:
    await admin.execute(
        """
        INSERT INTO qupersync.reread_request (id, pipeline, asker, reason, wanted, keys, done_at)
        SELECT gen_random_uuid(), 'orders', 'main', 'r', 'keys', '{k}', CASE WHEN n % 500 > 0 THEN now() END
        FROM generate_series(1, 5000) AS n;
        ANALYZE qupersync.reread_request;
        """
    )
    async with engine.connect() as connection:
        plan = "\n".join(
            (
                await connection.exec_driver_sql(
                    "EXPLAIN SELECT * FROM qupersync.reread_request WHERE pipeline = 'orders' AND done_at IS NULL "
                    "ORDER BY requested_at, id LIMIT 20"
                )
            ).scalars()
        )
    assert "reread_request_waiting_idx" in plan, plan


async def test_without_a_server_a_wait_ends_and_reads_say_why() -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    signals = PostgresSignals(nowhere)
    engine = create_engine(nowhere, application_name="qupersync-test", connections=1)
    try:
        reader = PostgresOutboxReader(engine, signals)
        await asyncio.wait_for(reader.wait(LONG_SECONDS), LONG_SECONDS / 3)  # it polls
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            await reader.depth(PIPELINE)
        with pytest.raises(DatabaseUnavailableError):
            async with PostgresUnitOfWorkFactory(engine)():
                pass
    finally:
        await signals.close()
        await engine.dispose()


async def _listening(admin: Any) -> None:
    """Until a session that listens is there."""
    listening = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'qupersync-listen' AND query LIKE 'LISTEN%'"
    )
    async with asyncio.timeout(LONG_SECONDS):
        while not await admin.fetchval(listening):
            continue


async def _silence(reader: PostgresOutboxReader) -> None:
    """Until a wait passes in which nothing is heard."""
    while True:
        waiting = asyncio.create_task(reader.wait(LONG_SECONDS))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        if not done:
            waiting.cancel()
            return
