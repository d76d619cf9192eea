"""An event's body is what its envelope says, or it is refused with the reason."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.loader.events import Event, Extractor, ints, people, schema

from qupersync_loader.application.content import ChecksumError, facts_of, open_event
from qupersync_shared.contracts.payload import checksum, decode, encode
from qupersync_shared.contracts.schema import GONE_COLUMN, SLOT_COLUMN
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.positions import encode_key


def event(**changes: Any) -> Event:
    return Extractor(lanes=1).page(people(1, 2, 3), **changes)[0]


def rewritten(made: Event, rows: pa.RecordBatch, **changes: Any) -> Event:
    """The event with another body, whose checksum is right."""
    body = encode(rows)
    update = {"checksum": checksum(body), "row_count": rows.num_rows, **changes}
    return Event(envelope=made.envelope.model_copy(update=update), body=body)


def refusal(made: Event) -> str:
    with pytest.raises(EventRefusedError) as caught:
        open_event(made.envelope, made.body)
    return str(caught.value)


def test_a_whole_event_opens() -> None:
    made = event()
    batch = open_event(made.envelope, made.body)
    assert batch.count == 3
    assert batch.schema.names == ("id", "name", "amount")
    assert batch.rows.schema.names == ["id", "name", "amount", SLOT_COLUMN]
    assert not batch.has_gone


def test_the_facts_are_the_envelopes() -> None:
    made = event(upto=ints(3))
    facts = facts_of(made.envelope)
    assert (facts.sequence, facts.snapshot_first, facts.snapshot_last, facts.is_baseline) == (1, True, False, True)
    assert facts.event_id == made.envelope.id


def test_a_damaged_body_is_told_apart_because_a_resend_may_help() -> None:
    made = event()
    with pytest.raises(ChecksumError):
        open_event(made.envelope, made.body[:-1] + b"x")


def test_a_truncated_body_with_the_right_checksum_is_refused() -> None:
    made = event()
    body = made.body[: len(made.body) // 2]
    assert "cannot be decoded" in refusal(
        Event(envelope=made.envelope.model_copy(update={"checksum": checksum(body)}), body=body)
    )


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"row_count": 4}, "3 rows, the envelope says 4"),
        ({"schema_fingerprint": "sha256:0"}, "has schema"),
        ({"key_columns": ("nothing",)}, "cannot be decoded"),
        ({"lane": 1, "lanes": 4096}, "do not belong to lane 1 of 4096"),
    ],
)
def test_an_envelope_that_says_something_else_is_refused(update: dict[str, Any], words: str) -> None:
    made = event()
    assert words in refusal(Event(envelope=made.envelope.model_copy(update=update), body=made.body))


def test_slots_must_be_there_be_whole_and_in_range() -> None:
    made = event()
    rows = decode(made.body)
    assert "cannot have the columns" in refusal(rewritten(made, rows.drop_columns([SLOT_COLUMN])))
    for slots, words in (
        (pa.array([0, 1, None], pa.int16()), "holds NULL"),
        (pa.array([0, 1, 4096], pa.int16()), "outside 0 to 4095"),
        (pa.array([0, 1, -1], pa.int16()), "outside 0 to 4095"),
        (pa.array([0, 1, 2], pa.int32()), "not int16"),
    ):
        other = rows.set_column(rows.schema.get_field_index(SLOT_COLUMN), SLOT_COLUMN, slots)
        assert words in refusal(rewritten(made, other))


def test_only_a_reread_says_what_is_gone() -> None:
    made = event()
    rows = decode(made.body)
    rows = rows.append_column(GONE_COLUMN, pa.array([True, False, False]))
    assert "snapshot event cannot have the columns" in refusal(rewritten(made, rows))
    reread = Extractor().reread(people(1), gone=people(2))[0]
    assert open_event(reread.envelope, reread.body).has_gone


def test_a_key_without_a_value_is_refused() -> None:
    rows = schema(id="bigint", name="varchar")
    made = Extractor(rows).incremental([{"id": 1, "name": "a"}])[0]
    broken = decode(made.body).set_column(0, rows.arrow().field(0), pa.array([None], pa.int64()))
    assert "key column 'id' holds NULL" in refusal(rewritten(made, broken))


def test_keys_are_encoded_at_once_as_they_are_one_by_one() -> None:
    kinds = schema(
        key=("a", "b", "c", "d", "e"),
        a="varchar",
        b="numeric(12,2)",
        c="timestamptz",
        d="boolean",
        e="date",
        n="bigint",
    )
    at = datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC)
    texts = ("it's", 'qu"ote\\', "", "trailing  ", "x\0y", "\U0001f642 ü\n")
    rows = [
        {"a": text, "b": Decimal(f"{n}.10"), "c": at, "d": not n % 2, "e": date(1900 + n, 1, 31), "n": n}
        for n, text in enumerate(texts)
    ]
    made = Extractor(kinds).incremental(rows)[0]
    batch = open_event(made.envelope, made.body)
    assert batch.encoded_keys() == [encode_key(batch.key(index)) for index in range(len(rows))]
    empty = Extractor(kinds).incremental()[0]
    assert open_event(empty.envelope, empty.body).encoded_keys() == []
