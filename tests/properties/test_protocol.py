"""The promises under thousands of hostile schedules of the real use cases over the in-memory adapters.

`QUPERSYNC_SIMULATION_PROTOCOL` is how many, `QUPERSYNC_SIMULATION_SEED` where the seeds begin. A failure prints its
seed, the smallest schedule like it, what happens in that, and the command that plays it again.
"""

import os

import pytest
from tests.properties.protocol.play import play
from tests.properties.protocol.schedule import FAULTS, Act, Schedule, Setting, schedules
from tests.properties.protocol.search import first_failure
from tests.properties.protocol.still import still

SCHEDULES = int(os.environ.get("QUPERSYNC_SIMULATION_PROTOCOL", "1000"))
SEED = int(os.environ.get("QUPERSYNC_SIMULATION_SEED", "0"))
PARTS = 20

KNOWN = {
    "the rest of a run's rows vanishes between two pages": (
        "lanes=1 groups=1 page_rows=2 sweeps=1 snapshots=0 begun=1 left_frozen=0 / time:4 extract:136 extract:136 "
        "extract:136 delete:2 delete:3 delete:4 delete:5 extract:140"
    ),
    "a log's baseline is lost with the stream, and lanes have a watermark in the log before": (
        "lanes=1 groups=1 page_rows=2 sweeps=1 snapshots=0 begun=1 left_frozen=0 / back-up:0 lose-extractor:0 "
        "extract:140 relay:12 restore-stream:0"
    ),
    "the clock of loaders that wait for a baseline is put back": (
        "lanes=1 groups=1 page_rows=2 sweeps=0 snapshots=0 begun=0 left_frozen=0 / extract:140 relay:12 purge:0 "
        "loader-clock:3 keep:0 keep:1 loader-clock:0"
    ),
}

pytestmark = pytest.mark.timeout(0 if SCHEDULES > 5_000 else 1200)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds_whoever_is_struck_wherever(part: int) -> None:
    failure = first_failure(schedules(), count=-(-SCHEDULES // PARTS), number=SEED + part)

    assert failure is None, str(failure)


@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_promise_survives_each_fault_alone(fault: Act) -> None:
    count = max(2, SCHEDULES // 200)

    failure = first_failure(schedules(faults=frozenset({fault})), count=count, number=SEED)

    assert failure is None, str(failure)


@pytest.mark.parametrize("text", KNOWN.values(), ids=KNOWN)
def test_what_broke_a_promise_once_does_so_no_more(text: str) -> None:
    with still():
        play(Schedule.parse(text))


def test_a_schedule_is_repeated_from_its_text() -> None:
    schedule = Schedule(Setting(lanes=3, left_frozen=True), ((Act.WRITE, 3), (Act.NOTHING, 9), (Act.EXTRACT, 250)))
    told: list[list[str]] = [[], []]

    with still():
        play(schedule, tell=told[0].append)
        play(Schedule.parse(str(schedule)), tell=told[1].append)

    assert str(schedule).endswith("/ write:3 extract:250")
    assert told[0] == told[1]
