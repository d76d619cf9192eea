"""How far reading has come, for whoever looks on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from qupersync_shared.kernel.ids import Lane


@dataclass(slots=True)
class Tally:
    """Counts since the process began. `waiting`: events that stand behind the last one that was read, by lane;
    `troubles`: what keeps a lane from being read just now.
    """

    events: int = 0
    rows: int = 0
    bytes: int = 0
    waiting: dict[Lane, int] = field(default_factory=dict)
    troubles: dict[Lane, str] = field(default_factory=dict)
    places: dict[Lane, tuple[int, int]] = field(default_factory=dict)
    aims: Mapping[Lane, tuple[int, int]] = field(default_factory=dict)

    @property
    def events_left(self) -> int:
        """About how many events are yet to be read."""
        return sum(self.waiting.values())

    def trouble(self, lane: Lane, reason: str | None) -> None:
        """What keeps a lane, or that nothing does any more."""
        if reason is None:
            self.troubles.pop(lane, None)
        else:
            self.troubles[lane] = reason
