"""What the driver raises, and what it is called."""

import struct
from typing import Any

import pytest
from redshift_connector.error import InterfaceError, ProgrammingError

from qupersync_extractor.domain.pipeline import Relation, SourceQuery, SourceTable
from qupersync_extractor.infrastructure.sources.redshift_errors import (
    ErrorContext,
    MissingRelationError,
    MissingRightError,
    classify,
)
from qupersync_shared.kernel.errors import QupersyncError, SourceUnavailableError, TerminalError, TransientError

TABLE = SourceTable("billing", "cost")


def told(error: BaseException, relation: Relation | None = TABLE) -> QupersyncError:
    return classify(error, ErrorContext(user='sy"nc', place="Redshift at here", relation=relation))


def answer(code: str, message: str = "words", detail: str = "") -> ProgrammingError:
    return ProgrammingError({"S": "ERROR", "C": code, "M": message, "D": detail})


@pytest.mark.parametrize(
    "error",
    [
        InterfaceError("BrokenPipe: server socket closed."),
        InterfaceError("communication error", ConnectionRefusedError(111, "Connection refused")),
        struct.error("unpack requires a buffer of 5 bytes"),
        KeyError(b"\x00"),
        TimeoutError("timed out"),
        BrokenPipeError(32, "Broken pipe"),
        UnicodeDecodeError("utf-8", b"\xc3", 0, 1, "unexpected end of data"),
        AttributeError("'NoneType' object has no attribute 'read'"),
        Exception("Malformed column value of type numeric received"),
        IndexError(),
    ],
)
def test_what_is_no_answer_is_a_lost_connection(error: BaseException) -> None:
    found = told(error)
    assert type(found) is SourceUnavailableError
    assert type(error).__name__ in found.message
    assert found.cure


def test_the_wrapped_reason_is_told() -> None:
    found = told(InterfaceError("communication error", ConnectionRefusedError(111, "Connection refused")))
    assert "Connection refused" in found.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answer("XX000", "1023", "Serializable isolation violation on table - 1"), SourceUnavailableError),
        (answer("40001"), SourceUnavailableError),
        (answer("57014", "Query (1) cancelled on user's request"), SourceUnavailableError),
        (answer("57P01", "terminating connection due to administrator command"), SourceUnavailableError),
        (answer("53300", "too many connections"), SourceUnavailableError),
        (answer("08006"), SourceUnavailableError),
        (answer("55P03"), SourceUnavailableError),
        (answer("XX000", "Disk Full", "error: Disk Full\n code:      1016\n"), SourceUnavailableError),
        (answer("28000"), TransientError),
        (answer("28P01"), TransientError),
        (answer("42501"), MissingRightError),
        (answer("42P01"), MissingRelationError),
        (answer("3F000"), TransientError),
        (answer("XX000", "Assert", "code: 1000 query: 1016 1023"), TransientError),
        (answer("42601"), TerminalError),
        (answer("42703"), TerminalError),
        (answer("42883"), TerminalError),
        (answer("22012"), TerminalError),
        (answer("0A000"), TerminalError),
    ],
)
def test_answers_are_told_apart_by_their_code(error: ProgrammingError, kind: type[QupersyncError]) -> None:
    found = told(error)
    assert type(found) is kind
    assert error.args[0]["C"] in found.message
    assert found.cure


@pytest.mark.parametrize(
    ("relation", "cure"),
    [
        (TABLE, 'GRANT USAGE ON SCHEMA "billing" TO "sy""nc"; GRANT SELECT ON "billing"."cost" TO "sy""nc"'),
        (SourceQuery("SELECT 1"), 'GRANT USAGE ON SCHEMA and GRANT SELECT ON what the query reads TO "sy""nc"'),
    ],
)
def test_a_missing_grant_is_cured_by_a_statement(relation: Any, cure: str) -> None:
    assert told(answer("42501"), relation).cure == cure
