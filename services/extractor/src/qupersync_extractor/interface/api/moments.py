"""Moments in requests: RFC 3339, with their zone."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_PLUS: Final = re.compile(r" (?=\d{2}:\d{2}$)")  # what becomes of a + that nobody has escaped
_SHAPE: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})")


def _moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = _PLUS.sub("+", value.upper())
    if not _SHAPE.fullmatch(text):
        raise ValueError("write a moment with its zone, such as 2025-01-31T12:00:00Z")
    moment = datetime.fromisoformat(text)
    try:
        return min(max(moment.astimezone(UTC), _EARLIEST), _LATEST)
    except OverflowError:  # at either end of the calendar
        return _EARLIEST if moment.year < _LATEST.year else _LATEST


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2025-01-31T12:00:00Z"]}),
]
