"""What becomes of a delivery, as a value; the one place where errors turn into verdicts."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from qupersync_loader.application.ports import Applied
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.ids import Log
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.retry import delay_seconds

NAK_FIRST_SECONDS: Final = 0.25
NAK_CAP_SECONDS: Final = 30.0


class Cause(StrEnum):
    """Why a delivery is acknowledged."""

    APPLIED = "applied"
    ALREADY_APPLIED = "already_applied"
    PARKED = "parked"
    FOREIGN = "foreign"
    AWAITS_BASELINE = "awaits_baseline"
    RESENT = "resent"
    STALLED = "stalled"
    FORKED = "forked"
    PASSED_OVER = "passed_over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The delivery is done with. `trouble` is what the lane's owner should know all the same; `awaits` is the log whose
    baseline the lane waits for.
    """

    cause: Cause
    applied: Applied = field(default_factory=Applied)
    trouble: str | None = None
    awaits: Log | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nak:
    """The lane stays blocked, and gets the message again after the delay. `halted`: only a person can cure it."""

    delay_seconds: float
    reason: str
    halted: bool = False


Outcome = Ack | Nak


def nak(reason: str, attempt: int, *, halted: bool = False) -> Nak:
    """A delay that grows with the attempts (counted from 1) from a quarter of a second to half a minute."""
    delay = delay_seconds(attempt, first=NAK_FIRST_SECONDS, cap=NAK_CAP_SECONDS)
    return Nak(delay_seconds=delay, reason=reason, halted=halted)


def nak_for(error: QupersyncError, attempt: int) -> Nak:
    """Nothing is parked because a database was down: whatever is not about content is tried again for ever."""
    return nak(describe(error), attempt, halted=not isinstance(error, TransientError))
