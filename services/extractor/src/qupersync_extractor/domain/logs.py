"""Whether an extraction may go on in its log, or what others have seen makes it open a greater one."""

from collections.abc import Iterable
from dataclasses import dataclass

from qupersync_extractor.domain.extraction import Extraction
from qupersync_shared.kernel.ids import EventId, Lane, Log, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """An event that somebody outside has: the last of a lane on the stream, or the last a loader group applied."""

    where: str
    lane: Lane
    log: Log
    sequence: Sequence
    event_id: EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class GreaterLog:
    """The extraction must leave its log for this one, and say why."""

    log: Log
    reason: str


def compare(state: Extraction, sightings: Iterable[Sighting], *, forked: Log | None) -> GreaterLog | None:
    """None when nothing outside is beyond the extraction; else a log greater than its own and every one seen.

    Beyond is: a greater log; a greater sequence of its own log; its own last sequence under another id; or a fork
    that a loader reported in its own log. All mean that this database, or the one outside, is not the one it was.
    """
    seen = list(sightings)
    reason = _reason(state, seen, forked)
    if reason is None:
        return None
    greatest = max([state.log, *(sighting.log for sighting in seen), *([forked] if forked is not None else [])])
    return GreaterLog(log=Log(greatest + 1), reason=reason)


def _reason(state: Extraction, seen: list[Sighting], forked: Log | None) -> str | None:
    for sighting in seen:
        if (sighting.log, sighting.sequence) > (state.log, state.sequence):
            return (
                f"{sighting.where} is at log {sighting.log}, sequence {sighting.sequence}, "
                f"beyond the extraction's log {state.log}, sequence {state.sequence}"
            )
        own = state.lane_ids.get(sighting.lane)
        if (sighting.log, sighting.sequence) == (state.log, state.sequence) and own != sighting.event_id:
            return f"{sighting.where} holds another event under sequence {sighting.sequence} of log {sighting.log}"
    if forked is not None and forked >= state.log:
        return f"a loader reported a fork in log {forked}"
    return None
