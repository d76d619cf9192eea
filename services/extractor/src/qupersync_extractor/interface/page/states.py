"""The states a pipeline is shown in: their words, how urgent they are, and what each of them means."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final


class Level(StrEnum):
    """How something stands; the page never tells it by colour alone."""

    GOOD = "good"
    BUSY = "busy"
    QUIET = "quiet"
    LATE = "late"
    BAD = "bad"
    UNKNOWN = "unknown"


# The first is what a person should look at first.
URGENCY: Final = ("stalled", "degraded", "unknown", "retrying", "lagging", "paused", "snapshotting", "new", "live")
LEVELS: Final[Mapping[str, Level]] = {
    "stalled": Level.BAD,
    "degraded": Level.BAD,
    "unknown": Level.UNKNOWN,
    "retrying": Level.LATE,
    "lagging": Level.LATE,
    "paused": Level.QUIET,
    "snapshotting": Level.BUSY,
    "new": Level.QUIET,
    "live": Level.GOOD,
}
MEANINGS: Final[Mapping[str, str]] = {
    "stalled": "nothing arrives until somebody helps",
    "degraded": "rows or events wait for a person, or the target differs",
    "unknown": "what could tell does not answer",
    "retrying": "something does not work and is tried again",
    "lagging": "the target is older than its schedule explains",
    "paused": "nothing new is extracted until it is resumed",
    "snapshotting": "the whole source is being read",
    "new": "no extractor has taken it up yet",
    "live": "changes arrive as they are made",
}
ATTENTION: Final = frozenset({"stalled", "degraded", "unknown", "retrying", "lagging"})


def shown_state(entry: Mapping[str, Any], objective_seconds: float | None) -> str:
    """The state of a document's entry; a live pipeline whose target is older than its objective is lagging."""
    state = str(entry.get("state") or "unknown")
    freshness = (entry.get("lag") or {}).get("freshness_seconds")
    late = objective_seconds is not None and freshness is not None and freshness > objective_seconds
    return "lagging" if late and state == "live" else state


def level_of(state: str) -> Level:
    """How a state stands; one that this page does not know is not called good."""
    return LEVELS.get(state, Level.UNKNOWN)


def urgency_of(state: str) -> int:
    """The smaller, the sooner somebody should look."""
    return URGENCY.index(state) if state in URGENCY else URGENCY.index("unknown")
