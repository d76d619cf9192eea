"""Check rows in a few words each."""

from dataclasses import replace
from typing import Final

from qupersync_shared.kernel.errors import DatabaseUnavailableError, QupersyncError, SourceUnavailableError
from qupersync_shared.runtime.logs import describe, mask
from qupersync_shared.runtime.plugins import CheckRow, Verdict

_AWAY: Final = (SourceUnavailableError, DatabaseUnavailableError)


def ok(area: str, subject: str, message: str) -> CheckRow:
    return CheckRow(area=area, subject=subject, verdict=Verdict.OK, message=message)


def warning(area: str, subject: str, message: str, cure: str = "") -> CheckRow:
    return CheckRow(area=area, subject=subject, verdict=Verdict.WARNING, message=message, cure=cure)


def failed(area: str, subject: str, message: str, cure: str = "") -> CheckRow:
    return CheckRow(area=area, subject=subject, verdict=Verdict.FAILED, message=message, cure=cure)


def unknown(area: str, subject: str, message: str, cure: str = "") -> CheckRow:
    return CheckRow(area=area, subject=subject, verdict=Verdict.UNKNOWN, message=message, cure=cure)


def of_error(area: str, subject: str, error: QupersyncError) -> CheckRow:
    """A failed row with the error's own words and cure."""
    words = mask(error.message) if error.cure else describe(error)
    return failed(area, subject, words, mask(error.cure))


def of_trouble(area: str, subject: str, error: QupersyncError) -> CheckRow:
    """The same of a question to a server: where it did not answer, nothing is known of what was asked."""
    row = of_error(area, subject, error)
    return replace(row, verdict=Verdict.UNKNOWN) if isinstance(error, _AWAY) else row
