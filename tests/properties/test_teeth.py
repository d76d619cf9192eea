"""The simulation is worth what it notices: each rule of the protocol, broken on purpose, must be caught."""

import pytest
from tests.properties.simulation.play import play
from tests.properties.simulation.rules import Rules
from tests.properties.simulation.teeth import TEETH, Tooth

SCHEDULES = 600
SEED = 0  # the same schedules in every run: whether a tooth bites is no matter of luck


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.name)
def test_a_broken_rule_is_noticed(tooth: Tooth) -> None:
    caught = next((options for options in tooth.schedules(SCHEDULES, seed=SEED) if play(options, tooth.rules)), None)

    assert caught is not None, f"{SCHEDULES} schedules did not notice: {tooth.name}"
    assert play(caught, Rules()) is None, "the schedule breaks a promise even with every rule in place"
