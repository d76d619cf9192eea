"""A schedule is plain values: the setting of a small world, and steps. Hypothesis draws it, text repeats it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum, StrEnum
from functools import cache
from typing import Final, Self

from hypothesis import strategies as st

STEPS: Final = 60
ARGUMENTS: Final = 256


class Act(StrEnum):
    """What a step does; its argument chooses the details. The faults come after `CANCEL`."""

    NOTHING = "nothing"
    WRITE = "write"
    DELETE = "delete"
    BEGIN_LATE = "begin-late"
    COMMIT_LATE = "commit-late"
    TIME = "time"
    EXTRACT = "extract"
    RELAY = "relay"
    LOAD = "load"
    BEAT = "beat"
    KEEP = "keep"
    ASK = "ask"
    KILL = "kill"
    CANCEL = "cancel"

    COMMIT_UNSURE = "commit-unsure"
    ACK_LOST = "ack-lost"
    ANSWER_LOST = "answer-lost"
    OUTAGE = "outage"
    LATE_DUPLICATE = "late-duplicate"
    REDELIVER = "redeliver"
    LOSE_MESSAGES = "lose-messages"
    PURGE = "purge"
    DELETE_STREAM = "delete-stream"
    BACK_UP = "back-up"
    RESTORE_STREAM = "restore-stream"
    RESTORE_EXTRACTOR = "restore-extractor"
    RESTORE_BOTH = "restore-extractor-and-stream"
    LOSE_EXTRACTOR = "lose-extractor"
    RESTORE_TARGET = "restore-target"
    RESTORE_ALL = "restore-everything"
    DROP_OUTBOX = "drop-outbox"
    FORGET_PROGRESS = "forget-progress"
    EXTRACTOR_CLOCK = "extractor-clock"
    LOADER_CLOCK = "loader-clock"
    SOURCE_CLOCK = "source-clock"
    CHANGE_LANES = "change-lanes"
    FOREIGN = "foreign-message"
    DAMAGE = "damage-message"


ORDINARY: Final = {
    Act.NOTHING: 1,
    Act.WRITE: 10,
    Act.DELETE: 3,
    Act.BEGIN_LATE: 3,
    Act.COMMIT_LATE: 2,
    Act.TIME: 14,
    Act.EXTRACT: 20,
    Act.RELAY: 14,
    Act.LOAD: 18,
    Act.BEAT: 3,
    Act.KEEP: 2,
    Act.ASK: 1,
    Act.KILL: 2,
    Act.CANCEL: 1,
}
FAULTS: Final = {
    Act.COMMIT_UNSURE: 3,
    Act.ACK_LOST: 3,
    Act.ANSWER_LOST: 3,
    Act.OUTAGE: 3,
    Act.LATE_DUPLICATE: 6,
    Act.REDELIVER: 4,
    Act.LOSE_MESSAGES: 5,
    Act.PURGE: 2,
    Act.DELETE_STREAM: 2,
    Act.BACK_UP: 2,
    Act.RESTORE_STREAM: 3,
    Act.RESTORE_EXTRACTOR: 3,
    Act.RESTORE_BOTH: 2,
    Act.LOSE_EXTRACTOR: 1,
    Act.RESTORE_TARGET: 3,
    Act.RESTORE_ALL: 1,
    Act.DROP_OUTBOX: 4,
    Act.FORGET_PROGRESS: 2,
    Act.EXTRACTOR_CLOCK: 2,
    Act.LOADER_CLOCK: 2,
    Act.SOURCE_CLOCK: 3,
    Act.CHANGE_LANES: 2,
    Act.FOREIGN: 3,
    Act.DAMAGE: 3,
}
_RESTORES: Final = frozenset(
    {Act.RESTORE_STREAM, Act.RESTORE_EXTRACTOR, Act.RESTORE_BOTH, Act.RESTORE_TARGET, Act.RESTORE_ALL}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The pipeline of one schedule. `sweeps`: late commits are met by the lookback; else the source shows who writes.

    `begun`: a first snapshot has been loaded before the first step. `left_frozen`: whoever stands still at the end goes
    on only after everything else has come to rest.
    """

    lanes: int = 2
    groups: int = 1
    page_rows: int = 2
    sweeps: bool = True
    snapshots: bool = False
    begun: bool = True
    left_frozen: bool = False

    def __str__(self) -> str:
        return " ".join(f"{field.name}={int(getattr(self, field.name))}" for field in fields(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        given = dict(part.split("=") for part in text.split())
        kinds = {field.name: field.type for field in fields(cls)}
        return cls(**{name: kinds[name](int(value)) for name, value in given.items()})


@dataclass(frozen=True, slots=True)
class Schedule:
    """Same schedule, same run, on every machine."""

    setting: Setting
    steps: tuple[tuple[Act, int], ...]

    def __str__(self) -> str:
        steps = " ".join(f"{act}:{argument}" for act, argument in self.steps if act is not Act.NOTHING)
        return f"{self.setting} / {steps}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `str` wrote."""
        setting, _, steps = text.partition("/")
        pairs = (step.split(":") for step in steps.split())
        return cls(Setting.parse(setting), tuple((Act(act), int(argument)) for act, argument in pairs))


class Pace(Enum):
    """Who gets more steps than the others."""

    EVEN: Mapping[Act, int] = {}
    WRITING: Mapping[Act, int] = {Act.WRITE: 24, Act.DELETE: 6, Act.BEGIN_LATE: 8}
    EXTRACTING: Mapping[Act, int] = {Act.EXTRACT: 60, Act.WRITE: 16, Act.TIME: 20}
    RELAYING: Mapping[Act, int] = {Act.RELAY: 50}
    LOADING: Mapping[Act, int] = {Act.LOAD: 60}
    STRICKEN: Mapping[Act, int] = {Act.KILL: 6, Act.CANCEL: 3, **{act: 2 * weight for act, weight in FAULTS.items()}}


@cache
def _acts(faults: frozenset[Act], pace: Pace, concentrated: int) -> tuple[Act, ...]:
    """Every act as often as its weight says, the simplest first."""
    suffered = faults | ({Act.BACK_UP} if faults & _RESTORES else set())
    weights = ORDINARY | {act: concentrated * weight for act, weight in FAULTS.items()} | pace.value
    return tuple(act for act in Act if act in ORDINARY or act in suffered for _ in range(weights[act]))


@st.composite
def schedules(
    draw: st.DrawFn,
    *,
    faults: frozenset[Act] | None = None,
    pace: Pace | None = None,
    steps: int = STEPS,
    **fixed: object,
) -> Schedule:
    """Schedules that suffer a few kinds of faults each, or just these."""
    suffered, concentrated = faults, 1 if faults is None else 1 + 8 // (1 + sum(FAULTS[act] for act in faults))
    if suffered is None:
        suffered = draw(st.frozensets(st.sampled_from(list(FAULTS)), max_size=6))
    setting = Setting(
        **{
            "lanes": draw(st.sampled_from((2, 1, 2, 3))),
            "groups": draw(st.sampled_from((1, 1, 1, 1, 2))),
            "page_rows": draw(st.sampled_from((2, 3, 4, 1))),
            "sweeps": draw(st.sampled_from((True, True, False))),
            "snapshots": draw(st.sampled_from((False, False, True))),
            "begun": draw(st.sampled_from((True, True, False))),
            "left_frozen": draw(st.booleans()),
            **fixed,
        }
    )
    acts = _acts(suffered, pace or draw(st.sampled_from(list(Pace))), concentrated)
    # Bytes are drawn evenly, integers of a wide range are not; and they are drawn, and shrunk, at once.
    drawn = draw(st.binary(min_size=2 * steps, max_size=2 * steps))
    chosen = (acts[byte * len(acts) // ARGUMENTS] for byte in drawn[::2])
    return Schedule(setting, tuple(zip(chosen, drawn[1::2], strict=True)))
