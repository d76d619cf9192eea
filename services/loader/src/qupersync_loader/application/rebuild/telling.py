"""What a rebuild tells whoever looks on, step by step; how far reading is stands in the `Tally`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qupersync_loader.application.rebuild.history import WholeSnapshot
from qupersync_loader.application.shadows import Comparison, Obstacle, Phase, Swapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """Reading begins, with this snapshot, into this table; `resumed`: with what an earlier rebuild left in it."""

    snapshot: WholeSnapshot
    table: str
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InPhase:
    """Another phase has begun."""

    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindered:
    """The tables cannot change names, but their rows can be merged."""

    obstacles: Sequence[Obstacle]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Something is not possible now and is tried again."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What the comparison found."""

    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The shadow is in place: readers see its rows."""

    swapped: Swapped


Told = Began | InPhase | Hindered | Waits | Compared | Placed
Tell = Callable[[Told], None]
