"""What the real driver and the stand-in's server say of sessions, clocks, schemas and values that are rare."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from typing import Any

import asyncpg
import pyarrow as pa
import pytest

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.refused import without_refusals
from qupersync_extractor.domain.pipeline import Relation, SourceQuery
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_local.standin import FaultBook, RedshiftStandin
from qupersync_local.standin.faults import permission_denied, query_cancelled
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.kernel.errors import SourceUnavailableError, TerminalError, TransientError

pytestmark = pytest.mark.integration

Make = Callable[..., RedshiftSource]


async def whole(
    source: RedshiftSource, relation: Relation, columns: tuple[Column, ...] | None = None
) -> pa.RecordBatch:
    schema = RowSchema(columns=columns or await source.describe(relation), key=("id",))
    return await source.read(ReadRequest(relation=relation, schema=schema, range=KeyRange(after=None), limit=1000))


async def test_a_session_says_who_it_is_and_reads_in_utc(make_source: Make, faults: FaultBook) -> None:
    source = make_source(query_group="it's qupersync", statement_timeout_seconds=12.5)
    query = SourceQuery(
        "SELECT 1 AS id, current_setting('timezone')::varchar AS zone, "
        "current_setting('statement_timeout')::varchar AS t"
    )
    assert (await whole(source, query)).to_pylist() == [{"id": 1, "zone": "UTC", "t": "12500ms"}]
    assert [made["application_name"] for made in faults.connections()] == ["qupersync"]
    assert faults.statements("^SET query_group") == ["SET query_group TO 'it''s qupersync'"]


async def test_sessions_are_few_and_used_again(make_source: Make, tables: Any, faults: FaultBook) -> None:
    table = await tables.numbers(10)
    source = make_source(connections=2)
    columns = await source.describe(table)
    await asyncio.gather(*(whole(source, table, columns) for _ in range(8)))
    assert len(faults.connections()) == 2


async def test_the_text_of_a_statement_is_the_same_for_every_page(
    source: RedshiftSource, tables: Any, faults: FaultBook
) -> None:
    table = await tables.numbers(10)
    schema = RowSchema(columns=await source.describe(table), key=("id",))
    after = None
    for _ in range(4):
        request = ReadRequest(relation=table, schema=schema, range=KeyRange(after=after), limit=3)
        batch = await source.read(request)
        after = key_at(batch, schema, batch.num_rows - 1)
    assert len(set(faults.statements(f"{table.name}.*ORDER BY"))) == 2  # with a lower bound, and without


async def test_a_session_full_of_statement_texts_is_replaced(
    source: RedshiftSource, tables: Any, faults: FaultBook
) -> None:
    table = await tables.numbers(1)
    schema = RowSchema(columns=await source.describe(table), key=("id",))
    for limit in range(1, 510):
        await source.read(ReadRequest(relation=table, schema=schema, range=KeyRange(after=None), limit=limit))
    assert len(faults.connections()) == 2


async def test_each_read_is_a_transaction_of_its_own(
    source: RedshiftSource, tables: Any, admin: asyncpg.Connection, standin: RedshiftStandin
) -> None:
    table = await tables.numbers(1)
    await whole(source, table)
    states = await admin.fetch("SELECT state FROM pg_stat_activity WHERE usename = $1", standin.user)
    assert {row["state"] for row in states} == {"idle"}


# --- the clock ---------------------------------------------------------------------------------------------------


async def test_the_clock_tells_the_oldest_open_writer(
    source: RedshiftSource, tables: Any, admin: asyncpg.Connection
) -> None:
    table = await tables.numbers(1)
    async with admin.transaction():
        await admin.execute(f"INSERT INTO {table} VALUES (2, 'late')")
        started = await admin.fetchval("SELECT transaction_timestamp()")
        clock = await source.clock()
        assert clock.oldest_open == started.astimezone(UTC)
        assert started < clock.now
    after = await source.clock()
    assert after.oldest_open is None
    assert after.now > clock.now


async def test_the_clock_has_microseconds_and_is_never_ahead(source: RedshiftSource, admin: asyncpg.Connection) -> None:
    told = [(await source.clock()).now for _ in range(5)]
    assert any(moment.microsecond for moment in told)
    now = await admin.fetchval("SELECT clock_timestamp()")
    assert all(now - timedelta(minutes=1) < moment <= now for moment in told)


async def test_a_clock_without_sight_of_transactions_is_a_clock(source: RedshiftSource, faults: FaultBook) -> None:
    faults.add(permission_denied("svv_transactions", relation="svv_transactions"))
    assert (await source.clock()).oldest_open is None
    assert (await source.clock()).oldest_open is None
    assert faults.executed("svv_transactions") == 1
    assert faults.executed("SYSDATE") == 3


async def test_a_cancelled_clock_is_not_a_hidden_one(source: RedshiftSource, faults: FaultBook) -> None:
    faults.add(query_cancelled("svv_transactions"))
    with pytest.raises(SourceUnavailableError):
        await source.clock()
    await source.clock()
    assert faults.executed("svv_transactions") == 2


# --- schemas -----------------------------------------------------------------------------------------------------


async def test_a_changed_table_is_described_anew_by_the_same_session(
    source: RedshiftSource, tables: Any, admin: asyncpg.Connection, faults: FaultBook
) -> None:
    table = await tables.numbers(1)
    before = await source.describe(table)
    await admin.execute(f"ALTER TABLE {table} ADD COLUMN extra numeric(9,2)")
    await admin.execute(f"ALTER TABLE {table} ALTER COLUMN id TYPE bigint")
    with pytest.raises(TransientError, match=r"'id' .* was integer and is bigint now"):
        await whole(source, table, before)
    assert [(c.name, c.type.name) for c in await source.describe(table)] == [
        ("id", "bigint"),
        ("word", "varchar"),
        ("extra", "numeric(9,2)"),
    ]
    await admin.execute(f"ALTER TABLE {table} DROP COLUMN word")
    with pytest.raises(TerminalError, match="word"):
        await whole(source, table, before)
    assert len(faults.connections()) == 1
    await source.describe(table)
    assert len(faults.connections()) == 2  # a session is thrown away after an error


async def test_a_late_binding_view_is_described_as_a_table_is(
    source: RedshiftSource, tables: Any, admin: asyncpg.Connection
) -> None:
    table = await tables.make("SELECT 1::int AS id, 2.5::numeric(12,3) AS price, 'x'::char(7) AS code")
    await admin.execute(f"CREATE VIEW {table}_v AS SELECT * FROM {table}")
    await admin.execute(f"GRANT SELECT ON {table}_v TO {tables.user}")
    query = SourceQuery(f"SELECT * FROM {table}_v")
    assert await source.describe(query) == await source.describe(table)
    assert (await whole(source, query)).to_pylist() == (await whole(source, table)).to_pylist()


@pytest.mark.parametrize(
    ("expression", "words"), [("point(1, 2)", "'odd' is of type POINT"), ("sum(2.5)", "NUMERIC without precision")]
)
async def test_a_type_that_cannot_travel_is_named(
    source: RedshiftSource, tables: Any, expression: str, words: str
) -> None:
    table = await tables.make(f"SELECT 1 AS id, {expression} AS odd")
    with pytest.raises(TerminalError, match=words) as caught:
        await source.describe(table)
    assert "query" in caught.value.cure


async def test_an_interval_is_read_as_text_even_without_a_description_before(make_source: Make, tables: Any) -> None:
    table = await tables.make("SELECT 1 AS id, interval '1 day 02:03:04' AS pause")
    columns = await make_source().describe(table)
    assert columns[1].type.name == "varchar"
    assert (await whole(make_source(), table, columns)).to_pylist() == [{"id": 1, "pause": "1 day 02:03:04"}]


# --- rare values -------------------------------------------------------------------------------------------------


async def test_far_moments_are_exact(source: RedshiftSource, tables: Any) -> None:
    table = await tables.make(
        "SELECT 1 AS id, date '0044-03-15 BC' AS d, timestamp '12024-02-29 01:02:03.000004' AS t, "
        "timestamptz '0001-01-01 00:00:00+00 BC' AS z "
        "UNION ALL SELECT 2, date '5874897-12-31', timestamp '4713-01-01 00:00:00 BC', timestamptz '2024-01-01 00:00Z'"
    )
    batch = await whole(source, table)
    days = await tables.admin.fetch(f"SELECT d - date '1970-01-01' AS days FROM {table} ORDER BY id")
    assert batch.column("d").cast(pa.int32()).to_pylist() == [row["days"] for row in days]
    assert [batch.column(name).cast(pa.string()).to_pylist() for name in "tz"] == [
        ["12024-02-29 01:02:03.000004", "-4712-01-01 00:00:00.000000"],
        ["0000-01-01 00:00:00.000000Z", "2024-01-01 00:00:00.000000Z"],
    ]


@pytest.mark.parametrize("value", ["time '24:00:00'", "timestamp '294276-12-31 00:00:00'"])
async def test_a_row_that_cannot_be_held_is_refused_with_its_column(
    source: RedshiftSource, tables: Any, value: str
) -> None:
    kind = value.partition(" ")[0]
    table = await tables.make(f"SELECT 7 AS id, CAST(NULL AS {kind}) AS odd UNION ALL SELECT 8, {value}")
    rows, refused = without_refusals(await whole(source, table))
    assert rows.to_pylist() == [{"id": 7, "odd": None}, {"id": 8, "odd": None}]
    assert refused is not None
    assert refused[0].as_py() is None
    assert "'odd' holds what" in refused[1].as_py()


@pytest.fixture
def old_protocol(standin: RedshiftStandin) -> Iterator[None]:
    standin.front.protocol, before = 0, standin.front.protocol
    yield
    standin.front.protocol = before


@pytest.mark.usefixtures("old_protocol")
async def test_an_old_protocol_reads_the_same_but_for_varbyte(source: RedshiftSource, tables: Any) -> None:
    table = await tables.make(
        "SELECT 1 AS id, 12345678901234567890.0123456789::numeric(38,10) AS n, date '1500-02-28' AS d, "
        "time '00:00:00.000001' AS t, 'x'::char(3) AS c"
    )
    batch = await whole(source, table)
    assert [column.cast(pa.string())[0].as_py() for column in batch.columns] == [
        *("1", "12345678901234567890.0123456789", "1500-02-28", "00:00:00.000001", "x")
    ]
    varbyte = await tables.make("SELECT 1 AS id, to_varbyte('ff', 'hex') AS v")
    with pytest.raises(TerminalError, match="FROM_VARBYTE"):
        await source.describe(varbyte)
