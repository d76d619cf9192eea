"""Durations and sizes as people write them: `90s`, `10m`, `24h`, `7d`; `512KiB`, `64MiB`, `1GiB`."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer

_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SECONDS_MAX: Final = 3650 * 86_400
_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_duration(value: object) -> timedelta:
    """`1h30m` → 90 minutes; ValueError with an example for anything else."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and re.fullmatch(r"(\d+(ms|s|m|h|d))+", value):
        parts = re.findall(r"(\d+)(ms|s|m|h|d)", value)
        seconds = sum(int(count) * _SECONDS[unit] for count, unit in parts)
        if seconds > _SECONDS_MAX:
            raise ValueError(f"{value!r} is longer than ten years: write a shorter duration")
        return timedelta(seconds=seconds)
    raise ValueError(f"{value!r} is not a duration: write for instance 30s, 10m or 24h")


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back, in whole milliseconds."""
    left = round(value.total_seconds() * 1000)
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_size(value: object) -> int:
    """`512KiB` → 524288; a bare number is bytes; ValueError with an example for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]+)", value) if isinstance(value, str) else None
    if match is None or match[2] not in _BYTES:
        raise ValueError(f"{value!r} is not a size: write for instance 512KiB, 64MiB or 1GiB")
    return int(match[1]) * _BYTES[match[2]]


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
