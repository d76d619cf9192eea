import contextlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_shared.contracts.payload import checksum, decode, encode

BATCH = pa.RecordBatch.from_pydict({"id": list(range(100)), "text": ["ä" * number for number in range(100)]})
BODY = encode(BATCH)


def test_a_batch_survives_the_body() -> None:
    assert decode(BODY).equals(BATCH)


def test_the_same_batch_has_the_same_body_and_checksum() -> None:
    assert encode(BATCH) == BODY
    assert checksum(BODY) == checksum(encode(BATCH))
    assert checksum(BODY) != checksum(BODY + b"x")
    assert checksum(b"").startswith("xxh3-128:")


def test_buffers_are_compressed() -> None:
    wide = pa.RecordBatch.from_pydict({"text": ["the same words again"] * 5000})

    assert len(encode(wide)) < wide.nbytes / 5


@pytest.mark.parametrize("body", [b"", b"\0" * 64, b"PAR1" + b"\0" * 32, b"not arrow at all"])
def test_what_is_no_arrow_stream_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"Arrow|record batch"):
        decode(body)


def test_a_stream_of_several_batches_or_none_is_refused() -> None:
    for batches in ([], [BATCH, BATCH]):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, BATCH.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        with pytest.raises(ValueError, match="one record batch"):
            decode(sink.getvalue().to_pybytes())


@given(st.integers(0, len(BODY) - 1))
def test_a_body_that_was_cut_off_never_decodes_as_something_else(length: int) -> None:
    try:
        batch = decode(BODY[:length])
    except ValueError:
        return
    assert batch.equals(BATCH)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_damaged_body_is_a_value_error_at_worst(place: int, change: int) -> None:
    damaged = bytearray(BODY)
    damaged[place] ^= change

    assert checksum(bytes(damaged)) != checksum(BODY)
    with contextlib.suppress(ValueError):  # any other error fails the test
        decode(bytes(damaged))
