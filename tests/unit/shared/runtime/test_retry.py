import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_shared.runtime.retry import Backoff, delay_seconds


def test_delays_double_up_to_the_cap() -> None:
    delays = [delay_seconds(attempt, first=0.5, cap=5) for attempt in range(1, 7)]
    assert delays == [0.5, 1, 2, 4, 5, 5]


@given(st.integers(min_value=-5, max_value=10**9))
def test_any_attempt_has_a_delay_within_the_bounds(attempt: int) -> None:
    assert 0.2 <= delay_seconds(attempt, first=0.2, cap=30) <= 30


def test_jitter_shortens_by_its_share_and_a_reset_starts_anew() -> None:
    backoff = Backoff(first_seconds=1, cap_seconds=8, jitter=0.5, chance=random.Random(4711))
    delays = [backoff.next() for _ in range(200)]
    assert all(0.5 <= delay <= 1 for delay in delays[:1])
    assert all(4 <= delay <= 8 for delay in delays[3:])
    assert max(delays) - min(delays[3:]) > 3
    assert backoff.attempts == 200
    backoff.reset()
    assert 0.5 <= backoff.next() <= 1


def test_without_jitter_delays_are_exact() -> None:
    backoff = Backoff(first_seconds=1, cap_seconds=4, jitter=0)
    assert [backoff.next() for _ in range(4)] == [1, 2, 4, 4]


@pytest.mark.parametrize("wrong", [{"first_seconds": 0}, {"first_seconds": 20}, {"factor": 0.5}, {"jitter": 1}])
def test_senseless_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a backoff needs"):
        Backoff(**wrong)  # type: ignore[arg-type]
