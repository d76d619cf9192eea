"""Rebuilds as others see them: how far each is, how long it takes, and why it does not go on. Pure but for its port."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from qupersync_loader.application.shadows import Phase
from qupersync_shared.contracts.rebuilds import RebuildLane, RebuildsReply, RebuildsRequest, RebuildTold

_AT_WORK: Final = frozenset({Phase.READING, Phase.COMPARING, Phase.SWAPPING})


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneMark:
    """The last event a lane applied, and the first page of the snapshot it began with."""

    log: int
    sequence: int
    snapshot_first: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildSeen:
    """One rebuild as the target's tables have it at `now`. `running`: a process holds its claim."""

    id: UUID
    pipeline: str
    table: str
    phase: Phase
    rows: int
    detail: str
    who: str
    began_at: datetime
    noted_at: datetime
    now: datetime
    ended_at: datetime | None = None
    running: bool = False
    live: Mapping[int, LaneMark] = field(default_factory=dict)
    shadow: Mapping[int, LaneMark] = field(default_factory=dict)


class SeenRebuilds(Protocol):
    """The rebuilds of one loader group. DatabaseUnavailableError where the target cannot answer."""

    async def seen(self, *, ended: int) -> Sequence[RebuildSeen]:
        """Those that have not ended, then so many of the last that have."""
        ...


async def answer(rebuilds: SeenRebuilds, request: RebuildsRequest) -> RebuildsReply:
    """The reply to one question."""
    return RebuildsReply(rebuilds=tuple(told(seen) for seen in await rebuilds.seen(ended=request.ended)))


def told(seen: RebuildSeen) -> RebuildTold:
    """One rebuild with how far it is."""
    done, total = _progress(seen)
    return RebuildTold(
        id=seen.id,
        pipeline=seen.pipeline,
        table=seen.table,
        phase=seen.phase.value,
        rows=seen.rows,
        who=seen.who,
        began_at=seen.began_at,
        noted_at=seen.noted_at,
        ended_at=seen.ended_at,
        running=seen.running,
        lanes=tuple(_lane(seen, lane) for lane in sorted(seen.live)),
        done=done,
        total=total,
        eta_seconds=_eta(seen, done, total),
        trouble=_trouble(seen),
    )


def _progress(seen: RebuildSeen) -> tuple[int | None, int | None]:
    """Events read, and events to be read as of now; unknown where the lanes stand in different logs."""
    first = _first(seen)
    if seen.ended_at is not None or first is None or len({mark.log for mark in _marks(seen)}) != 1:
        return None, None
    total = sum(max(0, mark.sequence - first + 1) for mark in seen.live.values())
    done = sum(
        max(0, min(mark.sequence, seen.live[lane].sequence) - first + 1)
        for lane, mark in seen.shadow.items()
        if lane in seen.live
    )
    return done, total


def _first(seen: RebuildSeen) -> int | None:
    """Where the shadow began: a snapshot's first page is the same sequence on every lane."""
    return min((mark.snapshot_first for mark in seen.shadow.values() if mark.snapshot_first is not None), default=None)


def _marks(seen: RebuildSeen) -> list[LaneMark]:
    return [*seen.live.values(), *seen.shadow.values()]


def _eta(seen: RebuildSeen, done: int | None, total: int | None) -> float | None:
    if not (seen.running and seen.phase is Phase.READING and done and total):
        return None
    elapsed = (seen.now - seen.began_at).total_seconds()
    return round(max(0.0, elapsed * (total - done) / done), 1)


def _lane(seen: RebuildSeen, lane: int) -> RebuildLane:
    live, shadow = seen.live[lane], seen.shadow.get(lane)
    return RebuildLane(
        lane=lane,
        log=shadow.log if shadow else None,
        first=_first(seen),
        sequence=shadow.sequence if shadow else None,
        live_log=live.log,
        live_sequence=live.sequence,
    )


def _trouble(seen: RebuildSeen) -> str | None:
    if seen.ended_at is not None:
        return None
    if seen.phase is Phase.DIFFERENT:
        return (
            f"{seen.detail or 'the tables differ'}: see `qupersync rebuild {seen.pipeline}`, which compares again, "
            "or accept the shadow with `--accept-difference`"
        )
    if seen.phase in _AT_WORK and not seen.running:
        return f"its process ({seen.who}) is gone: run `qupersync rebuild {seen.pipeline}` again, it goes on"
    return None
