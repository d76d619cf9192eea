"""Rows on PostgreSQL: every type exactly, keys of every kind, and what the target refuses."""

import json
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Event, Extractor, people, schema

from qupersync_loader.application.outcome import Ack, Nak
from qupersync_shared.contracts.payload import checksum, decode, encode
from qupersync_shared.kernel.positions import Scalar, ScalarKind

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
    """The event with the greatest date that Arrow has (one day before infinity) in the last row's second column."""
    batch = decode(event.body)
    far = pa.array([1, 2**31 - 2], pa.int32()).cast(pa.date32())
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
    assert await postgres.value("SELECT \"row\"->>'born' FROM qupersync_quarantine") == "5881580-07-10"


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
