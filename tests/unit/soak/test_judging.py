"""What a soak judges by: growth told from noise, watermarks that go back, tracebacks in logs."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from tests.soak.logbook import busiest, defects
from tests.soak.monotone import LaneSeen, Monotone
from tests.soak.trend import growing

FLOORS = {"memory": 5.0, "memory relay": 50.0}
MOMENT = datetime(2024, 1, 1, tzinfo=UTC)


def _series(name: str, values: list[float]) -> list[tuple[float, dict[str, float]]]:
    return [(float(moment), {name: value}) for moment, value in enumerate(values)]


@pytest.mark.parametrize("seed", range(20))
def test_noise_around_a_level_does_not_grow(seed: int) -> None:
    chance = random.Random(seed)
    assert not growing(_series("memory", [100 + chance.gauss(0, 4) for _ in range(200)]), FLOORS)


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_under_noise_grows(seed: int) -> None:
    chance = random.Random(seed)
    found = growing(_series("memory", [100 + n * 0.4 + chance.gauss(0, 4) for n in range(200)]), FLOORS)
    assert [one.name for one in found] == ["memory"]
    assert found[0].later > found[0].earlier


def test_warming_up_does_not_count() -> None:
    assert not growing(_series("memory", [min(100.0, 2.0 * n) for n in range(200)]), FLOORS)


def test_a_saw_tooth_does_not_grow() -> None:
    assert not growing(_series("memory", [100.0 + 10 * (n % 40) for n in range(240)]), FLOORS)


def test_what_rises_once_and_stays_does_not_grow() -> None:
    assert not growing(_series("memory", [100.0 if n < 150 else 140.0 for n in range(200)]), FLOORS)


def test_the_longest_name_decides_the_floor() -> None:
    values = [10 + n * 0.3 for n in range(200)]
    assert growing(_series("memory loader", values), FLOORS)
    assert not growing(_series("memory relay", values), FLOORS)


def test_too_few_samples_prove_nothing() -> None:
    assert not growing(_series("memory", [100.0 * n for n in range(12)]), FLOORS)
    assert not growing([], FLOORS)


def test_holes_in_a_series_do_not_hide_its_growth() -> None:
    samples = _series("memory", [100 + n * 0.5 for n in range(200)])
    assert growing([(moment, {} if n % 3 == 0 else values) for n, (moment, values) in enumerate(samples)], FLOORS)


def _lane(sequence: int, *, log: int = 1, honest: int | None = 0) -> list[LaneSeen]:
    honest_time = None if honest is None else MOMENT + timedelta(seconds=honest)
    return [LaneSeen(pipeline="p", lane=0, place=(log, sequence), honest_time=honest_time)]


def test_what_goes_forward_is_no_failure() -> None:
    seen = Monotone()
    for lanes in (_lane(1, honest=None), _lane(2), _lane(2), _lane(5, honest=7), _lane(1, log=2, honest=None)):
        seen.see_watermarks(lanes)
        seen.see_extractions([("p", lanes[0].place)])
    assert (seen.failures, seen.samples) == ([], 5)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (_lane(2), _lane(1), "went back"),
        (_lane(1, log=2), _lane(9, log=1), "went back"),
        (_lane(1, honest=5), _lane(2, honest=4), "honest time went back"),
        (_lane(1), _lane(2, honest=None), "taken back"),
    ],
)
def test_what_goes_back_is_a_failure(before: list[LaneSeen], after: list[LaneSeen], words: str) -> None:
    seen = Monotone()
    seen.see_watermarks(before)
    seen.see_watermarks(after)
    assert len(seen.failures) == 1
    assert words in seen.failures[0]


def test_what_is_applied_must_have_been_extracted() -> None:
    seen = Monotone()
    seen.see_watermarks(_lane(3))
    seen.see_extractions([("p", (1, 2))])
    assert seen.failures == ["p, lane 0: (1, 3) is applied, but was not extracted"]


def test_tracebacks_are_defects_and_warnings_are_not() -> None:
    lines = [
        {"level": "warning", "event": "nats_disconnected"},
        {"level": "error", "event": "turn_failed", "traceback": "File x\nKeyError: 'a'"},
        {"level": "error", "event": "turn_failed", "traceback": "File y\nKeyError: 'a'"},
    ]
    logs = {
        "loader-2": "\n".join([*map(json.dumps, lines), '{"cut by a ki']),
        "relay-1": "Traceback (most recent call last):",
    }
    assert defects(logs) == [
        "loader: turn_failed: KeyError: 'a' (2 times)",
        "relay: a traceback outside the log (1 times)",
    ]
    assert busiest(logs)[0] == ("loader: turn_failed (error)", 2)
