"""Changed columns on PostgreSQL: what is the owner's stays his, refusals name cures that work, and nobody deadlocks."""

import asyncio
from typing import Any

import pytest
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import PEOPLE, Event, Extractor, people, schema
from tests.conformance.loader.test_dropped_columns import OTHER, WITHOUT, named, turned

from qupersync_loader.application.outcome import Ack, Nak
from qupersync_loader.domain.pipeline import SchemaPolicy
from qupersync_loader.infrastructure.postgres import knowledge
from qupersync_loader.infrastructure.postgres.target import PostgresTarget
from qupersync_shared.contracts.schema import RowSchema


async def refused(lanes: Lanes, event: Event) -> str:
    outcome = await lanes.give(event)
    assert isinstance(outcome, Nak)
    assert outcome.halted
    return outcome.reason


async def amounts(postgres: PostgresHarness) -> list[Any]:
    return [row[0] for row in await postgres.fetch("SELECT amount FROM people ORDER BY id")]


async def test_columns_of_the_owner_are_never_written(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1, 2)))
    await postgres.execute("ALTER TABLE people ADD COLUMN note text DEFAULT 'new', ALTER amount SET DEFAULT 5")
    await postgres.execute("UPDATE people SET note = 'by hand' WHERE id = 1")
    await lanes.load(turned(source, WITHOUT).page(named(1, 2, 3)))
    found = await postgres.fetch("SELECT note, amount FROM people ORDER BY id")
    assert [tuple(row) for row in found] == [("by hand", None), ("new", None), ("new", None)]


async def test_a_column_that_the_owner_has_dropped_is_forgotten_and_his_when_he_makes_it_anew(
    postgres: PostgresHarness,
) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1)))
    await lanes.load(turned(source, WITHOUT).page(named(1)))
    await postgres.execute("ALTER TABLE people DROP COLUMN amount")
    event = source.incremental(named(2))[0]
    first = await lanes.give(event)
    assert isinstance(first, Nak)
    assert not first.halted
    await lanes.load([event])
    await postgres.execute("ALTER TABLE people ADD COLUMN amount integer; UPDATE people SET amount = 7")
    await lanes.load(source.page([{"id": i, "name": "other"} for i in (1, 2, 3)]))
    assert await amounts(postgres) == [7, 7, None]


async def test_not_null_is_not_taken_from_the_owner(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await postgres.execute("CREATE TABLE people (id bigint PRIMARY KEY, name text, amount numeric NOT NULL DEFAULT 0)")
    await lanes.load(source.page(people(1, 2)))
    event = turned(source, WITHOUT).page(named(1, 2))[0]
    reason = await refused(lanes, event)
    assert "the source has dropped column 'amount', which is NOT NULL" in reason
    assert len([value for value in await amounts(postgres) if value is not None]) == 2
    cure = 'ALTER TABLE "public"."people" ALTER COLUMN "amount" DROP NOT NULL'
    assert cure in reason
    await postgres.execute(cure)
    await lanes.load([event])
    assert await amounts(postgres) == [None, None]


async def test_freeze_names_a_cure_that_works(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target, schema_policy=SchemaPolicy.FREEZE)
    await postgres.execute("CREATE TABLE people (id bigint PRIMARY KEY, name text, amount numeric(10,2))")
    await postgres.execute(
        "ALTER TABLE people ADD synced_at timestamptz, ADD _qs_sequence bigint, ADD _qs_slot smallint"
    )
    await lanes.load(source.page(people(1)))
    event = turned(source, WITHOUT).page(named(1))[0]
    cure = 'ALTER TABLE "public"."people" DROP COLUMN "amount"'
    assert cure in await refused(lanes, event)
    await postgres.execute(cure)
    await lanes.load([event])


async def test_a_lane_that_is_behind_lacks_what_has_yet_to_come_and_drops_nothing(postgres: PostgresHarness) -> None:
    frozen = Lanes(postgres.target, lanes=2, schema_policy=SchemaPolicy.FREEZE)
    source, ids = Extractor(WITHOUT, lanes=2), range(1, 21)
    await Lanes(postgres.target, lanes=2).load(source.page(named(*ids)))
    behind = source.incremental(named(*ids))
    await postgres.execute("ALTER TABLE people ADD COLUMN amount numeric(10,2) DEFAULT 3")
    later = turned(source, PEOPLE).page(people(*ids))
    await frozen.load([behind[0], later[0]])
    await frozen.load([behind[1]])
    assert {str(value) for value in await amounts(postgres)} == {"1.00", "3.00"}
    await frozen.load([later[1]])
    assert {str(value) for value in await amounts(postgres)} == {"1.00"}


@pytest.mark.parametrize("stale", ["dropped", "back"])
async def test_a_process_that_looked_before_another_filled_the_column_empties_it_all_the_same(
    postgres: PostgresHarness, stale: str
) -> None:
    one = Lanes(PostgresTarget(postgres.engine, knowledge.Knowledge()))
    two = Lanes(PostgresTarget(postgres.engine, knowledge.Knowledge()))
    source = Extractor(WITHOUT if stale == "dropped" else PEOPLE)
    await one.load(source.page(named(1) if stale == "dropped" else people(1)))
    await two.load(turned(source, PEOPLE).page(people(1, 2)))
    await one.load(turned(source, WITHOUT).page(named(1, 2)))  # what it knows of this schema is older
    assert await amounts(postgres) == [None, None]


async def test_lanes_and_processes_in_different_schemas_end_with_the_last(postgres: PostgresHarness) -> None:
    """Two processes take turns at eight lanes, whose events alternate between three schemas; all at once."""
    source = Extractor(lanes=8)
    ids = range(1, 81)
    pages = [source.page(people(*ids))]
    for turn in range(6):
        rows: list[tuple[RowSchema, list[dict[str, Any]]]] = [
            (WITHOUT, named(*ids)),
            (PEOPLE, people(*ids, amount=f"{turn}.00")),
            (schema(id="bigint", name="varchar", amount="numeric(14,4)", extra="date"), named(*ids)),
        ]
        shape, content = rows[turn % 3]
        pages.append(turned(source, shape).page(content))
    pages.append(turned(source, WITHOUT).page(named(*ids)))
    processes = [Lanes(PostgresTarget(postgres.engine, knowledge.Knowledge()), lanes=8) for _ in range(2)]

    async def run(lane: int) -> None:
        for number, page in enumerate(pages):
            attempt = 1
            while not isinstance(await processes[(lane + number) % 2].give(page[lane], attempt=attempt), Ack):
                attempt += 1
                assert attempt < 50

    await asyncio.gather(*(run(lane) for lane in range(8)))
    found = await postgres.fetch("SELECT amount, extra FROM people")
    assert (len(found), {tuple(row) for row in found}) == (80, {(None, None)})


async def test_a_table_of_an_earlier_version_learns_with_its_next_event(postgres: PostgresHarness) -> None:
    source = Extractor()
    await Lanes(postgres.target).load(source.page(people(1)))
    await postgres.execute("UPDATE qupersync_pipeline SET filled = '{}'")
    upgraded = Lanes(PostgresTarget(postgres.engine))
    await upgraded.load(source.incremental())
    known = "SELECT array_agg(name ORDER BY name) FROM qupersync_pipeline, jsonb_object_keys(filled) AS name"
    assert await postgres.value(known) == ["amount", "id", "name"]
    await upgraded.load(turned(source, WITHOUT).page(named(1)))
    assert await amounts(postgres) == [None]


async def test_a_pipeline_that_moves_to_another_table_takes_nothing_of_it_for_its_own(
    postgres: PostgresHarness,
) -> None:
    source = Extractor()
    await Lanes(postgres.target).load(source.page(people(1)))
    await postgres.execute("CREATE TABLE persons (id bigint PRIMARY KEY, name text, amount integer DEFAULT 3)")
    moved, later = Lanes(postgres.target, table="persons"), Extractor(WITHOUT, log=2)
    await moved.load(later.page(named(1)))
    await moved.load(later.page(named(1, 2)))
    assert [row[0] for row in await postgres.fetch("SELECT amount FROM persons")] == [3, 3]


# ------------------------------------------------------------------------------------------------------- types and keys


async def test_another_type_goes_on_when_the_owner_has_done_what_was_named(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(schema(id="bigint", name="varchar", amount="varchar")), Lanes(postgres.target)
    await lanes.load(source.page(named(1, 2, amount="12")))
    event = turned(source, schema(id="bigint", name="varchar", amount="integer")).page(named(1, 2, amount=12))[0]
    reason = await refused(lanes, event)
    cure = 'ALTER TABLE "public"."people" ALTER COLUMN "amount" TYPE integer USING …'
    assert cure in reason
    await postgres.execute(cure.replace("…", "amount::integer"))
    before = await postgres.versions(lanes.pipeline)
    await lanes.load([event])
    assert await amounts(postgres) == [12, 12]
    assert await postgres.versions(lanes.pipeline) == before


async def test_a_view_over_an_empty_column_is_a_reason_to_ask(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1)))
    await postgres.execute("CREATE VIEW seen AS SELECT amount FROM people")
    await lanes.load(turned(source, WITHOUT).page(named(1)))
    event = turned(source, OTHER).page(named(1, amount=True))[0]
    assert "used by a view" in await refused(lanes, event)
    await postgres.execute("DROP VIEW seen")
    await lanes.load([event])


async def test_a_renamed_key_column_goes_on_under_its_new_name(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1, 2)))
    renamed = schema(number="bigint", name="varchar", amount="numeric(10,2)", key=("number",))
    rows = [{"number": row["id"], "name": row["name"], "amount": row["amount"]} for row in people(1, 2, 3)]
    event = turned(source, renamed).page(rows)[0]
    cure = 'ALTER TABLE "public"."people" RENAME COLUMN "id" TO "number"'
    assert cure in await refused(lanes, event)
    await postgres.execute(cure)
    done = await lanes.load([event])
    assert (done.written, done.removed) == (1, 0)


async def test_another_key_ends_with_the_rows_of_the_source(postgres: PostgresHarness) -> None:
    """Rows stand on other lanes from then on; whatever order these come in, each row is there once."""
    columns = {"id": "bigint", "region": "varchar", "name": "varchar"}
    source, lanes = Extractor(schema(**columns), lanes=3), Lanes(postgres.target, lanes=3)
    rows = [{"id": i, "region": f"r{i % 3}", "name": f"n{i}"} for i in range(60)]
    await lanes.load(source.page(rows))
    more = [{**row, "region": f"{row['region']}x"} for row in rows[:20]]
    page = turned(source, schema(**columns, key=("region", "id"))).page([*rows[10:], *more])
    cure = 'ALTER TABLE "public"."people" DROP CONSTRAINT "people_pkey", ADD PRIMARY KEY ("region", "id")'
    assert cure in await refused(lanes, page[2])
    await postgres.execute(cure)
    await lanes.load([page[2]], [page[0]], [page[1]])
    found = await postgres.fetch("SELECT id, region FROM people")
    assert sorted(map(tuple, found)) == sorted((row["id"], row["region"]) for row in [*rows[10:], *more])


async def test_as_many_columns_as_postgres_takes_and_one_more(postgres: PostgresHarness) -> None:
    most = {f"c{i}": "smallint" for i in range(1596)}
    source, lanes = Extractor(schema(id="bigint", **most)), Lanes(postgres.target)
    await lanes.load(source.page([{"id": 1, "c0": 1, "c1595": 2}]))
    fewer = schema(id="bigint", **dict(list(most.items())[:10]))
    await lanes.load(turned(source, fewer).page([{"id": 1, "c0": 3}]))
    assert tuple((await postgres.fetch("SELECT c0, c1595 FROM people"))[0]) == (3, None)
    event = turned(source, schema(id="bigint", **most, more="smallint")).page([{"id": 1, "more": 1}])[0]
    assert "1,600 columns" in await refused(lanes, event)
