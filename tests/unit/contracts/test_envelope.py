from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.positions import KeyBound, Position, Scalar, ScalarKind

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
SCALARS = st.builds(Scalar, st.sampled_from(ScalarKind), TEXT)
KEYS = st.lists(SCALARS, min_size=1, max_size=3).map(tuple)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])
TIMES = st.builds(
    lambda seconds, zone: (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=seconds)).astimezone(zone),
    st.integers(-(10**16), 10**17),
    ZONES,
)
UUIDS = st.uuids()


def fields(**given_fields: Any) -> dict[str, Any]:
    return {
        "id": UUID(int=1),
        "source": "qupersync/extractor/orders",
        "subject": "qupersync.lane.orders.1",
        "time": datetime(2025, 1, 1, tzinfo=UTC),
        "pipeline": "orders",
        "lane": 1,
        "lanes": 4,
        "log": 1,
        "sequence": 1,
        "mode": Mode.INCREMENTAL,
        "row_count": 0,
        "key_columns": ("id",),
        "schema_fingerprint": "sha256:0",
        "checksum": "xxh3-128:0",
        "correlation_id": UUID(int=2),
    } | given_fields


@st.composite
def envelopes(draw: st.DrawFn) -> BatchEnvelope:
    lanes = draw(st.integers(1, 4096))
    mode = draw(st.sampled_from(Mode))
    made = fields(
        id=draw(UUIDS),
        source=draw(TEXT),
        subject=draw(TEXT),
        time=draw(TIMES),
        traceparent=draw(st.none() | TEXT),
        lanes=lanes,
        lane=draw(st.integers(0, lanes - 1)),
        log=draw(st.integers(1, 2**40)),
        sequence=draw(st.integers(1, 2**60)),
        previous_id=draw(st.none() | UUIDS),
        generation=draw(st.integers(0, 2**31)),
        mode=mode,
        row_count=draw(st.integers(0, 10**9)),
        key_columns=draw(st.lists(NAMES, min_size=1, max_size=3).map(tuple)),
        withheld_keys=draw(st.lists(KEYS, max_size=2).map(tuple)),
        position=draw(st.none() | st.builds(Position, cursor=SCALARS, key=KEYS | st.sampled_from(KeyBound))),
        honest_time=draw(st.none() | TIMES),
        correlation_id=draw(UUIDS),
        causation_id=draw(st.none() | UUIDS),
    )
    if mode is Mode.SNAPSHOT:
        low, high = draw(st.none() | KEYS), draw(st.none() | KEYS)
        made |= {
            "snapshot_id": draw(UUIDS),
            "range_from": low,
            "range_to": high,
            "snapshot_first": low is None,
            "snapshot_last": high is None,
        }
    return BatchEnvelope(**made)


@given(envelopes())
def test_an_envelope_survives_its_headers(envelope: BatchEnvelope) -> None:
    assert BatchEnvelope.from_headers(envelope.headers()) == envelope


@given(envelopes())
def test_headers_are_printable_ascii_without_what_cloudevents_must_encode(envelope: BatchEnvelope) -> None:
    for name, value in envelope.headers().items():
        assert name == name.lower()
        assert all(0x20 < ord(character) < 0x7F for character in name + value), (name, value)
        assert '"' not in value


@given(envelopes())
def test_names_of_headers_are_read_in_any_case(envelope: BatchEnvelope) -> None:
    shouted = {name.title(): value for name, value in envelope.headers().items()}

    assert BatchEnvelope.from_headers(shouted) == envelope


def test_an_absent_attribute_has_no_header() -> None:
    headers = BatchEnvelope(**fields()).headers()

    assert "ce-position" not in headers
    assert "ce-snapshotid" not in headers
    assert headers["ce-generation"] == "0"


def test_the_generation_may_be_added_by_the_relay() -> None:
    headers = BatchEnvelope(**fields()).headers()
    del headers["ce-generation"]

    assert BatchEnvelope.from_headers(headers).generation == 0
    assert BatchEnvelope.from_headers(headers | {"ce-generation": "7"}).generation == 7


SNAPSHOT = fields(mode=Mode.SNAPSHOT, snapshot_id=UUID(int=3))
LOW, HIGH = (Scalar(ScalarKind.INT, "1"),), (Scalar(ScalarKind.INT, "9"),)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (fields(lane=4), "lane 4 of 4"),
        (fields(lanes=0), "lanes"),
        (fields(lanes=4097), "lanes"),
        (fields(sequence=0), "sequence"),
        (fields(log=0), "log"),
        (fields(row_count=-1), "row_count"),
        (fields(key_columns=()), "key_columns"),
        (fields(snapshot_id=UUID(int=3)), "only there"),
        (fields(range_to=HIGH), "complete content"),
        (fields(range_from=LOW), "complete content"),
        (fields(mode=Mode.SNAPSHOT), "only there"),
        (SNAPSHOT, "down to minus infinity"),
        (SNAPSHOT | {"snapshot_first": True}, "up to plus infinity"),
        (SNAPSHOT | {"snapshot_first": True, "range_from": LOW, "range_to": HIGH}, "down to minus infinity"),
        (SNAPSHOT | {"range_from": LOW, "range_to": HIGH, "snapshot_last": True}, "up to plus infinity"),
        (fields(snapshot_last=True), "first and a last page"),
        (fields(range_complete=True), "a snapshot page says"),
        (SNAPSHOT | {"snapshot_first": True, "snapshot_last": True, "range_complete": True}, "a snapshot page says"),
        (fields(redrives=(UUID(int=3),)), "only a reread"),
        (fields(time=datetime(2025, 1, 1)), "time"),  # noqa: DTZ001  # that is what is refused
        (fields(honest_time=datetime(2025, 1, 1)), "honest_time"),  # noqa: DTZ001
        (fields(unknown=1), "unknown"),
    ],
)
def test_an_envelope_that_contradicts_itself_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        BatchEnvelope(**change)


def test_the_first_page_of_a_snapshot_is_a_baseline_and_no_other_event_is() -> None:
    first = SNAPSHOT | {"snapshot_first": True, "range_to": HIGH}
    later = SNAPSHOT | {"range_from": LOW, "range_to": HIGH}

    assert BatchEnvelope(**first).is_baseline
    assert BatchEnvelope(**(first | {"snapshot_last": True, "range_to": None})).is_baseline
    assert not BatchEnvelope(**later).is_baseline
    assert not BatchEnvelope(**fields()).is_baseline


@pytest.mark.parametrize(
    ("header", "value", "named"),
    [
        ("ce-type", "qupersync.batch.v2", "ce-type"),
        ("ce-type", None, "ce-type"),
        ("ce-specversion", "0.3", "ce-specversion"),
        ("ce-specversion", None, "ce-specversion"),
        ("ce-id", "not-a-uuid", "id"),
        ("ce-id", None, "id"),
        ("ce-time", "yesterday", "time"),
        ("ce-time", "2025-01-01T00:00:00", "time"),
        ("ce-pipeline", None, "pipeline"),
        ("ce-lane", "-1", "lane"),
        ("ce-lane", "one", "lane"),
        ("ce-lane", "9", "lane 9 of 4"),
        ("ce-log", "0", "log"),
        ("ce-sequence", None, "sequence"),
        ("ce-mode", "guess", "mode"),
        ("ce-previousid", "x", "previous_id"),
        ("ce-generation", "-3", "generation"),
        ("ce-keycolumns", "", "key_columns"),
        ("ce-keycolumns", None, "key_columns"),
        ("ce-rangefrom", "{}", "ce-rangefrom"),
        ("ce-rangeto", "nothing", "ce-rangeto"),
        ("ce-withheldkeys", "[1]", "ce-withheldkeys"),
        ("ce-position", '{"v":9}', "ce-position"),
        ("ce-honesttime", "soon", "honest_time"),
        ("ce-checksum", None, "checksum"),
        ("ce-schemafingerprint", None, "schema_fingerprint"),
        ("ce-correlationid", None, "correlation_id"),
        ("ce-rowcount", "many", "row_count"),
    ],
)
def test_a_malformed_header_is_refused_by_name(header: str, value: str | None, named: str) -> None:
    headers = BatchEnvelope(**fields()).headers() | {header: value or ""}
    if value is None:
        del headers[header]

    with pytest.raises(EventRefusedError, match=named):
        BatchEnvelope.from_headers(headers)


@pytest.mark.parametrize("headers", [None, {}, {"Nats-Expected-Stream": "x"}])
def test_a_message_without_our_headers_is_refused(headers: dict[str, str] | None) -> None:
    with pytest.raises(EventRefusedError, match="ce-type is absent"):
        BatchEnvelope.from_headers(headers)


def test_column_names_may_hold_any_character() -> None:
    names = ("a,b", "c%2C", 'say "hi"', "日本", "tab\there", " ")

    headers = BatchEnvelope(**fields(key_columns=names)).headers()

    assert BatchEnvelope.from_headers(headers).key_columns == names
    assert headers["ce-keycolumns"].count(",") == len(names) - 1
    assert unquote(headers["ce-keycolumns"].split(",")[0]) == "a,b"


@pytest.mark.parametrize(
    "change",
    [
        {"range_complete": True},
        {"range_complete": True, "range_from": LOW, "range_to": HIGH},
        {"redrives": (UUID(int=7), UUID(int=8))},
        {"after": Position.after(LOW[0]), "position": Position.after(HIGH[0])},
    ],
)
def test_a_reread_says_what_it_covers_and_makes_good(change: dict[str, Any]) -> None:
    envelope = BatchEnvelope(**fields(mode=Mode.REREAD, **change))

    assert BatchEnvelope.from_headers(envelope.headers()) == envelope
    assert envelope.covers_range is change.get("range_complete", False)
