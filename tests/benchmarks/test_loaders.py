"""One, two, four and eight loader processes: events a second by a target that is slow, and by one that is not."""

import os
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Final

import pytest
from tests.benchmarks.report import write
from tests.e2e.world import World, opened
from tests.faults.watching import OLD, watermark_gate

from qupersync_local.services import LOADER
from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.benchmark
LOADERS: Final = (1, 2, 4, 8)
LANES: Final = 8
ROUNDS: Final = int(os.environ.get("QUPERSYNC_BENCHMARK_ROUNDS", "3"))
ROWS_PER_EVENT: Final = 50
# A wait in the transaction, not on the wire: one a transaction, however many round trips and bytes that has. It is so
# long that what eight processes compute meanwhile finds room on two cores.
LATENCY_SECONDS: Final = 0.25
EVENTS_SLOW: Final = 20
EVENTS_FAST: Final = 150
OF_IDEAL_MIN: Final = 0.8
SECONDS_MAX: Final = 300.0
_SLOW: Final = """
    CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT OR UPDATE ON public.qupersync_watermark
    FOR EACH ROW EXECUTE FUNCTION public.slow()
"""


@pytest.fixture(scope="module")
def durable() -> Iterator[ThreadedStack]:
    """Everything with fsync on, as it would be run."""
    with ThreadedStack(options=StackOptions()) as stack:
        yield stack


@pytest.mark.timeout(ROUNDS * 900)
async def test_loaders_share_the_lanes(durable: ThreadedStack) -> None:
    slow: dict[int, list[float]] = {count: [] for count in LOADERS}
    fast: dict[int, list[float]] = {count: [] for count in LOADERS}
    for _ in range(ROUNDS):
        for count in LOADERS:
            slow[count].append(await _drained(durable, count, EVENTS_SLOW, LATENCY_SECONDS))
            fast[count].append(await _drained(durable, count, EVENTS_FAST, 0.0))
            print(f"{count} loaders: {slow[count][-1]:.1f} and {fast[count][-1]:.1f} events/s")
    medians = {count: statistics.median(rates) for count, rates in slow.items()}
    write("loaders", _figures(medians, {count: statistics.median(rates) for count, rates in fast.items()}))
    for count in LOADERS:
        assert medians[count] >= OF_IDEAL_MIN * count * medians[1], f"{count} loaders do too little: {medians}"


async def _drained(stack: ThreadedStack, loaders: int, events: int, latency_seconds: float) -> float:
    """Events a second, from when every process has one in its hands until the last is loaded."""
    pipeline = {"lanes": LANES, "page_rows": LANES * ROWS_PER_EVENT, "safety_lag": "0s", "lookback": "0s"}
    async with opened(stack, pipeline=pipeline, loader={"connections": 1}) as world:
        first = LANES * ROWS_PER_EVENT
        await world.insert(1, first, moment=OLD)
        await world.migrate()
        await world.extract_once()
        await world.load()  # every lane has begun: how it does that is another matter
        await world.insert(first + 1, first * (events + 1))
        await world.extract_once()
        waiting = await _waiting(world)
        assert waiting >= LANES * events
        if latency_seconds:
            await world.app.execute(_SLOW.format(seconds=latency_seconds))
        async with watermark_gate(world) as gate:
            await gate.shut()
            for number in range(loaders):
                await world.services.add(f"loader-{number}", LOADER, "run").start()
            await gate.wait_for_waiting(loaders, seconds_max=120)
            began = time.monotonic()
            await gate.open()
            await world.wait_for("everything loaded", lambda one: one.level, seconds_max=SECONDS_MAX)
            seconds = time.monotonic() - began
        await world.services.stop()
        world.services.processes.clear()
        await world.assert_equal(first * (events + 1))
        return waiting / seconds


async def _waiting(world: World) -> int:
    """How many events are extracted and not yet loaded."""
    standing = await world.standing()
    return sum(standing.sequence - sequence for _, sequence in standing.watermarks.values())


def _figures(slow: Mapping[int, float], fast: Mapping[int, float]) -> dict[str, object]:
    return {
        "lanes": LANES,
        "rows_per_event": ROWS_PER_EVENT,
        "latency_ms": round(LATENCY_SECONDS * 1000),
        "rounds": ROUNDS,
        "slow_target": {
            str(count): {"events_per_second": round(rate, 1), "of_ideal": round(rate / slow[1] / count, 3)}
            for count, rate in slow.items()
        },
        "target_as_it_is": {
            str(count): {"events_per_second": round(rate), "of_one": round(rate / fast[1], 3)}
            for count, rate in fast.items()
        },
    }
