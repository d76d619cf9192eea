"""Looking for a schedule that breaks a promise, and for the smallest one like it: Hypothesis draws and shrinks."""

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.properties.protocol.play import play
from tests.properties.protocol.referee import BrokenPromiseError
from tests.properties.protocol.schedule import Schedule
from tests.properties.protocol.still import still


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule that broke a promise, found after `played` others."""

    schedule: Schedule
    reason: str
    played: int
    seed: int

    def __str__(self) -> str:
        told: list[str] = []
        with still():
            try:
                play(self.schedule, tell=told.append)
            except BrokenPromiseError as broken:
                told.append(str(broken))
        return "\n".join(
            [
                self.reason,
                *told,
                f"seed {self.seed}, after {self.played} schedules; repeat the smallest one with",
                f"  .venv/bin/python -m tests.properties.protocol '{self.schedule}'",
            ]
        )


def first_failure(schedules: Any, *, count: int, number: int, shrink: bool = True) -> Failure | None:
    """The first of `count` schedules of this seed that breaks a promise, shrunk if wished; None if none does."""
    failures: list[tuple[Schedule, str]] = []
    played = 0

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(schedules)
    def check(schedule: Schedule) -> None:
        nonlocal played
        played += not failures
        try:
            play(schedule)
        except BrokenPromiseError as broken:
            failures.append((schedule, str(broken)))
            raise

    try:
        with still():
            check()
    except BrokenPromiseError:
        schedule, reason = failures[-1]  # Hypothesis ends with the smallest it has found
        return Failure(schedule, reason, played, number)
    return None
