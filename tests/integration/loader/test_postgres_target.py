"""The target on PostgreSQL: tables, sessions and plans, which the in-memory twin cannot show."""

import asyncio
import uuid
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Extractor, ints, people, schema

from qupersync_loader.application.outcome import Ack, Nak
from qupersync_loader.domain.pipeline import Adopt, OnBadRow
from qupersync_loader.infrastructure.postgres import knowledge, staging
from qupersync_loader.infrastructure.postgres.names import quote
from qupersync_loader.infrastructure.postgres.schema import migrate_target, pending_revisions
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.infrastructure.postgres.statements import Statements
from qupersync_loader.infrastructure.postgres.target import PostgresTarget
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.slots import slot_of_key
from qupersync_shared.kernel.errors import DatabaseUnavailableError, SchemaRefusedError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.database import create_engine


@pytest.mark.parametrize(
    ("ddl", "words"),
    [
        ("CREATE TABLE people (id bigint, name text, amount numeric(10,2))", "ADD PRIMARY KEY"),
        ("CREATE TABLE people (name text, amount numeric(10,2))", "has no column 'id'"),
        ("CREATE VIEW people AS SELECT 1 AS id", "is not a table"),
        ("CREATE TABLE people (id bigint PRIMARY KEY, name integer)", "column 'name'"),
        ("CREATE TABLE people (id bigint PRIMARY KEY, synced_at text)", "synced_at"),
        ("CREATE TABLE people (id bigint PRIMARY KEY, name text); INSERT INTO people VALUES (1)", "adopt: keep"),
        ("CREATE TABLE people (id bigint PRIMARY KEY, name text GENERATED ALWAYS AS ('x') STORED)", "is generated"),
        ("CREATE TABLE people (id bigint PRIMARY KEY, amount real)", "column 'amount'"),
    ],
)
async def test_a_table_that_does_not_fit_is_refused_with_a_cure(
    postgres: PostgresHarness, ddl: str, words: str
) -> None:
    await postgres.execute(ddl)
    lanes = Lanes(postgres.target)
    outcome = await lanes.give(Extractor().page(people(1))[0])
    assert isinstance(outcome, Nak)
    assert outcome.halted
    assert words in outcome.reason
    assert await lanes.sequence() is None


async def test_a_table_of_the_owners_making_is_used_as_it_is(postgres: PostgresHarness) -> None:
    await postgres.execute(
        "CREATE TABLE people (note text NOT NULL, name varchar(3), id integer, amount numeric, "
        "stamp timestamptz NOT NULL DEFAULT now(), UNIQUE (id))"
    )
    lanes = Lanes(postgres.target)
    await lanes.load(Extractor().page(people(2**40)))
    columns = await postgres.columns(lanes.pipeline)
    assert (columns["id"], columns["name"], columns["amount"]) == ("bigint", "text", "numeric")
    row = (await postgres.fetch("SELECT * FROM people"))[0]
    assert (row["note"], row["id"], row["stamp"] is not None) == (None, 2**40, True)


async def test_adopted_rows_are_kept_or_replaced(postgres: PostgresHarness) -> None:
    ddl = (
        "CREATE TABLE people (id bigint PRIMARY KEY, name text, amount numeric(10,2));"
        "INSERT INTO people SELECT i, 'old', 0 FROM generate_series(1, 20) AS i"
    )
    await postgres.execute(ddl)
    keeping = Lanes(postgres.target, adopt=Adopt.KEEP)
    await keeping.load(Extractor().page(people(1, 30)))
    assert [r["id"] for r in await postgres.rows(keeping.pipeline)] == [*range(1, 21), 30]
    await postgres.execute("DROP TABLE people; DELETE FROM qupersync_pipeline")
    await postgres.execute(ddl)
    replacing = Lanes(PostgresTarget(postgres.engine), adopt=Adopt.REPLACE, lanes=2)
    await replacing.load(Extractor(lanes=2).page(people(1, 30)))
    assert [r["id"] for r in await postgres.rows(replacing.pipeline)] == [1, 30]
    assert await postgres.value("SELECT _qs_slot FROM people WHERE id = 30") == slot_of_key(ints(30))


async def test_a_table_dropped_under_the_watermarks_takes_them_along(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1, 2)))
    await postgres.execute("DROP TABLE people")
    event = source.incremental(people(3))[0]
    first = await lanes.give(event)
    assert isinstance(first, Nak)
    assert not first.halted
    second = await lanes.give(event)
    assert isinstance(second, Ack)
    assert second.cause == "awaits_baseline"
    await lanes.load(source.page(people(1, 2, 3)))
    assert len(await postgres.rows(lanes.pipeline)) == 3


async def test_a_column_narrowed_under_us_is_widened_again_not_rounded_into(postgres: PostgresHarness) -> None:
    moments = [0.0]
    known = knowledge.Knowledge(monotonic=lambda: moments[-1])
    source, lanes = Extractor(), Lanes(PostgresTarget(postgres.engine, known))
    await lanes.load(source.page(people(1)))
    await postgres.execute("ALTER TABLE people ALTER COLUMN amount TYPE numeric(10,1)")
    moments.append(knowledge.FRESH_SECONDS + 1)
    await lanes.load(source.incremental(people(1, amount="2.25")))
    assert await postgres.value("SELECT amount FROM people") == Decimal("2.25")


async def test_names_over_63_bytes_are_refused_by_whoever_makes_sql() -> None:
    assert quote('odd "name"') == '"odd ""name"""'
    for name in ("x" * 64, "é" * 32, "", "a\0b"):
        with pytest.raises(SchemaRefusedError):
            quote(name)


# ------------------------------------------------------------------------------------------------------ the session


async def test_a_session_keeps_sixteen_staging_tables(postgres: PostgresHarness) -> None:
    engine = create_engine(postgres.dsn, application_name="one", connections=1)
    lanes, source = Lanes(PostgresTarget(engine)), Extractor()
    await lanes.load(source.page(people(1)))
    for i in range(staging.TABLES_MAX + 3):
        wider = Extractor(schema(id="bigint", **{f"c{i}": "integer"}))
        wider.sequence, wider.last = source.sequence, source.last
        await lanes.load(wider.incremental([{"id": 1, f"c{i}": i}]))
        source = wider
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        count = await driver.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_qs\\_stage%'")
    assert count == staging.TABLES_MAX
    await engine.dispose()


async def test_an_unmigrated_target_says_so(local_stack: ThreadedStack) -> None:
    name = f"loader_{uuid.uuid4().hex[:12]}"
    local_stack.create_database(name, owner=TARGET_ROLE)
    dsn = local_stack.stack.dsn(TARGET_ROLE, name)
    engine = create_engine(dsn, application_name="t", connections=2)
    lanes = Lanes(PostgresTarget(engine))
    with pytest.raises(DatabaseUnavailableError, match="Run `qupersync-loader migrate`"):
        await lanes.sequence()
    assert await pending_revisions(engine) == ["0001", "0002", "0003", "0004", "0005"]
    assert sorted(await asyncio.gather(migrate_target(dsn), migrate_target(dsn))) == [
        [],
        ["0001", "0002", "0003", "0004", "0005"],
    ]
    assert await lanes.sequence() is None
    await engine.dispose()
    local_stack.drop_database(name)


async def test_the_view_claims_what_every_lane_can_claim(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(lanes=2), Lanes(postgres.target, lanes=2)

    async def view() -> Any:
        return await postgres.fetch("SELECT table_name, last_sync_time, updated_at FROM qupersync_state")

    page = source.page(people(*range(10)))
    await lanes.load([page[0]])
    ((name, honest, updated),) = await view()
    assert (name, honest, updated is not None) == ("public.people", None, True)
    await lanes.load([page[1]])
    first = source.clock
    assert (await view())[0][1] == first
    later = source.incremental()
    await lanes.load([later[0]])
    assert (await view())[0][1] == first
    await lanes.load([later[1]])
    assert (await view())[0][1] == source.clock
    new = Extractor(lanes=4, log=2)
    begun = new.page(people(*range(10)))
    await lanes.load([begun[0]])
    assert (await view())[0][1] is None


async def test_range_deletes_read_the_keys_index(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(schema(a="varchar", b="integer", name="varchar", key=("a", "b"))), Lanes(postgres.target)
    await lanes.load(source.page([{"a": f"a{i}", "b": i, "name": "n"} for i in range(3000)]))
    statements = Statements("public", "people", source.schema, lanes.pipeline.deletes)
    sql = statements.remove_range(after=2, upto=2, present=True)
    async with postgres.connected() as connection, connection.transaction():
        await connection.execute(statements.create_staging)
        await connection.execute("SET LOCAL enable_nestloop = off; SET LOCAL enable_seqscan = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        plan = "\n".join(
            row[0] for row in await connection.fetch(f"EXPLAIN {sql}", 1, 1, 0, "a1", "1", "a3", "3", ["a2"], ["2"])
        )
    assert "people_pkey" in plan, plan
    assert "Index Cond: ((ROW(a, b) > ROW(" in plan, plan
    assert "Nested Loop" not in plan, plan


async def test_a_frozen_transaction_frees_its_lane(postgres: PostgresHarness) -> None:
    """The server ends a session that froze while it held the lane's locks; another process goes on."""
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1)))
    event = source.incremental(people(2))[0]
    frozen = create_engine(postgres.dsn, application_name="frozen", connections=1, idle_in_transaction_seconds=0.5)
    stuck = PostgresTarget(frozen)

    async def freeze() -> None:
        async with stuck.session(lanes.pipeline) as session, session.work(Lane(0)) as work:
            await work.look()
            await work.lock(exclusive=True)
            await lanes.load([event])  # waits for the locks until the server has ended the frozen session
            await work.commit()

    with pytest.raises(DatabaseUnavailableError):
        await freeze()
    assert await lanes.sequence() == 2
    await frozen.dispose()


async def test_halt_names_the_first_refusal(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target, on_bad_row=OnBadRow.HALT)
    await lanes.load(source.page(people(1)))
    await postgres.refuse_names("n2")
    outcome = await lanes.give(source.incremental(people(2))[0])
    assert isinstance(outcome, Nak)
    assert "not_this_name" in outcome.reason


async def test_a_missing_right_is_waited_for(postgres: PostgresHarness, local_stack: ThreadedStack) -> None:
    admin = local_stack.stack.postgres.dsn(postgres.dsn.rpartition("/")[2])
    connection = await asyncpg.connect(admin)
    try:
        await connection.execute("CREATE SCHEMA private; REVOKE ALL ON SCHEMA private FROM PUBLIC")
        source, lanes = Extractor(), Lanes(postgres.target, schema="private")
        event = source.page(people(1))[0]
        outcome = await lanes.give(event)
        assert isinstance(outcome, Nak)
        assert not outcome.halted
        assert "GRANT the missing right" in outcome.reason
        await connection.execute(f"GRANT ALL ON SCHEMA private TO {TARGET_ROLE}")
    finally:
        await connection.close()
    await lanes.load([event])


async def test_lanes_that_begin_at_once_register_one_pipeline(postgres: PostgresHarness) -> None:
    async with AsyncExitStack() as stack:
        drivers = [await stack.enter_async_context(postgres.connected()) for _ in range(6)]
        for turn in range(100):
            names = ("main", f"p{turn}", "public", f"t{turn}")
            await asyncio.gather(*(driver.execute(statement("register"), *names) for driver in drivers))
    assert await postgres.value("SELECT count(*) FROM qupersync_pipeline") == 100
