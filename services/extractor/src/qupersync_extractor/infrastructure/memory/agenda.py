"""The agenda in memory: it rings when the test says that time has passed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from qupersync_extractor.application.appointments import Timetable, following, spread
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import PipelineName


@dataclass(slots=True)
class _Entry:
    timetable: Timetable
    at: datetime
    ring: Callable[[], None]


class MemoryAgenda:
    """Entries of one process by a clock that is moved by hand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[PipelineName, _Entry] = {}
        self._seen = clock.now()

    def enter(self, pipeline: PipelineName, timetable: Timetable, due: datetime, ring: Callable[[], None]) -> None:
        """Calls `ring` when `due` has come (spread by the jitter), and at every later moment of the timetable."""
        at = max(spread(timetable, pipeline, due), self._clock.now())
        self._entries[pipeline] = _Entry(timetable, at, ring)
        self.look()

    def move(self, pipeline: PipelineName, due: datetime) -> None:
        """The entry comes next when `due` has come; nothing happens where there is no entry."""
        entry = self._entries.get(pipeline)
        if entry is not None:
            entry.at = max(spread(entry.timetable, pipeline, due), self._clock.now())
            self.look()

    def strike(self, pipeline: PipelineName) -> None:
        """Takes the entry away, if there is one."""
        self._entries.pop(pipeline, None)

    def look(self) -> None:
        """Rings whatever has come by now: once, however often it has come, and not at all where that is too late."""
        now = self._clock.now()
        put_back, self._seen = now < self._seen, now
        for pipeline, entry in list(self._entries.items()):
            if put_back:
                entry.at = min(entry.at, following(entry.timetable, pipeline, now, now))
            came = None
            while entry.at <= now:
                came, entry.at = entry.at, following(entry.timetable, pipeline, entry.at, now)
            grace = entry.timetable.grace
            if came is not None and (grace is None or now - came <= grace):
                entry.ring()
