"""When a pipeline's next run is due, and who tells it: timetables, what is known of the last run, and the agenda."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, Protocol

from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import PipelineName

CLOCKS_APART_MAX: Final = timedelta(minutes=1)  # what lies farther ahead was written by a clock that was wrong
_SPREAD_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The last whole run of a pipeline, by the clock of who made it: whatever was due up to `covers` had its run.

    `definition` tells whether it was a run of the pipeline as it is configured now.
    """

    covers: datetime
    ended_at: datetime
    definition: str = ""

    def credible(self, now: datetime) -> bool:
        """Whether it lies in the past, as far as clocks of several machines agree on that."""
        return max(self.covers, self.ended_at) <= now + CLOCKS_APART_MAX


class LastRuns(Protocol):
    """What all extractors of one outbox know of each other's runs; each call is a transaction of its own."""

    async def read(self, pipelines: Sequence[PipelineName]) -> Mapping[PipelineName, LastRun]:
        """The last run of each of these pipelines that had one."""
        ...

    async def record(self, pipeline: PipelineName, run: LastRun) -> None:
        """Stores it in place of the one before; whoever calls it holds the pipeline's lease."""
        ...


class Timetable(Protocol):
    """When a pipeline is due."""

    @property
    def jitter(self) -> timedelta:
        """How far runs are spread behind the moments of the timetable."""
        ...

    @property
    def grace(self) -> timedelta | None:
        """How late a run that nobody could make is made up for; None: however late."""
        ...

    @property
    def remembered(self) -> bool:
        """Whether runs are told to other processes; one that comes every second is not worth it."""
        ...

    def next_after(self, moment: datetime) -> datetime:
        """The first of its moments that lies after this one."""
        ...

    def after(self, last: LastRun) -> datetime:
        """The first of its moments that this run does not serve."""
        ...


class Agenda(Protocol):
    """What a process is to be reminded of: one entry a pipeline, which comes again and again by its timetable."""

    def enter(self, pipeline: PipelineName, timetable: Timetable, due: datetime, ring: Callable[[], None]) -> None:
        """Calls `ring` when `due` has come (spread by the jitter), and at every later moment of the timetable.

        Several that are due at once begin shortly after each other.
        """
        ...

    def move(self, pipeline: PipelineName, due: datetime) -> None:
        """The entry comes next when `due` has come; nothing happens where there is no entry."""
        ...

    def strike(self, pipeline: PipelineName) -> None:
        """Takes the entry away, if there is one."""
        ...


def due_at(timetable: Timetable, last: LastRun | None, now: datetime) -> datetime:
    """When the next run is due: a moment of the past where one is overdue, now where none is known to have been made.

    Of several that nobody made one is made up for, within the timetable's grace.
    """
    if last is None or not last.credible(now):
        return now
    moment = timetable.after(last)
    if timetable.grace is None:
        return moment
    late = now - timetable.grace - timetable.jitter
    return moment if moment >= late else timetable.next_after(late)


def is_served(timetable: Timetable, last: LastRun | None, wanted_at: datetime, now: datetime) -> bool:
    """Whether the run that was due at `wanted_at` has been made, by whomever."""
    return last is not None and last.credible(now) and timetable.after(last) > wanted_at


def spread(timetable: Timetable, pipeline: PipelineName, moment: datetime) -> datetime:
    """The moment, put off by a part of the jitter that pipeline and moment decide: every process finds the same."""
    if not timetable.jitter:
        return moment
    text = f"{pipeline} {moment.timestamp():.6f}".encode()
    share = int.from_bytes(blake2b(text, digest_size=_SPREAD_BYTES).digest()) / 256**_SPREAD_BYTES
    return moment + timetable.jitter * share


def following(timetable: Timetable, pipeline: PipelineName, previous: datetime, now: datetime) -> datetime:
    """When an entry comes next that came at `previous`, or was to come then while the process slept."""
    since = now if timetable.grace is None else max(previous, now - timetable.grace)
    return spread(timetable, pipeline, timetable.next_after(since))


def definition_of(pipeline: Pipeline) -> str:
    """What tells two definitions of a pipeline apart."""
    return blake2b(repr(pipeline).encode(), digest_size=16).hexdigest()


@dataclass(slots=True, kw_only=True)
class Appointments:
    """The scheduled runs of one pipeline in one process; `wake` is called when one has come."""

    pipeline: PipelineName
    timetable: Timetable
    agenda: Agenda
    clock: Clock
    wake: Callable[[], None]
    definition: str = ""
    came_at: datetime | None = field(default=None, init=False)  # None: whoever made one meanwhile, it is to be made
    _came: bool = field(default=False, init=False)
    _at_once: bool = field(default=False, init=False)
    _taken_at: datetime | None = field(default=None, init=False)

    def begin(self, last: LastRun | None, *, at_once: bool, overdue: bool = False) -> None:
        """The first run is due as the last one says; `at_once`, too, where that was one of another definition.

        `overdue`: one was begun and is not over. It is due now, unless another extractor makes it.
        """
        now = self.clock.now()
        self._at_once = at_once or (last is not None and last.definition != self.definition)
        due = now if self._at_once or overdue else due_at(self.timetable, last, now)
        self.agenda.enter(self.pipeline, self.timetable, due, self._ring)

    def make(self, last: LastRun) -> None:
        """A run is over: the next one follows from it. One that came while it worked is due again, or was served."""
        self._came, self.came_at = False, None
        self.agenda.move(self.pipeline, due_at(self.timetable, last, self.clock.now()))

    def take(self) -> bool:
        """Whether a run is due; true once for each time that it is."""
        came, self._came = self._came, False
        if came:
            self._taken_at = self.clock.now()
        return came

    def run_since(self, began_at: datetime) -> LastRun:
        """The whole run that began then, took what became due meanwhile, and ends now."""
        now = self.clock.now()
        covers = began_at if self._taken_at is None else max(began_at, self._taken_at)
        return LastRun(covers=min(covers, now), ended_at=now, definition=self.definition)

    def end(self) -> None:
        """Nothing comes any more."""
        self.agenda.strike(self.pipeline)

    def _ring(self) -> None:
        self.came_at = None if self._at_once else self.clock.now()
        self._came, self._at_once = True, False
        self.wake()
