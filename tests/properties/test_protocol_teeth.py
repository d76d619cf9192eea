"""The simulation is worth what it notices: each rule of the protocol, broken on purpose, must be caught.

What caught it before is played first. Where that does not bite any more (a port is called once more or less, and all
steps after it mean something else), others are searched for.
"""

import pytest
from tests.properties.protocol.caught import bites, recorded, search, table, written_table
from tests.properties.protocol.play import play
from tests.properties.protocol.schedule import Schedule
from tests.properties.protocol.still import still
from tests.properties.protocol.teeth import TEETH, Tooth

SEARCHED = 600

pytestmark = pytest.mark.timeout(1200)


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.how)
def test_a_broken_rule_is_noticed(tooth: Tooth) -> None:
    schedule = Schedule.parse(recorded()[tooth.how].schedule)
    reason = bites(tooth, schedule)

    if reason is None:
        found = search(tooth, count=SEARCHED, shrink=False)
        assert found is not None, f"{SEARCHED} schedules did not notice: {tooth.how}"
        schedule, reason = found.schedule, found.reason

    assert not reason.startswith("defect"), f"the tooth itself is broken: {reason}"
    with still():
        play(schedule)  # and it is the rule that was missing: with it, every promise holds


def test_the_page_tells_of_every_tooth() -> None:
    assert written_table() == table(recorded()), "run `python -m tests.properties.protocol.caught`"
