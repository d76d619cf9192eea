"""System views: real where they tell of tables and transactions, tables with the documented columns elsewhere."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redshift_connector
from redshift_connector.error import ProgrammingError

from qupersync_local import demo_data
from qupersync_local.standin import Profile, RedshiftStandin, StandinOptions
from qupersync_local.supervise import WorkDirectory
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
OPEN_WRITERS = (
    "SELECT GETDATE(), MIN(txn_start) FROM svv_transactions WHERE lockable_object_type = 'transactionid' "
    "AND lock_mode = 'ExclusiveLock' AND granted"
)
TABLE = "billing.catalogued"


@pytest.fixture(scope="module", autouse=True)
def table(local_stack: ThreadedStack) -> Iterator[None]:
    async def seed() -> None:
        connection = await asyncpg.connect(local_stack.stack.source.admin_dsn)
        await demo_data.seed_cost_usage(connection, rows=1000, table=TABLE)
        await demo_data.register_facts(
            connection, table=TABLE, sortkeys=["updated_at", "id"], distkey="account_id", diststyle="KEY(account_id)",
            deleted_rows=250, unsorted=Decimal("12.5"), skew_rows=Decimal("1.25"), size_mb=7,
        )  # fmt: skip
        await connection.execute("CREATE TABLE billing.nothing (n int); CREATE TABLE public.hidden (n int)")
        await connection.execute(f"REVOKE SELECT ON public.hidden FROM {local_stack.stack.source.user}")
        await connection.close()

    local_stack.call(seed())
    yield
    local_stack.execute_source(f"DROP TABLE {TABLE}, billing.nothing, public.hidden")


def test_columns(run: Any) -> None:
    rows = run(
        "SELECT column_name, ordinal_position, data_type, character_maximum_length, numeric_precision, numeric_scale, "
        "is_nullable FROM svv_all_columns WHERE schema_name = %s AND table_name = %s ORDER BY ordinal_position",
        ("billing", "catalogued"),
    )
    assert rows[0] == ["id", 1, "bigint", None, 64, 0, "NO"]
    assert rows[1] == ["account_id", 2, "character varying", 12, None, None, "YES"]
    assert rows[5] == ["effective_cost", 6, "numeric", None, 18, 6, "YES"]
    assert [row[2] for row in rows[7:]] == [
        "double precision", "character", "date", "super", "boolean", "timestamp without time zone",
    ]  # fmt: skip


def test_columns_of_tables_one_may_not_read_are_absent(run: Any) -> None:
    assert run("SELECT count(*) FROM svv_all_columns WHERE table_name = 'hidden'") == [[0]]
    assert run("SELECT count(*) FROM svv_redshift_columns WHERE table_name = 'hidden'") == [[0]]
    assert run("SELECT count(*) FROM svv_all_columns WHERE schema_name = 'pg_catalog'") == [[0]]


def test_sort_and_distribution_keys(run: Any) -> None:
    rows = run(
        "SELECT column_name, data_type, sortkey, distkey FROM svv_redshift_columns "
        "WHERE table_name = 'catalogued' AND (sortkey <> 0 OR distkey) ORDER BY sortkey"
    )
    assert rows == [
        ["account_id", "character varying(12)", 0, True],
        ["updated_at", "timestamp without time zone", 1, False],
        ["id", "bigint", 2, False],
    ]


def test_table_info(run: Any) -> None:
    rows = run(
        'SELECT "table", tbl_rows, estimated_visible_rows, size, unsorted, skew_rows, diststyle, sortkey1, sortkey_num '
        "FROM svv_table_info WHERE schema = 'billing' AND \"table\" IN ('catalogued', 'nothing')"
    )
    assert rows == [
        ["catalogued", 1250, 1000, 7, Decimal("12.50"), Decimal("1.25"), "KEY(account_id)", "updated_at", 2],
    ]


def test_an_open_writer_is_seen_until_it_commits(run: Any, source: RedshiftStandin) -> None:
    async def check() -> None:
        writer = await asyncpg.connect(source.admin_dsn)
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("CREATE TEMPORARY TABLE mine (n int)")
        ((now, oldest),) = await asyncio.to_thread(run, OPEN_WRITERS)
        assert oldest is not None
        assert oldest - timedelta(seconds=1) <= now
        assert isinstance(oldest, datetime)
        await transaction.commit()
        assert (await asyncio.to_thread(run, OPEN_WRITERS))[0][1] is None
        await writer.execute("SELECT 1")
        await writer.close()

    asyncio.run(check())


def test_columns_of_system_views_are_documented_ones(run: Any) -> None:
    for view, columns in (
        (
            "sys_query_history",
            "user_id, query_id, status, end_time, execution_time, queue_time, compile_time, returned_rows",
        ),
        (
            "sys_query_detail",
            "query_id, blocks_read, spilled_block_local_disk, spilled_block_remote_disk, metrics_level",
        ),
        ("sys_vacuum_history", "transaction_id, table_id, start_time, record_time, is_automatic, reclaimed_blocks"),
        ("sys_connection_log", "event, session_id, record_time, application_name"),
        ("stl_vacuum", "xid, table_id, status, eventtime, reclaimable_rows"),
        ("stv_slices", "node, slice, localslice, type"),
        ("stv_node_storage_capacity", "node, used, capacity"),
        ("stv_partitions", "host, used, capacity, mount"),
    ):
        assert run(f"SELECT {columns} FROM {view}") == []


def test_one_sees_ones_own_queries_only_without_the_right(
    run: Any, local_stack: ThreadedStack, source: RedshiftStandin
) -> None:
    local_stack.execute_source(
        "INSERT INTO sys_query_history (user_id, query_id, status, query_text) "
        "SELECT oid::int, oid::bigint, 'success', 'SELECT 1' FROM pg_roles "
        f"WHERE rolname IN ('warehouse', '{source.user}')"
    )
    try:
        assert run("SELECT count(*) FROM sys_query_history") == [[2]]
        local_stack.execute_source(f"REVOKE syslog_access_unrestricted FROM {source.user}")
        assert run("SELECT count(*) FROM sys_query_history") == [[1]]
    finally:
        local_stack.execute_source(f"DELETE FROM sys_query_history; GRANT syslog_access_unrestricted TO {source.user}")


def test_the_reader_writes_nothing(cursor: Any) -> None:
    for statement in (
        f"DELETE FROM {TABLE}",
        "INSERT INTO sys_query_history (query_id) VALUES (1)",
        "CREATE TABLE t (n int)",
    ):
        with pytest.raises(ProgrammingError) as error:
            cursor.execute(statement)
        assert error.value.args[0]["C"] == "42501"


def test_serverless_without_grants(local_stack: ThreadedStack, tmp_path: Path) -> None:
    options = StandinOptions(profile=Profile.SERVERLESS, system_grants=False)
    work = WorkDirectory.create()

    async def start() -> RedshiftStandin:
        standin = await RedshiftStandin.create(work=work, options=options, fast=True)
        await standin.run()
        return standin

    standin = local_stack.call(start())
    try:
        with redshift_connector.connect(**standin.connection()) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            # STL and STV views: so answer real workgroups, whoever asks, though the documents say that there are none.
            for view in ("stv_slices", "stl_vacuum", "svv_table_info", "sys_serverless_usage"):
                with pytest.raises(ProgrammingError) as error:
                    cursor.execute(f"SELECT * FROM {view}")
                assert error.value.args[0]["C"] == "42501"
            cursor.execute("SELECT user_name, superuser, syslog_access FROM svv_user_info")
            assert list(cursor.fetchall()) == [[standin.user, False, "RESTRICTED"]]
    finally:
        local_stack.call(standin.stop())
        work.close()
