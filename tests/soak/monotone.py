"""Promise W, sampled: no lane's place and no honest time ever goes back, and nothing is applied before extracted."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

Place = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSeen:
    """A watermark as it was read."""

    pipeline: str
    lane: int
    place: Place
    honest_time: datetime | None


@dataclass(slots=True, kw_only=True)
class Monotone:
    """Remembers the furthest of everything; `failures` names what went back."""

    samples: int = 0
    failures: list[str] = field(default_factory=list)
    _lanes: dict[tuple[str, int], LaneSeen] = field(default_factory=dict)
    _extracted: dict[str, Place] = field(default_factory=dict)

    def see_watermarks(self, lanes: Iterable[LaneSeen]) -> None:
        for seen in lanes:
            before = self._lanes.get((seen.pipeline, seen.lane))
            if before is not None:
                self._compare(before, seen)
            self._lanes[seen.pipeline, seen.lane] = seen
        self.samples += 1

    def see_extractions(self, extracted: Iterable[tuple[str, Place]]) -> None:
        """What the extractor's database says, read after the watermarks: what is applied was extracted before."""
        for pipeline, place in extracted:
            before = self._extracted.get(pipeline, place)
            if place < before:
                self.failures.append(f"{pipeline}: the extraction went back from {before} to {place}")
            self._extracted[pipeline] = place
        for (pipeline, lane), seen in self._lanes.items():
            if seen.place > self._extracted.get(pipeline, (0, 0)):
                self.failures.append(f"{pipeline}, lane {lane}: {seen.place} is applied, but was not extracted")

    def _compare(self, before: LaneSeen, now: LaneSeen) -> None:
        where = f"{now.pipeline}, lane {now.lane}"
        if now.place < before.place:
            self.failures.append(f"{where}: the watermark went back from {before.place} to {now.place}")
        if before.honest_time is None:
            return
        if now.honest_time is None:
            if now.place[0] == before.place[0]:  # a new log begins without one
                self.failures.append(f"{where}: the honest time {before.honest_time} was taken back")
        elif now.honest_time < before.honest_time:
            self.failures.append(f"{where}: the honest time went back from {before.honest_time} to {now.honest_time}")
