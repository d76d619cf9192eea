"""Which row was refused: told apart by more than the order in which staging happens to hold them."""

import random
from typing import Any

import pytest
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Extractor, delivery, schema

from qupersync_loader.application.content import open_event
from qupersync_loader.application.outcome import Ack
from qupersync_loader.domain.pipeline import Adopt
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.kernel.positions import Scalar, ScalarKind


@pytest.mark.parametrize("width", [10, 900, 3000])
async def test_rows_refused_at_both_stages_are_the_right_ones(postgres: PostgresHarness, width: int) -> None:
    chance = random.Random(width)
    source, lanes = Extractor(schema(id="bigint", name="varchar", pad="varchar")), Lanes(postgres.target)
    await lanes.load(source.page([]))
    await postgres.execute("ALTER TABLE people ADD CHECK (name <> 'bad')")
    ids = list(range(3000))
    uncopied, refused = set(chance.sample(ids, 25)), set(chance.sample(ids, 25))
    rows: list[dict[str, Any]] = [
        {
            "id": i,
            "name": "bad" if i in refused else f"n{i}",
            "pad": "\0" if i in uncopied else chance.randbytes(width // 2).hex(),
        }
        for i in ids
    ]
    outcome = await lanes.give(source.incremental(rows)[0])
    assert isinstance(outcome, Ack), outcome
    found = {row["id"] for row in await postgres.rows(lanes.pipeline)}
    kept = await postgres.fetch("SELECT (\"row\"->>'id')::bigint AS id FROM qupersync_quarantine")
    assert {row["id"] for row in kept} == uncopied | refused
    assert found == set(ids) - uncopied - refused


async def test_a_key_column_may_be_named_place(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(schema(place="bigint", name="varchar", key=("place",))), Lanes(postgres.target)
    rows = [{"place": i, "name": f"n{i}"} for i in range(5)]
    await lanes.load(source.page(rows))
    await postgres.refuse_names("n7")
    await lanes.load(source.incremental([{"place": 7, "name": "n7"}]))
    done = await lanes.load(source.page(rows[:2], withheld_keys=((Scalar(ScalarKind.INT, "4"),),)))
    assert (done.removed, done.resolved) == (2, 1)
    assert [row["place"] for row in await postgres.rows(lanes.pipeline)] == [0, 1, 4]


async def test_an_adopted_table_may_have_a_key_named_place(postgres: PostgresHarness) -> None:
    await postgres.execute("CREATE TABLE people (place bigint PRIMARY KEY, name text)")
    await postgres.execute("INSERT INTO people SELECT i, 'old' FROM generate_series(1, 9) AS i")
    source = Extractor(schema(place="bigint", name="varchar", key=("place",)))
    lanes = Lanes(postgres.target, adopt=Adopt.REPLACE)
    done = await lanes.load(source.page([{"place": 1, "name": "n"}]))
    assert (done.written, done.removed) == (1, 8)


async def test_a_gone_key_that_cannot_be_stored_leaves_the_quarantine(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(schema(k="varchar", name="varchar", key=("k",))), Lanes(postgres.target)
    bad = {"k": "a\0b", "name": "x"}
    first = await lanes.load(source.page([bad, {"k": "c", "name": "y"}]))
    assert first.quarantined == 1
    done = await lanes.load(source.reread([], gone=[bad]))
    assert (done.quarantined, done.resolved) == (0, 1)
    assert await postgres.value("SELECT count(*) FROM qupersync_quarantine WHERE resolved_at IS NULL") == 0


async def test_a_page_may_end_at_a_key_that_cannot_be_stored(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(schema(k="varchar", name="varchar", key=("k",))), Lanes(postgres.target)
    await lanes.load(source.page([{"k": k, "name": "y"} for k in ("a", "ab", "c")]))
    bound = (Scalar(ScalarKind.TEXT, "a\0b"),)
    await lanes.load(source.page([{"k": "a\0b", "name": "y"}], upto=bound))
    assert [row["k"] for row in await postgres.rows(lanes.pipeline)] == ["ab", "c"]
    await lanes.load(source.page([{"k": "c", "name": "y"}], after=bound))
    assert [row["k"] for row in await postgres.rows(lanes.pipeline)] == ["c"]


async def test_rows_refused_after_a_rollback_are_the_right_ones(postgres: PostgresHarness) -> None:
    """A rolled back COPY leaves free pages behind, which the next one fills in whatever order."""
    chance = random.Random(7)
    source, lanes = Extractor(schema(id="bigint", name="varchar", pad="varchar")), Lanes(postgres.target)
    await lanes.load(source.page([]))
    await postgres.execute("ALTER TABLE people ADD CHECK (name <> 'bad')")
    refused = set(chance.sample(range(3000), 5))
    rows = [
        {"id": i, "name": "bad" if i in refused else f"n{i}", "pad": chance.randbytes(chance.randrange(400)).hex()}
        for i in range(3000)
    ]
    event = source.incremental(rows)[0]
    batch = open_event(event.envelope, event.body)
    async with postgres.target.session(lanes.pipeline) as session:
        for _ in range(2):
            await session.prepare(batch.schema, batch.place)
            async with session.work(Lane(0)) as work:
                await work.look()
                await work.stage(batch)
        outcome = await lanes.use_case(Lane(0), delivery(event), session)
    assert isinstance(outcome, Ack), outcome
    kept = await postgres.fetch("SELECT (\"row\"->>'id')::bigint AS id FROM qupersync_quarantine")
    assert {row["id"] for row in kept} == refused
    assert {row["id"] for row in await postgres.rows(lanes.pipeline)} == set(range(3000)) - refused
