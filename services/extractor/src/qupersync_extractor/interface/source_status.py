"""The source budget and the maintenance windows, as `qupersync status` shows them."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from qupersync_extractor.application.source_use import ListedRead, SourceStanding
from qupersync_extractor.domain.maintenance import Windows
from qupersync_extractor.domain.source_budget import SourceLimits
from qupersync_extractor.infrastructure.postgres.source_use import PostgresSourceUse
from qupersync_extractor.settings import limits_of, windows_of
from qupersync_extractor.stores import Stores
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.console import bytes_shown
from qupersync_shared.runtime.settings import Configuration


def is_closed(configuration: Configuration) -> bool:
    """Whether it is maintenance, by this machine's clock."""
    return windows_of(configuration).at(datetime.now(UTC)) is not None


async def source_sections(configuration: Configuration, kept: Stores, *, seconds_max: float) -> dict[str, Any]:
    """The sections `source_budget` and `maintenance`; None for what is not configured. Each has a `summary` line."""
    limits, windows = limits_of(configuration), windows_of(configuration)
    standing: SourceStanding | None = None
    if limits:
        with suppress(QupersyncError, TimeoutError):  # the database's own probe says what is wrong
            async with asyncio.timeout(seconds_max):
                standing = await PostgresSourceUse(kept.engine, kept.signals).standing(limits)
    return {
        "source_budget": budget_shown(limits, standing) if limits else None,
        "maintenance": maintenance_shown(windows, datetime.now(UTC)) if windows else None,
    }


def budget_shown(limits: SourceLimits, standing: SourceStanding | None) -> dict[str, Any]:
    """The budget and what is taken of it, what is carried from earlier minutes included; None in places that only the
    database could have told.
    """
    shown: dict[str, Any] = {
        "limits": {
            "reads": limits.reads,
            "rows_per_minute": limits.rows_per_minute,
            "bytes_per_minute": limits.bytes_per_minute,
        },
        "minute": None,
        "used": None,
        "carried": None,
        "held_up_by": None,
        "reading": None,
        "waiting": None,
        "summary": "source budget: not known, the outbox database does not answer",
    }
    if standing is None:
        return shown
    minute = standing.minute
    taken = minute.carried + minute.used
    return shown | {
        "minute": _text(minute.minute),
        "used": {"rows": taken.rows, "bytes": taken.bytes},
        "carried": {"rows": minute.carried.rows, "bytes": minute.carried.bytes},
        "held_up_by": standing.held_up_by(limits),
        "reading": _reads(standing.reading),
        "waiting": _reads(standing.waiting),
        "summary": _summary(limits, standing),
    }


def maintenance_shown(windows: Windows, now: datetime) -> dict[str, Any]:
    """Whether it is maintenance now, until when, and when the next one begins."""
    found, following = windows.at(now), windows.next_from(now)
    if found is not None:
        summary = f"{found.words(now)}: nothing is read from the source"
    elif following is not None:
        summary = f"maintenance from {following.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    else:
        summary = "no maintenance"
    return {
        "now": found is not None,
        "ends_at": None if found is None else _text(found.ends),
        "next_from": _text(following),
        "summary": summary,
    }


def _summary(limits: SourceLimits, standing: SourceStanding) -> str:
    taken = standing.minute.carried + standing.minute.used
    reads = (
        f"{len(standing.reading)} reads" if limits.reads is None else f"{len(standing.reading)} of {limits.reads} reads"
    )
    parts = [f"{reads} under way, {len(standing.waiting)} waiting"]
    if limits.rows_per_minute is not None:
        parts.append(f"{taken.rows} of {limits.rows_per_minute} rows this minute")
    if limits.bytes_per_minute is not None:
        parts.append(f"{bytes_shown(taken.bytes)} of {bytes_shown(limits.bytes_per_minute)} this minute")
    return f"source budget: {', '.join(parts)}"


def _reads(reads: Sequence[ListedRead]) -> list[dict[str, Any]]:
    return [
        {"pipeline": read.pipeline, "owner": read.owner, "since": _text(read.began_at or read.asked_at)}
        for read in reads
    ]


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")
