"""The ledger in plain values and in lines: as status document and command say it."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from qupersync_extractor.application.ledger import LedgerEntry
from qupersync_extractor.domain.whereabouts import Reached, Whereabouts
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.console import bytes_shown, seconds_shown

COLUMNS: Final = ("extracted", "pipeline", "page", "mode", "state", "rows", "bytes", "published", "applied")


def whereabouts_shown(found: Whereabouts) -> dict[str, Any]:
    """What can be written as JSON; moments in UTC."""
    waiting = found.waiting
    return {
        "in_sync": found.in_sync,
        "sentence": found.sentence,
        "as_of": _text(found.as_of),
        "extracted": _reached(found.extracted),
        "published": _reached(found.published),
        "applied": {group: _reached(reached) for group, reached in found.applied.items()},
        "pages_waiting": found.pages_waiting,
        "waiting": None
        if waiting is None
        else {
            "log": int(waiting.log),
            "sequence": int(waiting.sequence),
            "hop": waiting.hop.value,
            "groups": list(waiting.groups),
            "since": _text(waiting.since),
        },
    }


def page_shown(entry: LedgerEntry) -> dict[str, Any]:
    """What can be written as JSON; moments in UTC, and the seconds that each hop took."""
    return {
        **asdict(entry),
        "state": entry.state.value,
        "run": None if entry.run is None else str(entry.run),
        "extracted_at": _text(entry.extracted_at),
        "published_at": _text(entry.published_at),
        "applied": {group: _text(at) for group, at in entry.applied.items()},
        "waits_for": list(entry.waits_for),
        "publish_seconds": entry.publish_seconds,
        "apply_seconds": dict(entry.apply_seconds),
    }


def page_cells(entry: LedgerEntry) -> tuple[str, ...]:
    """A line of a table with `COLUMNS`: when it was extracted, and how long each hop took after that."""
    published = "-" if entry.publish_seconds is None else f"after {seconds_shown(entry.publish_seconds)}"
    return (
        f"{entry.extracted_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        entry.pipeline,
        f"{entry.log}/{entry.sequence:,}",
        entry.mode,
        entry.state.value,
        f"{entry.rows:,}",
        bytes_shown(entry.bytes),
        published,
        _applied(entry.apply_seconds) or "-",
    )


def _applied(seconds: Mapping[GroupName, float]) -> str:
    return ", ".join(f"{group} after {seconds_shown(each)}" for group, each in seconds.items())


def _reached(reached: Reached | None) -> dict[str, Any] | None:
    if reached is None:
        return None
    return {"log": int(reached.log), "sequence": int(reached.sequence), "at": _text(reached.at)}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
