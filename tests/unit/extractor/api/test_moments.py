"""Moments in requests: with their zone, and never beyond what a database can hold."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from qupersync_extractor.interface.api.moments import Moment

ADAPTER: TypeAdapter[datetime] = TypeAdapter(Moment)
NOON = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-31T12:00:00Z",
        "2025-01-31t12:00z",
        "2025-01-31T13:00:00+01:00",
        "2025-01-31T13:00:00 01:00",  # a + that nobody escaped
        "2025-01-31 12:00:00.000000000Z",
    ],
)
def test_one_moment_is_written_in_many_ways(text: str) -> None:
    assert ADAPTER.validate_python(text) == NOON


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0500-01-01T00:00:00Z"])
def test_the_ends_of_the_calendar_are_everything_or_nothing(text: str) -> None:
    found = ADAPTER.validate_python(text)
    assert found.year == (1900 if text < "1900" else 2200)


@pytest.mark.parametrize(
    "text", ["", "0", "yesterday", "2025-01-31", "2025-01-31T12:00:00", "2025-02-30T00:00:00Z", "2025-W05-5T12:00:00Z"]
)
def test_what_is_no_moment_or_has_no_zone_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(text)
