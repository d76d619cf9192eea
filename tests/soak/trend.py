"""Whether something grows steadily: what is level over hours only wanders, what leaks rises and rises. Pure."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

_POINTS_MIN = 18
_PARTS = 6
_SHARE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A measure that rises: the medians of the second and of the last third of the run."""

    name: str
    earlier: float
    later: float

    @property
    def share(self) -> float:
        return (self.later - self.earlier) / self.earlier if self.earlier else float("inf")


def growing(
    samples: Sequence[tuple[float, Mapping[str, float]]], floors: Mapping[str, float], *, share: float = _SHARE
) -> list[Growth]:
    """The measures that grow, worst first.

    The first third is warming up and does not count. A measure grows when the median of the last third exceeds that of
    the second by `share` and by its floor (that of the longest matching beginning of its name), and when it rises all
    the way: from each of six successive parts to the next its median gains a tenth of that, in all but one step.
    """
    if not samples:
        return []
    begin, end = samples[0][0], samples[-1][0]
    late = [(moment, values) for moment, values in samples if moment >= begin + (end - begin) / 3]
    found = []
    for name in sorted({name for _, values in late for name in values}):
        points = [(moment, values[name]) for moment, values in late if name in values]
        growth = _growth(name, points, floor=_floor(name, floors), share=share)
        if growth is not None:
            found.append(growth)
    return sorted(found, key=lambda growth: growth.share, reverse=True)


def _growth(name: str, points: Sequence[tuple[float, float]], *, floor: float, share: float) -> Growth | None:
    if len(points) < _POINTS_MIN:
        return None
    values = [value for _, value in points]
    half = len(values) // 2
    growth = Growth(name=name, earlier=median(values[:half]), later=median(values[half:]))
    risen = growth.later - growth.earlier
    if risen <= floor or risen <= share * growth.earlier:
        return None
    size = len(values) / _PARTS
    parts = [median(values[round(part * size) : round((part + 1) * size)]) for part in range(_PARTS)]
    steps = [later - earlier for earlier, later in itertools.pairwise(parts)]
    rising = sum(step >= risen / 10 for step in steps)
    return growth if rising >= _PARTS - 2 and steps[-1] > 0 else None


def _floor(name: str, floors: Mapping[str, float]) -> float:
    matching = [prefix for prefix in floors if name.startswith(prefix)]
    return floors[max(matching, key=len)] if matching else 0.0
