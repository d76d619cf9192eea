"""What one schedule is made of: everything that a seed decides, and what a failure prints."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from random import Random
from typing import Final

from qupersync_extractor.domain.pipeline import Pipeline, SourceTable
from qupersync_extractor.domain.timeline import scalar_of_time
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind

KEYS: Final[tuple[Key, ...]] = tuple((Scalar(ScalarKind.INT, str(number)),) for number in range(10))
PIPELINE: Final = PipelineName("orders")
LATE_TICKS: Final = 12
LANES_MAX: Final = 4
IDLE_TICKS: Final = 10


class Fault(StrEnum):
    """What a schedule may suffer. Crashes of processes, lost answers, and losses or restores of what they keep."""

    CRASH = "crash"
    COMMIT_LOST = "commit lost"
    COMMIT_UNKNOWN = "commit unknown"
    LEASE_STOLEN = "lease stolen"
    READ_FAILS = "read fails"
    SCHEMA_CHANGES = "schema changes"
    EXTRACTOR_RESTORED = "extractor restored"
    EXTRACTOR_LOST = "extractor lost"
    STREAM_RESTORED = "stream restored"
    STREAM_RECREATED = "stream re-created"
    MESSAGES_LOST = "messages lost"
    LANE_PURGED = "lane purged"
    OUTBOX_DROPPED = "outbox dropped"
    TARGET_RESTORED = "target restored"
    LANES_CHANGED = "lanes changed"
    LATE_DUPLICATE = "late duplicate"
    REDELIVERY = "redelivery"
    ANSWER_LOST = "answer lost"


# With none of these, the stream has every event once and in order, and no loader ever sees a gap.
LOSSES: Final = frozenset(
    {
        Fault.EXTRACTOR_RESTORED,
        Fault.EXTRACTOR_LOST,
        Fault.STREAM_RESTORED,
        Fault.STREAM_RECREATED,
        Fault.MESSAGES_LOST,
        Fault.LANE_PURGED,
        Fault.TARGET_RESTORED,
    }
)


class Cursor(StrEnum):
    """The kind of the cursor column."""

    INSTANT = "timestamptz"
    AUTUMN = "timestamp, clocks put back"
    SPRING = "timestamp, clocks put forward"
    DAY = "date"
    NUMBER = "int"


_KINDS: Final = {
    Cursor.INSTANT: ScalarKind.TIMESTAMPTZ,
    Cursor.AUTUMN: ScalarKind.TIMESTAMP,
    Cursor.SPRING: ScalarKind.TIMESTAMP,
    Cursor.DAY: ScalarKind.DATE,
    Cursor.NUMBER: ScalarKind.INT,
}
_TICKS: Final = {
    Cursor.INSTANT: timedelta(seconds=1),
    Cursor.AUTUMN: timedelta(minutes=5),
    Cursor.SPRING: timedelta(minutes=5),
    Cursor.DAY: timedelta(hours=6),
    Cursor.NUMBER: timedelta(seconds=1),
}
# Clocks in Berlin are put back, or forward, at tick 36.
_AUTUMN: Final = datetime(2025, 10, 25, 22, 0, tzinfo=UTC)
_SPRING: Final = datetime(2025, 3, 29, 22, 0, tzinfo=UTC)
_ZONES: Final = {Cursor.AUTUMN: "Europe/Berlin", Cursor.SPRING: "Europe/Berlin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often each part gets a step, compared with the others."""

    write: int = 8
    tick: int = 20
    extract: int = 20
    relay: int = 20
    load: int = 24
    fault: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One schedule: same options, same schedule, on every machine."""

    seed: int
    steps: int
    faults: frozenset[Fault]
    lanes: int = 2
    groups: int = 1
    cursor: Cursor = Cursor.INSTANT
    page_rows: int = 2
    lookback: int = LATE_TICKS
    lag: int = 1
    snapshot_every: int | None = None
    oldest_open_visible: bool = False
    pace: Pace = Pace()

    @property
    def kind(self) -> ScalarKind:
        return _KINDS[self.cursor]

    @property
    def lossless(self) -> bool:
        """Whether nothing outside the extractor's processes may lose or roll back anything."""
        return not self.faults & LOSSES

    @property
    def punctual(self) -> bool:
        """Whether the source commits nothing late: integer cursors promise nothing about late commits."""
        return self.cursor is Cursor.NUMBER

    def moment(self, tick: int) -> datetime:
        return _moment(self.cursor, tick)

    def tick_of(self, moment: datetime) -> int:
        """The tick of a moment, rounded down."""
        return (moment - _base(self.cursor)) // _TICKS[self.cursor]

    def cursor_value(self, tick: int, number: int) -> Scalar:
        """What a row written at this tick carries in its cursor column; `number` counts all writes."""
        return _number(number) if self.cursor is Cursor.NUMBER else _value(self.cursor, tick)

    def pipeline(self, lanes: int) -> Pipeline:
        tick = _TICKS[self.cursor]
        return Pipeline(
            name=PIPELINE,
            relation=SourceTable("public", "orders"),
            key=("id",),
            cursor="updated_at",
            cursor_time_zone=_ZONES.get(self.cursor, "UTC"),
            lookback=self.lookback * tick,
            lookback_units=2 if self.cursor is Cursor.NUMBER else 0,
            safety_lag=self.lag * tick,
            page_rows=self.page_rows,
            lanes=lanes,
            snapshot_every=None if self.snapshot_every is None else self.snapshot_every * tick,
        )


def drawn(seed: int, *, faults: frozenset[Fault] | None = None, steps: int | None = None) -> Options:
    """The options that a seed stands for; given faults and steps replace the drawn ones."""
    random = Random(f"options {seed}")
    chosen = frozenset(random.sample(list(Fault), random.choice((0, 1, 2, 3, 5, 8))))
    drawn_steps = random.choice((40, 80, 120, 200))
    cursor = random.choice((Cursor.INSTANT, Cursor.INSTANT, Cursor.AUTUMN, Cursor.SPRING, Cursor.DAY, Cursor.NUMBER))
    visible = random.random() < 0.3
    sweeping = cursor is Cursor.NUMBER or not visible or random.random() < 0.5
    return Options(
        seed=seed,
        steps=drawn_steps if steps is None else steps,
        faults=chosen if faults is None else faults,
        lanes=random.choice((1, 2, 2, 3)),
        groups=random.choice((1, 1, 2)),
        cursor=cursor,
        page_rows=random.choice((1, 2, 3)),
        lookback=LATE_TICKS if sweeping else 0,
        lag=random.choice((1, 2, 3)),
        snapshot_every=random.choice((None, None, 30)),
        oldest_open_visible=visible,
        pace=Pace(
            write=random.choice((6, 10, 16)),
            tick=random.choice((8, 20, 30)),
            extract=random.choice((20, 40)),
            relay=random.choice((8, 20, 40)),
            load=random.choice((8, 24, 40)),
            fault=random.choice((3, 6, 12)),
        ),
    )


def _base(cursor: Cursor) -> datetime:
    return _SPRING if cursor is Cursor.SPRING else _AUTUMN


@cache
def _moment(cursor: Cursor, tick: int) -> datetime:
    return _base(cursor) + tick * _TICKS[cursor]


@cache
def _value(cursor: Cursor, tick: int) -> Scalar:
    return scalar_of_time(_KINDS[cursor], _moment(cursor, tick), _ZONES.get(cursor, "UTC"))


@cache
def _number(number: int) -> Scalar:
    return Scalar(ScalarKind.INT, str(number))
