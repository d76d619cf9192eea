"""The target on PostgreSQL: what the in-memory twin cannot show."""

import asyncio
import json
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import asyncpg
import pyarrow as pa
import pytest
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Event, Extractor, ints, people, schema

from qupersync_loader.application.outcome import Ack, Nak
from qupersync_loader.domain.pipeline import Adopt, OnBadRow
from qupersync_loader.infrastructure.postgres import knowledge, staging
from qupersync_loader.infrastructure.postgres.names import quote
from qupersync_loader.infrastructure.postgres.schema import migrate_target, pending_revisions
from qupersync_loader.infrastructure.postgres.statements import Statements
from qupersync_loader.infrastructure.postgres.target import PostgresTarget
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.payload import checksum, decode, encode
from qupersync_shared.contracts.slots import slot_of_key
from qupersync_shared.kernel.errors import DatabaseUnavailableError, SchemaRefusedError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.kernel.positions import Scalar, ScalarKind
from qupersync_shared.runtime.database import create_engine

# ---------------------------------------------------------------------------------------------------------- values

EVERY_TYPE: dict[str, tuple[str, list[Any]]] = {
    "a": ("smallint", [-(2**15), 2**15 - 1]),
    "b": ("integer", [-(2**31), 2**31 - 1]),
    "c": ("bigint", [-(2**63), 2**63 - 1]),
    "d": ("real", [1.5, float("-inf")]),
    "e": ("double", [0.1, float("inf")]),
    "f": ("numeric(38,10)", [Decimal("1234567890123456789012345678.0123456789"), Decimal("-0.0000000001")]),
    "g": ("boolean", [True, False]),
    "h": ("char", ["x", ""]),
    "i": ("varchar", ["Ünïcödé 🎈\n\t\\.", "trailing  "]),
    "j": ("date", [date(1, 1, 1), date(9999, 12, 31)]),
    "k": ("timestamp", [datetime(1, 1, 1, 0, 0, 0, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]),  # noqa: DTZ001
    "l": ("timestamptz", [datetime(1600, 2, 29, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]),
    "m": ("time", [time(0, 0), time(23, 59, 59, 999999)]),
    "n": ("timetz", ["12:34:56.789012+05:30", "00:00:00-12"]),
    "o": ("super", ['{"a": [1, null, {"b": "ü"}]}', '"text"']),
    "p": ("varbyte", [b"\x00\xff", b""]),
    "q": ("uuid", [uuid.UUID(int=0).bytes, uuid.UUID(int=2**128 - 1).bytes]),
}


def as_stored(kind: str, value: Any) -> Any:
    match kind:
        case "uuid":
            return uuid.UUID(bytes=value)
        case "timetz":
            zone = timezone(timedelta(hours=5, minutes=30)) if "+05:30" in value else timezone(timedelta(hours=-12))
            return time(12, 34, 56, 789012, zone) if "+05:30" in value else time(0, 0, tzinfo=zone)
        case _:
            return value


async def test_every_type_arrives_exactly_and_so_does_null(postgres: PostgresHarness) -> None:
    rows = schema(id="bigint", **{name: kind for name, (kind, _) in EVERY_TYPE.items()})
    source, lanes = Extractor(rows), Lanes(postgres.target)
    sent: list[dict[str, Any]] = [
        {"id": i, **{name: values[i] for name, (_, values) in EVERY_TYPE.items()}} for i in range(2)
    ]
    sent.append({"id": 2, **dict.fromkeys(EVERY_TYPE)})
    await lanes.load(source.page(sent))
    found = await postgres.rows(lanes.pipeline)
    for row, original in zip(found, sent, strict=True):
        for name, (kind, _) in EVERY_TYPE.items():
            value = original[name]
            held = json.loads(row[name]) if kind == "super" and row[name] is not None else row[name]
            expected = json.loads(value) if kind == "super" and value is not None else value
            assert held == (None if expected is None else as_stored(kind, expected)), (name, kind)
    before = await postgres.versions(lanes.pipeline)
    again = await lanes.load(source.page(sent), source.incremental(sent))
    assert again.written == 0
    assert await postgres.versions(lanes.pipeline) == before


async def test_nan_is_equal_to_itself(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(schema(id="bigint", v="double")), Lanes(postgres.target)
    rows = [{"id": 1, "v": float("nan")}]
    await lanes.load(source.page(rows))
    assert (await lanes.load(source.incremental(rows))).written == 0


@pytest.mark.parametrize("kind", ["text", "smallint", "numeric(12,3)", "date", "timestamptz", "uuid", "bytes", "bool"])
async def test_keys_of_every_kind_have_ranges_and_withheld_keys(postgres: PostgresHarness, kind: str) -> None:
    samples: dict[str, tuple[str, ScalarKind, list[tuple[Any, str]]]] = {
        "text": ("varchar", ScalarKind.TEXT, [("B", "B"), ("a", "a"), ("é", "é")]),
        "smallint": ("smallint", ScalarKind.INT, [(-5, "-5"), (3, "3"), (20, "20")]),
        "numeric(12,3)": (
            "numeric(12,3)",
            ScalarKind.NUMERIC,
            [(Decimal("-1.5"), "-1.5"), (Decimal("2.125"), "2.125"), (Decimal(10), "10")],
        ),
        "date": ("date", ScalarKind.DATE, [(date(2020, 1, i), f"2020-01-0{i}") for i in (1, 2, 3)]),
        "timestamptz": (
            "timestamptz",
            ScalarKind.TIMESTAMPTZ,
            [(datetime(2020, 1, i, tzinfo=UTC), f"2020-01-0{i} 00:00:00.000000Z") for i in (1, 2, 3)],
        ),
        "uuid": ("uuid", ScalarKind.UUID, [(uuid.UUID(int=i).bytes, uuid.UUID(int=i).hex) for i in (1, 2, 3)]),
        "bytes": ("varbyte", ScalarKind.BYTES, [(b"\x00", "00"), (b"\x01\xff", "01ff"), (b"\x80", "80")]),
        "bool": ("boolean", ScalarKind.BOOLEAN, [(False, "false"), (True, "true")]),
    }
    name, scalar, values = samples[kind]
    source, lanes = Extractor(schema(k=name, name="varchar", key=("k",))), Lanes(postgres.target)
    rows = [{"k": value, "name": text} for value, text in values]
    keys = [(Scalar(scalar, text),) for _, text in values]
    await lanes.load(source.page(rows))
    await lanes.load(source.page([], upto=keys[0]))
    assert {r["name"] for r in await postgres.rows(lanes.pipeline)} == {text for _, text in values[1:]}
    await lanes.load(source.page([], after=keys[0], withheld_keys=(keys[1],)))
    assert [r["name"] for r in await postgres.rows(lanes.pipeline)] == [values[1][1]]


# ------------------------------------------------------------------------------------------------------- bad rows


async def test_rows_that_cannot_even_be_copied_are_quarantined(postgres: PostgresHarness) -> None:
    rows = schema(id="bigint", name="varchar", born="date", doc="super")
    source, lanes = Extractor(rows), Lanes(postgres.target)
    plain = {"born": date(2000, 1, 1), "doc": "{}"}
    await lanes.load(source.page([{"id": i, "name": f"n{i}", **plain} for i in range(1, 30)]))
    sent = [{"id": i, "name": f"m{i}", **plain} for i in range(1, 30)]
    sent[4]["name"] = "nul\0byte"
    sent[9]["doc"] = '{"broken": '
    sent[11]["doc"] = '"\\u0000"'
    event = source.page(sent)[0]
    outcome = await lanes.give(event)
    assert isinstance(outcome, Ack)
    assert (outcome.applied.quarantined, outcome.applied.removed, outcome.applied.written) == (3, 0, 26)
    names = {r["id"]: r["name"] for r in await postgres.rows(lanes.pipeline)}
    assert [names[i] for i in (5, 10, 12)] == ["n5", "n10", "n12"]
    assert len(names) == 29
    found = await postgres.fetch("SELECT key, reason, \"row\"->>'name' AS name FROM qupersync_quarantine ORDER BY id")
    assert ["(22021)" in found[0]["reason"], "(22P02)" in found[1]["reason"], "(22P05)" in found[2]["reason"]] == [
        True
    ] * 3
    assert found[0]["name"] == "nul␀byte"
    assert json.loads(found[0]["key"])["key"] == [["int", "5"]]


def with_a_date_beyond_everything(event: Event) -> Event:
    """The event with the greatest date that Arrow has in the last row's second column."""
    batch = decode(event.body)
    far = pa.array([1, 2**31 - 1], pa.int32()).cast(pa.date32())
    body = encode(batch.set_column(1, batch.schema.field(1), far))
    return Event(envelope=event.envelope.model_copy(update={"checksum": checksum(body)}), body=body)


BORN = [{"id": 1, "born": date(2000, 1, 1)}, {"id": 2, "born": date(2000, 1, 2)}]


async def test_dates_beyond_postgresql_and_python_are_quarantined(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(schema(id="bigint", born="date")), Lanes(postgres.target)
    await lanes.load(source.page([{"id": 3, "born": date(2000, 1, 3)}]))
    outcome = await lanes.give(with_a_date_beyond_everything(source.page(BORN)[0]))
    assert isinstance(outcome, Ack), outcome
    assert (outcome.applied.written, outcome.applied.removed, outcome.applied.quarantined) == (1, 1, 1)
    assert (await lanes.load(source.page([]))).removed == 1
    assert str(2**31 - 1) in await postgres.value("SELECT \"row\"->>'born' FROM qupersync_quarantine")


@pytest.mark.parametrize("key", [("born",), ("id", "born")])
async def test_an_event_with_a_key_that_has_no_canonical_form_is_parked(
    postgres: PostgresHarness, key: tuple[str, ...]
) -> None:
    source, lanes = Extractor(schema(id="bigint", born="date", key=key)), Lanes(postgres.target)
    await lanes.load(source.page([{"id": 3, "born": date(2000, 1, 3)}]))
    outcome = await lanes.give(with_a_date_beyond_everything(source.page(BORN)[0]))
    assert isinstance(outcome, Ack), outcome
    assert outcome.cause == "parked"
    ((sequence, reason),) = await postgres.letters()
    assert (sequence, "has no canonical form" in reason) == (2, True)
    assert [row["id"] for row in await postgres.rows(lanes.pipeline)] == [3]


async def test_deferred_constraints_speak_where_rows_can_be_told_apart(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1)))
    await postgres.execute(
        "CREATE TABLE known (name text PRIMARY KEY); INSERT INTO known VALUES ('n1'), ('n2');"
        "ALTER TABLE people ADD FOREIGN KEY (name) REFERENCES known DEFERRABLE INITIALLY DEFERRED"
    )
    done = await lanes.load(source.incremental(people(2, 3)))
    assert (done.written, done.quarantined) == (1, 1)


async def test_a_row_may_take_over_what_a_removed_one_held(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page([{"id": 1, "name": "only", "amount": None}]))
    await postgres.execute("CREATE UNIQUE INDEX ON people (name)")
    done = await lanes.load(source.page([{"id": 2, "name": "only", "amount": None}]))
    assert (done.written, done.removed, done.quarantined) == (1, 1, 0)


async def test_a_delete_that_others_forbid_holds_the_lane_and_parks_nothing(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1, 2)))
    await postgres.execute("CREATE TABLE pets (owner bigint REFERENCES people (id)); INSERT INTO pets VALUES (2)")
    outcome = await lanes.give(source.page(people(1))[0])
    assert isinstance(outcome, Nak)
    assert outcome.halted
    assert "pets" in outcome.reason
    assert (await lanes.sequence(), await postgres.letters()) == (1, [])


# ------------------------------------------------------------------------------------------------------- the table


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
    assert await pending_revisions(engine) == ["0001"]
    assert sorted(await asyncio.gather(migrate_target(dsn), migrate_target(dsn))) == [[], ["0001"]]
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
    sql = statements.remove_range(after=True, upto=True, present=True)
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
