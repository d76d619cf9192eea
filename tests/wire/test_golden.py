"""The wire format, version 1, byte for byte. A failure here means: this change is version 2."""

import json

import pyarrow as pa
import pytest
from tests.wire.cases import GOLDEN, ORDERS, TYPES, Case, cases

from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.payload import checksum, decode
from qupersync_shared.contracts.schema import RowSchema, schema_of_arrow

CASES = cases()


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    made = request.param
    assert isinstance(made, Case)
    return made


def stored(case: Case) -> tuple[dict[str, str], bytes]:
    headers: dict[str, str] = json.loads((GOLDEN / f"{case.name}.headers.json").read_text())
    return headers, (GOLDEN / f"{case.name}.body.arrows").read_bytes()


def schema_of(case: Case) -> RowSchema:
    return TYPES if case.name == "types" else ORDERS


def test_headers_are_written_as_stored_and_in_the_stored_order(case: Case) -> None:
    headers, _ = stored(case)

    assert list(case.envelope.headers().items()) == list(headers.items())


def test_body_is_written_as_stored(case: Case) -> None:
    _, body = stored(case)

    assert case.body == body


def test_stored_headers_are_read_as_the_same_envelope(case: Case) -> None:
    headers, _ = stored(case)

    assert BatchEnvelope.from_headers(headers) == case.envelope


def test_stored_body_is_read_as_the_same_rows(case: Case) -> None:
    headers, body = stored(case)

    rows = decode(body)

    assert checksum(body) == BatchEnvelope.from_headers(headers).checksum
    assert rows.equals(decode(case.body), check_metadata=True)
    assert rows.num_rows == case.envelope.row_count
    assert schema_of_arrow(rows.schema, case.envelope.key_columns) == schema_of(case)
    assert schema_of(case).fingerprint == case.envelope.schema_fingerprint


def test_any_arrow_library_reads_the_body(case: Case) -> None:
    _, body = stored(case)

    with pa.ipc.open_stream(body) as reader:
        table = reader.read_all()

    assert table.num_rows == case.envelope.row_count


def test_no_golden_file_is_without_its_case() -> None:
    assert {path.name.partition(".")[0] for path in GOLDEN.iterdir()} == {case.name for case in CASES}
