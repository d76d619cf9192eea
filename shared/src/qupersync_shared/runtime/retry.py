"""Growing delays between attempts, with jitter, so that a herd does not come back in step."""

import random
from dataclasses import dataclass, field
from typing import Final

_EXPONENT_MAX: Final = 62


def delay_seconds(attempt: int, *, first: float, cap: float, factor: float = 2.0) -> float:
    """The delay before attempt number `attempt` + 1 (counted from 1), without jitter: first, first x factor, … cap."""
    return min(cap, first * factor ** min(max(attempt, 1) - 1, _EXPONENT_MAX))


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Delays that grow from `first_seconds` to `cap_seconds`, each shortened at random by up to `jitter` of itself."""

    first_seconds: float = 0.2
    cap_seconds: float = 10.0
    factor: float = 2.0
    jitter: float = 0.3
    chance: random.Random = field(default_factory=random.Random)
    attempts: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.first_seconds <= self.cap_seconds and self.factor >= 1 and 0 <= self.jitter < 1):
            raise ValueError("a backoff needs 0 < first_seconds <= cap_seconds, factor >= 1 and 0 <= jitter < 1")

    def next(self) -> float:
        """The delay before the next attempt, in seconds."""
        self.attempts += 1
        whole = delay_seconds(self.attempts, first=self.first_seconds, cap=self.cap_seconds, factor=self.factor)
        return whole * (1 - self.jitter * self.chance.random())

    def reset(self) -> None:
        """After a success: the next delay is the first again."""
        self.attempts = 0
