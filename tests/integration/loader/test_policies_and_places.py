"""What only PostgreSQL has: unique indexes beside the key, identities, NUL bytes, marks of an earlier policy."""

from typing import Any

import pytest
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Extractor, ints, people, schema

from qupersync_loader.application.outcome import Ack, Nak
from qupersync_loader.domain.pipeline import DeletePolicy, NulBytes
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind


def pair(a: str, b: int) -> Key:
    return (Scalar(ScalarKind.TEXT, a), Scalar(ScalarKind.INT, str(b)))


async def test_a_bound_may_hold_a_text_with_nul_before_its_last_column(postgres: PostgresHarness) -> None:
    rows = schema(a="varchar", b="integer", name="varchar", key=("a", "b"))
    source, lanes = Extractor(rows), Lanes(postgres.target)
    kept = [("a", 1), ("a", 9), ("ab", 1), ("c", 1)]
    await lanes.load(source.page([{"a": a, "b": b, "name": f"{a}{b}"} for a, b in kept]))
    await lanes.load(source.page([], upto=pair("a\0b", 5)))
    assert [row["name"] for row in await postgres.rows(lanes.pipeline)] == ["ab1", "c1"]
    await lanes.load(source.page([{"a": "c", "b": 1, "name": "c1"}], after=pair("a\0b", 5), upto=pair("c", 1)))
    assert [row["name"] for row in await postgres.rows(lanes.pipeline)] == ["c1"]


async def test_rows_that_exchange_values_under_a_unique_index_both_load(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1, 2, 3, 4)))
    await postgres.execute("CREATE UNIQUE INDEX ON people (name)")
    exchanged = [{"id": i, "name": f"n{j}", "amount": None} for i, j in ((1, 2), (2, 3), (3, 1))]
    done = await lanes.load(source.incremental(exchanged))
    assert (done.written, done.quarantined) == (3, 0)
    assert {r["id"]: r["name"] for r in await postgres.rows(lanes.pipeline)} == {1: "n2", 2: "n3", 3: "n1", 4: "n4"}


async def test_an_exchange_beside_a_row_that_is_refused_damages_nothing(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1, 2, 3)))
    await postgres.execute("CREATE UNIQUE INDEX ON people (name)")
    await postgres.execute("ALTER TABLE people ADD CHECK (amount < 100) NOT VALID")
    rows: list[dict[str, Any]] = [
        {"id": 1, "name": "n2", "amount": None},
        {"id": 2, "name": "n1", "amount": None},
        {"id": 3, "name": "n3", "amount": 500},
    ]
    await lanes.load(source.incremental(rows))
    found = {r["id"]: r["name"] for r in await postgres.rows(lanes.pipeline)}
    assert found == {1: "n1", 2: "n2", 3: "n3"}  # refused rows keep their older state, whole
    assert await postgres.value("SELECT count(*) FROM qupersync_quarantine WHERE resolved_at IS NULL") == 3


async def test_a_column_that_others_refer_to_is_not_emptied_in_between(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1, 2)))
    await postgres.execute("ALTER TABLE people ADD UNIQUE (name)")
    await postgres.execute("CREATE TABLE pets (owner text REFERENCES people (name) ON UPDATE CASCADE)")
    await postgres.execute("INSERT INTO pets VALUES ('n1')")
    await lanes.load(source.incremental([{"id": 1, "name": "n2"}, {"id": 2, "name": "n1"}]))
    assert await postgres.value("SELECT owner FROM pets") == "n1"


async def test_an_identity_that_takes_no_values_is_refused_with_its_cure(postgres: PostgresHarness) -> None:
    await postgres.execute(
        "CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, amount numeric(10,2))"
    )
    source, lanes = Extractor(), Lanes(postgres.target)
    page = source.page(people(1))[0]
    outcome = await lanes.give(page)
    assert isinstance(outcome, Nak)
    assert outcome.halted
    assert "GENERATED ALWAYS AS IDENTITY" in outcome.reason
    await postgres.execute(outcome.reason[outcome.reason.index("ALTER TABLE") :])
    await lanes.load([page])


@pytest.mark.parametrize("policy", [DeletePolicy.APPLY, DeletePolicy.KEEP])
async def test_rows_that_return_lose_the_mark_of_an_earlier_policy(
    postgres: PostgresHarness, policy: DeletePolicy
) -> None:
    source, lanes = Extractor(), Lanes(postgres.target, deletes=DeletePolicy.SOFT)
    await lanes.load(source.page(people(1, 2)), source.page(people(1)))
    assert await postgres.marked_deleted(lanes.pipeline) == [2]
    after = Lanes(postgres.target, deletes=policy)
    done = await after.load(source.incremental(people(1, 2)))
    assert done.written == 1
    assert await postgres.marked_deleted(lanes.pipeline) == []
    assert (await after.load(source.incremental(people(1, 2)))).written == 0


async def test_nul_bytes_are_taken_out_where_the_owner_chose_so_and_counted(postgres: PostgresHarness) -> None:
    rows = schema(k="varchar", name="varchar", note="varchar", key=("k",))
    source, lanes = Extractor(rows), Lanes(postgres.target, nul_bytes=NulBytes.REMOVE)
    sent = [
        {"k": "a", "name": "x\0y\0", "note": "\0"},
        {"k": "b", "name": "plain", "note": None},
        {"k": "c\0", "name": "key", "note": None},
        {"k": "d", "name": None, "note": "z\0"},
    ]
    outcome = await lanes.give(source.page(sent)[0])
    assert isinstance(outcome, Ack), outcome
    assert (outcome.applied.altered, outcome.applied.quarantined, outcome.applied.written) == (2, 1, 3)
    found = {r["k"]: (r["name"], r["note"]) for r in await postgres.rows(lanes.pipeline)}
    assert found == {"a": ("xy", ""), "b": ("plain", None), "d": (None, "z")}
    assert (await lanes.load(source.incremental(sent[:1]))).written == 0
    # What is read again, and stands there already, is not altered once more.
    altered = "SELECT sum(altered)::int FROM qupersync_watermark"
    assert await postgres.value(altered) == 2
    await lanes.load(source.incremental([sent[0] | {"note": "new\0"}, *sent[1:]]))
    state = (await postgres.target.states(lanes.pipeline.group))[lanes.pipeline.name]
    assert sum(lane.altered for lane in state.watermarks.values()) == 3


async def test_a_zero_that_only_changes_its_sign_is_the_same_row(postgres: PostgresHarness) -> None:
    source, lanes = Extractor(schema(id="bigint", v="double")), Lanes(postgres.target)
    await lanes.load(source.page([{"id": 1, "v": 0.0}]))
    assert (await lanes.load(source.incremental([{"id": 1, "v": -0.0}]))).written == 0


@pytest.mark.parametrize(("upto", "withheld"), [(ints(1, 2), ()), (ints(1), (pair("a", 1),))])
async def test_a_key_of_another_width_parks_the_event(
    postgres: PostgresHarness, upto: Key, withheld: tuple[Key, ...]
) -> None:
    source, lanes = Extractor(), Lanes(postgres.target)
    await lanes.load(source.page(people(1)))
    event = source.page(people(1), upto=upto, withheld_keys=withheld)[0]
    outcome = await lanes.give(event)
    assert isinstance(outcome, Ack), outcome
    assert outcome.cause == "parked"
    assert "that is none of id" in (await postgres.letters())[0][1]
