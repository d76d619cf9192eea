"""Python values as every database reads them from text."""

import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any


def literal(value: Any) -> str | None:  # noqa: PLR0911
    """A Python value as text that any of the databases casts to its type; None is NULL."""
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case bytes():
            return value.hex()
        case datetime():
            return value.isoformat(" ")
        case date() | time():
            return value.isoformat()
        case Decimal():
            return f"{value:f}"
        case dict() | list():
            return json.dumps(value)
        case _:
            return repr(value)
