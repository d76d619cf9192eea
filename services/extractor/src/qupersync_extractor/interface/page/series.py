"""What was seen lately, in memory: a bounded ring of points a pipeline, filled as the status document is refreshed."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from qupersync_extractor.interface.page.words import read_moment

SPACING_SECONDS: Final = 5.0
GAP_SECONDS: Final = 30.0
POINTS_MAX: Final = 360
KEPT_MINUTES: Final = round(SPACING_SECONDS * POINTS_MAX / 60)
_DRAWN_MAX: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One look at a pipeline; None is what nobody knew."""

    at: datetime
    freshness_seconds: float | None
    source_seconds: float | None
    outbox_records: int | None
    stream_events: int | None
    rows_per_second: float | None


@dataclass(slots=True)
class Series:
    """The rings of all pipelines. They begin with the process: longer ago is what runs and ledger tell."""

    _rings: dict[str, deque[Point]] = field(default_factory=dict)
    _seen_at: datetime | None = None

    def see(self, document: Mapping[str, Any], rates: Mapping[str, float]) -> None:
        """Adds a point a pipeline, unless the last one is newer than `SPACING_SECONDS`; forgets pipelines that left.

        While nobody looked, nothing was seen: a point that knows nothing keeps the curves from pretending otherwise.
        """
        at = read_moment(document.get("as_of"))
        if at is None or (self._seen_at is not None and (at - self._seen_at).total_seconds() < SPACING_SECONDS):
            return
        unwatched = self._seen_at if self._seen_at and (at - self._seen_at).total_seconds() > GAP_SECONDS else None
        self._seen_at = at
        pipelines: Mapping[str, Mapping[str, Any]] = document.get("pipelines") or {}
        for gone in [name for name in self._rings if name not in pipelines]:
            del self._rings[gone]
        for name, entry in pipelines.items():
            ring = self._rings.setdefault(name, deque(maxlen=POINTS_MAX))
            if ring and unwatched is not None:
                ring.append(_point(unwatched + timedelta(seconds=SPACING_SECONDS), {}, None))
            ring.append(_point(at, entry, rates.get(name)))

    def of(self, pipeline: str) -> Sequence[Point]:
        """The points of a pipeline, the oldest first."""
        return tuple(self._rings.get(pipeline, ()))


def _point(at: datetime, entry: Mapping[str, Any], rate: float | None) -> Point:
    lag: Mapping[str, Any] = entry.get("lag") or {}
    return Point(
        at=at,
        freshness_seconds=lag.get("freshness_seconds"),
        source_seconds=lag.get("source_seconds"),
        outbox_records=lag.get("outbox_records"),
        stream_events=lag.get("stream_events"),
        rows_per_second=rate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparkline:
    """A small curve: `paths` are the strokes of an SVG of `width` times `height`, broken where nobody knew.

    `limit` is the height of the objective, where it lies within the picture.
    """

    paths: tuple[str, ...]
    width: int
    height: int
    limit: float | None = None


def sparkline(
    values: Sequence[float | None], *, limit: float | None = None, width: int = 96, height: int = 22
) -> Sparkline | None:
    """The curve from zero up to the greatest of values and limit; None where fewer than two values are known."""
    drawn = _thinned(values)
    known = [value for value in drawn if value is not None]
    if len(known) < 2:  # noqa: PLR2004
        return None
    top = max([*known, limit or 0.0]) or 1.0
    step = (width - 2) / (len(drawn) - 1)

    def height_of(value: float) -> float:
        return round(height - 1.5 - (height - 3) * value / top, 1)

    paths: list[str] = []
    stroke: list[str] = []
    for place, value in enumerate(drawn):
        if value is None:
            paths, stroke = _ended(paths, stroke), []
        else:
            stroke.append(f"{1 + place * step:.1f},{height_of(value)}")
    return Sparkline(
        paths=tuple(_ended(paths, stroke)),
        width=width,
        height=height,
        limit=None if limit is None else height_of(limit),
    )


def _ended(paths: list[str], stroke: list[str]) -> list[str]:
    return [*paths, " ".join(stroke)] if len(stroke) > 1 else paths


def _thinned(values: Sequence[float | None]) -> list[float | None]:
    """At most `_DRAWN_MAX` values: of neighbours the greatest stands, for the peaks are what people look for."""
    if len(values) <= _DRAWN_MAX:
        return list(values)
    bucket = -(-len(values) // _DRAWN_MAX)
    thinned: list[float | None] = []
    for start in range(0, len(values), bucket):
        known = [value for value in values[start : start + bucket] if value is not None]
        thinned.append(max(known) if known else None)
    return thinned
