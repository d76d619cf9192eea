"""Reasons that name lanes, told once: what keeps four lanes from loading is one line, not four."""

import re
from collections.abc import Iterable
from typing import Final

_LANES: Final = re.compile(r"lanes? (?P<lanes>\d+(?:(?:, | to )\d+)*): (?P<what>.+)", re.DOTALL)


def told_once(reasons: Iterable[str]) -> list[str]:
    """The reasons in their order, those that differ in their lanes alone as one: `lanes 0 to 3: …`.

    A reason may hold several, with semicolons between them; each is told once.
    """
    found: dict[str, set[int]] = {}
    for reason in reasons:
        for part in reason.split("; "):
            what, lanes = part, set[int]()
            while (match := _LANES.fullmatch(what)) is not None:
                what, lanes = match["what"], lanes | _numbers(match["lanes"])
            found.setdefault(what, set()).update(lanes)
    return [f"{_spoken(lanes)}: {what}" if lanes else what for what, lanes in found.items()]


def _numbers(text: str) -> set[int]:
    lanes: set[int] = set()
    for part in text.split(", "):
        first, _, last = part.partition(" to ")
        lanes.update(range(int(first), int(last or first) + 1))
    return lanes


def _spoken(lanes: set[int]) -> str:
    """`lane 2`, `lanes 0, 2` or `lanes 0 to 3, 7`."""
    stretches: list[list[int]] = []
    for lane in sorted(lanes):
        if stretches and lane == stretches[-1][-1] + 1:
            stretches[-1].append(lane)
        else:
            stretches.append([lane])
    told = ", ".join(f"{one[0]} to {one[-1]}" if len(one) > 1 else str(one[0]) for one in stretches)
    return f"lane {told}" if len(lanes) == 1 else f"lanes {told}"
