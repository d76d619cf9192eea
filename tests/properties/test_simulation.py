"""The protocol's promises (L, O, W, D, S and order) under thousands of hostile schedules of the project's pure parts.

`QUPERSYNC_SIMULATION_SCHEDULES` is how many, `QUPERSYNC_SIMULATION_SEED` where the seeds begin. A failure prints its
seed, its options and the trace of the shortest schedule that this seed breaks a promise with.
"""

import os

import pytest
from tests.properties.simulation.options import Fault, drawn
from tests.properties.simulation.play import first_failure, play
from tests.properties.simulation.rules import Rules

SCHEDULES = int(os.environ.get("QUPERSYNC_SIMULATION_SCHEDULES", "2000"))
SEED = int(os.environ.get("QUPERSYNC_SIMULATION_SEED", "0"))
PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds_in_every_schedule(part: int) -> None:
    count = -(-SCHEDULES // PARTS)
    first = SEED + part * count

    failure = first_failure((drawn(seed) for seed in range(first, first + count)), Rules())

    assert failure is None, str(failure)


@pytest.mark.parametrize("fault", list(Fault))
def test_every_promise_survives_each_fault_alone(fault: Fault) -> None:
    schedules = (drawn(SEED + seed, faults=frozenset({fault}), steps=150) for seed in range(15))

    failure = first_failure(schedules, Rules())

    assert failure is None, str(failure)


def test_every_promise_survives_all_faults_at_once() -> None:
    schedules = (drawn(SEED + seed, faults=frozenset(Fault), steps=250) for seed in range(60))

    failure = first_failure(schedules, Rules())

    assert failure is None, str(failure)


def test_a_seed_plays_the_same_schedule_again() -> None:
    one, two = (play(drawn(7), Rules()) for _ in range(2))

    assert one is None
    assert two is None
    assert drawn(7) == drawn(7)
