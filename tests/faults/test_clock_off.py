"""22: the wall clock of an extractor, a relay or a loader is off by two hours, and put back by four while it runs."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.e2e.world import World, opened
from tests.faults.all_well import all_well
from tests.faults.watching import NOW, OLD, Audit, drained, parked

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(22), pytest.mark.integration]
ROOT = Path(__file__).parents[2]
HOURS = 3_600
# By a timetable: one whose next moment was reckoned by the clock before it was put back.
TIMED = {"schedule": {"every": "1s"}, "lanes": 2}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_stale_overwrite_and_honest_watermark_when_the_extractors_clock_is_off(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline=TIMED) as world:
        await _through_the_hours(world, {"extractor": (EXTRACTOR, "run")}, {"loader": (LOADER, "run")})
        facts |= {"rows": 500, "clock": "+2 h, -2 h"}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_stale_overwrite_and_honest_watermark_when_the_loaders_clock_is_off(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline=TIMED) as world:
        await _through_the_hours(world, {"loader": (LOADER, "run")}, {"extractor": (EXTRACTOR, "run")})
        facts |= {"rows": 500, "clock": "+2 h, -2 h"}


async def _through_the_hours(world: World, off: dict[str, tuple[str, str]], right: dict[str, tuple[str, str]]) -> None:
    """Some processes have a clock that is off, first forward, then back; the others' is right."""
    await world.insert(1, 300, moment=OLD)
    await world.migrate()
    clock = world.services.logs / "seconds_off"
    _set(clock, hours=2)
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    skewed = [
        world.services.add(name, "tests.faults.skewed", str(clock), module, command, environment=path)
        for name, (module, command) in off.items()
    ]
    processes = [*skewed, *(world.services.add(name, module, command) for name, (module, command) in right.items())]
    async with Audit.opened(world) as audit:
        for process in processes:
            await process.start()
        await drained(world, 300)
        newest = 300
        honest = datetime.min.replace(tzinfo=UTC)
        for hours in (2, -2):
            _set(clock, hours=hours)
            changed_from = await _source_now(world)
            await world.source.execute(f"UPDATE {world.table} SET name = $1, updated_at = {NOW}", f"{hours} hours")
            newest += 100
            await world.insert(newest - 99, newest)
            await drained(world, newest)
            honest = await _honest_time(world, changed_from, not_before=honest)
            await all_well(world)
        await audit.assert_in_order()
    assert await parked(world) == (0, 0)
    await world.services.stop()  # of which each process says something, by its clock
    for process in skewed:
        _assert_was_off(process)


def _set(clock: Path, *, hours: int) -> None:
    """All at once: whoever reads the file finds the old number or the new one."""
    new = clock.with_suffix(".new")
    new.write_text(str(hours * HOURS), "ascii")
    new.replace(clock)


async def _honest_time(world: World, changed_from: datetime, *, not_before: datetime) -> datetime:
    """Promise W: it comes to say that the changes are there, never goes back, and never runs ahead of the source."""
    reached = await world.wait_for(
        "an honest time past the changes", lambda one: one.honest_time is not None and one.honest_time >= changed_from
    )
    assert reached.honest_time is not None
    assert not_before <= reached.honest_time <= await _source_now(world)
    return reached.honest_time


async def _source_now(world: World) -> datetime:
    moment: datetime = await world.source.fetchval("SELECT clock_timestamp()")
    return moment


def _assert_was_off(process: ServiceProcess) -> None:
    """Its own log bears times of hours to come, and of hours long gone."""
    now = datetime.now(UTC)
    lines = [json.loads(line) for line in process.log.read_text("utf-8").splitlines() if line.startswith("{")]
    moments = [datetime.fromisoformat(line["time"]) for line in lines]
    assert max(moments) > now + timedelta(hours=1.5), f"the clock of {process.name} was never before its time"
    assert min(moments) < now - timedelta(hours=1.5), f"the clock of {process.name} was never behind its time"
