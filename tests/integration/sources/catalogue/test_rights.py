"""What a user may not see is told, with the statement that mends it; the same for `qupersync check`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from tests.integration.sources.catalogue.conftest import Make
from tests.integration.sources.catalogue.seeds import Seeds, schema_of, snapshot

from qupersync_extractor.application.ports import CursorRange, KeyRange, ReadRequest
from qupersync_extractor.domain.catalogue import ENTITY_CLASSES
from qupersync_extractor.domain.pipeline import DeletePolicy, Pipeline, SourceEntity, SourceTable
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource, views
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_extractor.interface.catalogue_checks import catalogue_checks
from qupersync_local.standin import FaultBook, RedshiftStandin
from qupersync_local.standin.faults import permission_denied, query_cancelled
from qupersync_shared.kernel.errors import SourceUnavailableError, TerminalError, TransientError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.kernel.positions import Scalar, ScalarKind
from qupersync_shared.runtime.plugins import CheckRow, Verdict

Without = Callable[[str], AbstractAsyncContextManager[None]]
SYSLOG = 'ALTER USER "{user}" SYSLOG ACCESS UNRESTRICTED'


@pytest.fixture
def without(admin: asyncpg.Connection, standin: RedshiftStandin) -> Without:
    """Takes a right away for a while."""

    @asynccontextmanager
    async def taken(right: str) -> AsyncIterator[None]:
        await admin.execute(f"REVOKE {right} FROM {standin.user}")
        try:
            yield
        finally:
            await admin.execute(f"GRANT {right} TO {standin.user}")

    return taken


def pipeline(name: str) -> Pipeline:
    return Pipeline(
        name=PipelineName("mine"),
        relation=SourceEntity(name),
        key=ENTITY_CLASSES[name].KEY,
        cursor=None,
        lookback=timedelta(0),
        safety_lag=timedelta(0),
        page_rows=10,
        lanes=1,
        snapshot_every=None,
        deletes=DeletePolicy.APPLY,
    )


async def checked(source: CatalogueSource, name: str) -> dict[str, CheckRow]:
    return {row.subject: row for row in await catalogue_checks(source, pipeline(name))}


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("table_stats", "svv_table_info"),
        ("query_history", "sys_connection_log"),
        ("node_details", "stv_node_storage_capacity"),
        ("node_details", "stv_partitions"),
    ],
)
async def test_a_missing_grant_is_told_with_the_statement(
    make_catalogue: Make, seeds: Seeds, standin: RedshiftStandin, without: Without, name: str, view: str
) -> None:
    await seeds.query(1)
    await seeds.add("stv_slices", {"node": 0, "slice": 0, "type": "D"})
    catalogue, key = make_catalogue(), ENTITY_CLASSES[name].KEY
    statement = f'Run GRANT SELECT ON pg_catalog.{view} TO "{standin.user}"'
    async with without(f"SELECT ON pg_catalog.{view}"):
        with pytest.raises(TransientError, match=f"{view} may not be read by user {standin.user}") as caught:
            await snapshot(catalogue, name, key)
        assert caught.value.cure == statement
        if view == "svv_table_info":
            with pytest.raises(TransientError, match="may not be read") as counting:
                await catalogue.count_nulls(SourceEntity(name), key)
            assert counting.value.cure == statement
        rows = await checked(catalogue, name)
        assert (rows[view].verdict, rows[view].cure) == (Verdict.FAILED, statement)
        assert all(row.verdict is Verdict.OK for other, row in rows.items() if other != view)
    await snapshot(catalogue, name, key)
    assert {row.verdict for row in (await checked(catalogue, name)).values()} == {Verdict.OK}


@pytest.mark.parametrize("name", ["query_history", "vacuum_history", "table_stats"])
async def test_only_ones_own_rows_are_no_history(
    catalogue: CatalogueSource,
    seeds: Seeds,
    tables: Any,
    standin: RedshiftStandin,
    without: Without,
    name: str,
) -> None:
    await seeds.query(1)
    await tables.numbers(3)
    statement = "Run " + SYSLOG.format(user=standin.user)
    async with without("syslog_access_unrestricted"):
        with pytest.raises(TransientError, match="only what") as caught:
            await snapshot(catalogue, name, ENTITY_CLASSES[name].KEY)
        assert caught.value.cure == statement
        assert not isinstance(caught.value, SourceUnavailableError)
        restricted = [row for row in (await checked(catalogue, name)).values() if row.verdict is Verdict.FAILED]
        assert restricted
        assert {row.cure for row in restricted} == {statement}
    await snapshot(catalogue, name, ENTITY_CLASSES[name].KEY)


async def test_who_plainly_sees_others_sees_all(
    catalogue: CatalogueSource, seeds: Seeds, admin: asyncpg.Connection, standin: RedshiftStandin
) -> None:
    """A role may give the right without svv_user_info's knowing: here, another policy on the rows."""
    await seeds.query(1)
    await admin.execute(
        f"CREATE POLICY by_role ON pg_catalog.sys_query_history FOR SELECT TO {standin.user} USING (true); "
        f"REVOKE syslog_access_unrestricted FROM {standin.user}"
    )
    try:
        assert len(await snapshot(catalogue, "query_history", ["query_id"])) == 1
        assert (await checked(catalogue, "query_history"))["sys_query_history"].verdict is Verdict.OK
    finally:
        await admin.execute(
            f"DROP POLICY by_role ON pg_catalog.sys_query_history; GRANT syslog_access_unrestricted TO {standin.user}"
        )


async def test_what_nobody_tells_is_a_warning_and_no_stop(
    catalogue: CatalogueSource, seeds: Seeds, faults: FaultBook
) -> None:
    await seeds.query(1)
    faults.add(permission_denied("svv_user_info", relation="svv_user_info", times=None))
    assert len(await snapshot(catalogue, "query_history", ["query_id"])) == 1
    row = (await checked(catalogue, "query_history"))["sys_query_history"]
    assert row.verdict is Verdict.WARNING
    assert "SYSLOG ACCESS UNRESTRICTED" in row.cure


async def test_an_absent_view_is_no_empty_table(
    catalogue: CatalogueSource, seeds: Seeds, admin: asyncpg.Connection
) -> None:
    await seeds.query(1)
    await admin.execute("ALTER TABLE pg_catalog.sys_query_history RENAME TO standin_hidden")
    try:
        with pytest.raises(TransientError, match="there is no sys_query_history"):
            await snapshot(catalogue, "query_history", ["query_id"])
    finally:
        await admin.execute("ALTER TABLE pg_catalog.standin_hidden RENAME TO sys_query_history")
    assert len(await snapshot(catalogue, "query_history", ["query_id"])) == 1


async def test_what_was_found_out_is_asked_again_later(
    make_catalogue: Make, seeds: Seeds, faults: FaultBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seeds.query(1)

    async def asked_in_three_reads() -> int:
        catalogue = make_catalogue()
        faults.forget()
        for _ in range(3):
            await snapshot(catalogue, "query_history", ["query_id"])
        return faults.executed("svv_user_info(?s:.)*ORDER BY")

    assert await asked_in_three_reads() == 1
    monkeypatch.setattr(views, "ASK_AGAIN_SECONDS", 0)
    assert await asked_in_three_reads() > 2


async def test_a_lost_connection_is_one(catalogue: CatalogueSource, seeds: Seeds, faults: FaultBook) -> None:
    await seeds.query(1)
    for pattern in ("svv_user_info", "sys_query_history", "sys_query_detail", "sys_connection_log"):
        faults.add(query_cancelled(pattern))
        with pytest.raises(SourceUnavailableError):
            await snapshot(catalogue, "query_history", ["query_id"])
    assert len(await snapshot(catalogue, "query_history", ["query_id"])) == 1


async def test_columns_that_are_looked_up_are_no_keys(catalogue: CatalogueSource) -> None:
    entity = SourceEntity("query_history")
    schema = await schema_of(catalogue, "query_history", ["application_name"])
    wanted = ReadRequest(relation=entity, schema=schema, range=KeyRange(after=None), limit=1)
    with pytest.raises(TerminalError, match="application_name") as caught:
        await catalogue.read(wanted)
    assert "query_id" in caught.value.cure
    by_hash = CursorRange(cursor="bytes_scanned", after=None, upto=Scalar(ScalarKind.INT, "1"))
    keyed = await schema_of(catalogue, "query_history", ["query_id"])
    with pytest.raises(TerminalError, match="bytes_scanned"):
        await catalogue.read(ReadRequest(relation=entity, schema=keyed, range=by_hash, limit=1))
    for asked in (
        catalogue.count_nulls(entity, ["query_hash"]),
        catalogue.count_duplicate_keys(entity, ["query_hash"]),
        catalogue.highest(entity, schema.column("query_hash")),
    ):
        with pytest.raises(TerminalError, match="query_hash"):
            await asked
    with pytest.raises(TerminalError, match="nonesuch"):
        await catalogue.describe(SourceEntity("nonesuch"))


async def test_tables_and_their_pipelines_are_as_they_were(
    catalogue: CatalogueSource, source: RedshiftSource, tables: Any
) -> None:
    table = await tables.numbers(5)
    assert isinstance(table, SourceTable)
    columns = await catalogue.describe(table)
    assert columns == await source.describe(table)
    assert await catalogue.count_nulls(table, ["id"]) == {"id": 0}
    assert await catalogue.count_duplicate_keys(table, ["word"]) == 1
    highest = await catalogue.highest(table, columns[0])
    assert highest is not None
    assert highest.text == "5"
    assert (await catalogue.clock()).now
    assert await catalogue_checks(source, pipeline("table_stats")) == []
