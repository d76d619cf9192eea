"""Everything that goes wrong at Redshift, through the real driver: what it is called, and that reading goes on."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.domain.pipeline import Relation, SourceQuery, SourceTable
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_local.standin import FaultBook, RedshiftStandin
from qupersync_local.standin.faults import (
    authentication_failure,
    disk_full,
    drop_connection,
    permission_denied,
    query_cancelled,
    refuse_connections,
    serialization_failure,
    slow_connect,
    stall,
)
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import SourceUnavailableError, TerminalError, TransientError

pytestmark = pytest.mark.integration

DEADLINE_SECONDS = 30
Make = Callable[..., RedshiftSource]


async def whole(source: RedshiftSource, relation: Relation) -> list[int]:
    schema = RowSchema(columns=await source.describe(relation), key=("id",))
    batch = await source.read(ReadRequest(relation=relation, schema=schema, range=KeyRange(after=None), limit=10_000))
    return list(batch.column("id").to_pylist())


@pytest.mark.parametrize("after_rows", [0, 1, 499, 999])
async def test_a_connection_lost_within_a_page_yields_no_page(
    source: RedshiftSource, tables: Any, faults: FaultBook, after_rows: int
) -> None:
    table = await tables.numbers(1000)
    assert await whole(source, table) == list(range(1, 1001))
    fault = faults.add(drop_connection(f"{table.name}.*ORDER BY", after_rows=after_rows))
    with pytest.raises(SourceUnavailableError, match=r"connection to Redshift at .* failed"):
        await whole(source, table)
    assert faults.fired(fault) == 1
    assert await whole(source, table) == list(range(1, 1001))


@pytest.mark.parametrize("ordered", [serialization_failure, query_cancelled, disk_full])
async def test_what_the_cluster_aborts_is_read_again(
    source: RedshiftSource, tables: Any, faults: FaultBook, ordered: Callable[[str], Any]
) -> None:
    table = await tables.numbers(3)
    faults.add(ordered(f"{table.name}.*ORDER BY"))
    with pytest.raises(SourceUnavailableError) as caught:
        await whole(source, table)
    assert caught.value.cure
    assert await whole(source, table) == [1, 2, 3]


async def test_a_statement_that_takes_too_long_is_cancelled_by_the_server(make_source: Make) -> None:
    source = make_source(statement_timeout_seconds=0.2)
    query = SourceQuery("SELECT n AS id, pg_sleep(20)::text AS slept FROM generate_series(1, 3) n")
    with pytest.raises(SourceUnavailableError, match="57014"):
        await whole(source, query)


async def test_a_missing_grant_is_told_with_the_statement_that_mends_it(source: RedshiftSource, tables: Any) -> None:
    table = await tables.make("SELECT 1 AS id", granted=False)
    with pytest.raises(TransientError, match="42501") as caught:
        await whole(source, table)
    assert f'GRANT SELECT ON "sources"."{table.name}" TO "{tables.user}"' in caught.value.cure
    await tables.grant(table)
    assert await whole(source, table) == [1]


async def test_a_missing_table_or_schema_may_come(source: RedshiftSource, tables: Any) -> None:
    for missing in (
        SourceTable("sources", "absent"),
        SourceTable("absent", "t"),
        SourceQuery("SELECT 1 FROM absent.t"),
    ):
        with pytest.raises(TransientError, match=r"42P01|3F000"):
            await source.describe(missing)


async def test_a_refused_credential_is_tried_again(make_source: Make, tables: Any, faults: FaultBook) -> None:
    table = await tables.numbers(1)
    order = faults.add(authentication_failure())
    source = make_source()
    for _ in range(2):
        with pytest.raises(TransientError, match="28000") as caught:
            await whole(source, table)
        assert not isinstance(caught.value, SourceUnavailableError)
        assert "source.user" in caught.value.cure
    faults.remove(order)
    assert await whole(source, table) == [1]
    with pytest.raises(TransientError, match="28000") as wrong:
        await make_source(password="not it").clock()
    assert "not it" not in str(wrong.value)


async def test_an_unreachable_cluster_is_survived(make_source: Make, tables: Any, faults: FaultBook) -> None:
    table = await tables.numbers(1)
    source = make_source()
    order = faults.add(refuse_connections())
    for _ in range(3):
        with pytest.raises(SourceUnavailableError):
            await whole(source, table)
    faults.remove(order)
    assert await whole(source, table) == [1]


async def test_a_closed_port_is_told_with_its_place(make_source: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceUnavailableError, match=f"127.0.0.1:{port}"):
        await make_source(port=port).clock()


async def test_a_slow_first_connection_is_waited_for_until_the_connect_timeout(
    make_source: Make, faults: FaultBook
) -> None:
    faults.add(slow_connect(seconds=0.5))
    await make_source().clock()
    faults.add(slow_connect(seconds=30))
    with pytest.raises(SourceUnavailableError):
        await make_source(connect_timeout_seconds=1).clock()


async def test_a_result_may_take_longer_than_connecting(make_source: Make, tables: Any, faults: FaultBook) -> None:
    table = await tables.numbers(10)
    source = make_source(connect_timeout_seconds=1)
    await source.describe(table)
    faults.add(stall(f"{table.name}.*ORDER BY", seconds=1.5, after_rows=5))
    assert await whole(source, table) == list(range(1, 11))


async def test_sessions_that_break_while_idle_cost_one_read(
    source: RedshiftSource, tables: Any, local_stack: ThreadedStack, standin: RedshiftStandin
) -> None:
    table = await tables.numbers(2)
    assert await whole(source, table) == [1, 2]
    await asyncio.to_thread(local_stack.call, standin.front.drop_sessions())
    with pytest.raises(SourceUnavailableError):
        await whole(source, table)
    assert await whole(source, table) == [1, 2]


async def test_a_cancelled_read_gives_its_thread_back(make_source: Make, tables: Any, faults: FaultBook) -> None:
    table = await tables.numbers(10)
    source = make_source(connections=1)
    await source.describe(table)
    order = faults.add(stall(f"{table.name}.*ORDER BY", seconds=120, after_rows=5))
    reading = asyncio.create_task(whole(source, table))
    await asyncio.to_thread(faults.wait_fired, order)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await whole(source, table) == list(range(1, 11))


async def test_a_read_cancelled_while_connecting_runs_no_statement(
    make_source: Make, tables: Any, faults: FaultBook
) -> None:
    table = await tables.numbers(1)
    source = make_source(connections=1)
    order = faults.add(slow_connect(seconds=120))
    reading = asyncio.create_task(source.describe(table))
    await asyncio.to_thread(faults.wait_fired, order)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    faults.remove(order)
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await whole(source, table) == [1]
    assert faults.executed(f"{table.name}.*1 = 0") == 1


async def test_closing_breaks_what_runs(make_source: Make, tables: Any, faults: FaultBook) -> None:
    table = await tables.numbers(10)
    source = make_source(connections=2)
    await source.describe(table)
    order = faults.add(stall(f"{table.name}.*ORDER BY", seconds=120, after_rows=5))
    reading = asyncio.create_task(whole(source, table))
    await asyncio.to_thread(faults.wait_fired, order)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await source.close()
        with pytest.raises(SourceUnavailableError):
            await reading


async def test_a_query_that_cannot_be_is_terminal(source: RedshiftSource, tables: Any) -> None:
    table = await tables.numbers(1)
    for sql in (
        f"SELECT missing FROM {table}",
        f"SELECT id FROM {table} WHERE",
        f"SELECT id FROM {table} GROUP BY word",
    ):
        with pytest.raises(TerminalError, match="query cannot be read"):
            await source.describe(SourceQuery(sql))
    with pytest.raises(TerminalError, match="division by zero"):
        await whole(source, SourceQuery(f"SELECT id / (id - 1) AS id FROM {table}"))


async def test_a_permission_that_is_withdrawn_between_pages(
    source: RedshiftSource, tables: Any, faults: FaultBook
) -> None:
    table = await tables.numbers(1)
    faults.add(permission_denied(f"{table.name}.*ORDER BY"))
    with pytest.raises(TransientError, match="42501"):
        await whole(source, table)
    assert await whole(source, table) == [1]
