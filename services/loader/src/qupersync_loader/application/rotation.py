"""Fair turns: which lane a free slot serves next. Pure bookkeeping; nobody waits here."""

from collections import deque
from collections.abc import Iterable
from typing import Final

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.kernel.ids import Lane

LaneRef = tuple[TargetPipeline, Lane]

PATIENT_SECONDS: Final = 1.0
_SHORT_MIN: Final = 0.02
_SHORT_MAX: Final = 0.25
_QUANTUM_SECONDS: Final = 0.25


class Rotation:
    """All lanes that are not being served, busy ones apart from idle ones.

    With a slot for every lane each is waited at for long. With fewer, slots go round: busy and idle lanes are taken in
    turn, so that a few busy lanes do not wait for a sweep over hundreds of idle ones, nor idle ones for ever.
    """

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError("there must be a slot")
        self._slots = slots
        self._known: set[LaneRef] = set()
        self._waiting: set[LaneRef] = set()
        self._busy: deque[LaneRef] = deque()
        self._idle: deque[LaneRef] = deque()
        self._busy_last = False

    @property
    def lanes(self) -> frozenset[LaneRef]:
        """Every lane there is, served or not."""
        return frozenset(self._known)

    @property
    def crowded(self) -> bool:
        """Whether there are more lanes than slots."""
        return len(self._known) > self._slots

    def add(self, lanes: Iterable[LaneRef]) -> None:
        """Adds lanes that are new; they are looked at soon."""
        for lane in lanes:
            if lane not in self._known:
                self._known.add(lane)
                self._waiting.add(lane)
                self._idle.append(lane)

    def knows(self, lane: LaneRef) -> bool:
        """Whether the lane is one of those that are served."""
        return lane in self._known

    def drop(self, lanes: Iterable[LaneRef]) -> None:
        """These lanes are not served any more; those that are being served at the moment do not come back."""
        gone = set(lanes)
        self._known -= gone
        self._waiting -= gone
        self._busy = deque(lane for lane in self._busy if lane not in gone)
        self._idle = deque(lane for lane in self._idle if lane not in gone)

    def take(self) -> LaneRef | None:
        """The lane whose turn it is; None while every lane is being served."""
        busy = bool(self._busy) and not (self._idle and self._busy_last)
        queue = self._busy if busy else self._idle
        if not queue:
            return None
        self._busy_last = busy
        lane = queue.popleft()
        self._waiting.discard(lane)
        return lane

    def give_back(self, lane: LaneRef, *, busy: bool) -> None:
        """The lane's turn has ended; `busy` if it has more to apply."""
        # One that was dropped and added again while it was being served waits for its turn already.
        if lane in self._known and lane not in self._waiting:
            self._waiting.add(lane)
            (self._busy if busy else self._idle).append(lane)

    @property
    def wait_seconds(self) -> float:
        """How long to wait for a message of a lane that may be idle."""
        if not self.crowded:
            return PATIENT_SECONDS
        if self._busy:
            return _SHORT_MIN
        return min(_SHORT_MAX, max(_SHORT_MIN, self._slots / len(self._known)))

    @property
    def quantum_seconds(self) -> float:
        """How long one turn may go on while messages keep coming."""
        return _QUANTUM_SECONDS if self.crowded else PATIENT_SECONDS
