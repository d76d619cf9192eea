"""Scheduled runs of a pipeline: over restarts, beside other extractors, and when they are late."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

import pytest
from tests.unit.extractor.application.bench import NAME, START, Bench, keys_wanted
from tests.unit.extractor.application.test_serving import quickly, rested, served, snapshots, until

from qupersync_extractor.application import asking, serving
from qupersync_extractor.application.appointments import LastRun
from qupersync_extractor.application.control import note_configured, pause, resume
from qupersync_extractor.application.ports import ReadRequest
from qupersync_extractor.application.serving import PipelineService
from qupersync_extractor.infrastructure.memory.control import MemoryControlWork
from qupersync_extractor.infrastructure.scheduling.crontab import Crontab
from qupersync_shared.kernel.errors import SourceUnavailableError
from qupersync_shared.kernel.ids import PipelineName

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(serving, "LEASED_ELSEWHERE_SECONDS", 0.01)
    monkeypatch.setattr(asking, "POLL_SECONDS", 0.05)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> "Counting":
    bench = Counting()
    await bench.registered()
    bench.insert(1)
    record = bench.last_runs.record

    async def counted(pipeline: PipelineName, run: LastRun) -> None:
        bench.made.append(run.covers)
        await record(pipeline, run)

    monkeypatch.setattr(bench.last_runs, "record", counted)
    return bench


class Counting(Bench):
    """Knows when the whole runs of all its processes began."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.made: list[datetime] = []

    def by_cron(self, expression: str = "0 * * * *", *, owner: str = "one") -> PipelineService:
        return quickly(self.service(owner=owner, timetable=Crontab(expression, grace=5 * MINUTE)))

    async def seen(self, service: PipelineService) -> None:
        """The service has begun, and whatever is due at once has been made."""
        await until(lambda: service._last is not None and service._wanted is None and not service._appointments._came)


@asynccontextmanager
async def down(bench: Counting, service: PipelineService, by: timedelta) -> AsyncIterator[None]:
    """The service has run once; then nobody is there for so long."""
    async with served(service):
        await until(lambda: len(bench.made) == 1)
        await rested(service)
    bench.pass_time(by)
    yield


async def test_a_restart_does_not_run_again_what_ran_before_it(bench: Counting) -> None:
    async with down(bench, bench.service(), 40 * MINUTE), served(again := bench.service()):
        await bench.seen(again)
        assert bench.made == [START]
        bench.pass_time(20 * MINUTE)
        await until(lambda: bench.made == [START, START + HOUR])


async def test_a_restart_makes_up_for_what_nobody_made(bench: Counting) -> None:
    async with down(bench, bench.service(), 3 * HOUR), served(bench.service()):
        await until(lambda: bench.made == [START, START + 3 * HOUR])


async def test_a_run_by_cron_is_made_up_for_within_its_grace(bench: Counting) -> None:
    async with down(bench, bench.by_cron(), HOUR + 4 * MINUTE), served(bench.by_cron()):
        await until(lambda: bench.made == [START, START + HOUR + 4 * MINUTE])


async def test_a_run_by_cron_is_left_out_when_it_is_later_than_its_grace(bench: Counting) -> None:
    async with down(bench, bench.by_cron(), HOUR + 6 * MINUTE), served(again := bench.by_cron()):
        await bench.seen(again)
        bench.pass_time(53 * MINUTE)
        await bench.seen(again)
        assert bench.made == [START]
        bench.pass_time(MINUTE)
        await until(lambda: bench.made == [START, START + 2 * HOUR])


async def test_a_process_that_slept_makes_up_for_one_run_at_most(bench: Counting) -> None:
    async with served(service := bench.by_cron()):
        await bench.seen(service)
        bench.pass_time(7 * HOUR + MINUTE)
        await until(lambda: len(bench.made) == 2)
        bench.pass_time(HOUR + 10 * MINUTE)  # it slept again, for too long this time
        bench.pass_time(40 * MINUTE)
        await bench.seen(service)
        assert len(bench.made) == 2
        bench.pass_time(10 * MINUTE)
        await until(lambda: len(bench.made) == 3)


async def test_of_two_extractors_one_makes_the_run(bench: Counting) -> None:
    one, other = bench.by_cron("* * * * *", owner="one"), bench.by_cron("* * * * *", owner="other")
    async with served(one), served(other):
        for number in range(5):
            await until(lambda number=number: len(bench.made) > number)
            await bench.seen(one)
            await bench.seen(other)
            bench.pass_time(MINUTE)
        await until(lambda: len(bench.made) > 5)
        await bench.seen(one)
        await bench.seen(other)
    minutes = [moment.replace(second=0) for moment in bench.made[1:]]  # both begin when nothing has run yet
    assert len(set(minutes)) == len(minutes)


async def test_what_fails_is_made_however_late_that_is(bench: Counting) -> None:
    async with served(service := bench.by_cron()):
        await bench.seen(service)
        bench.source.trouble = SourceUnavailableError("down")
        bench.pass_time(HOUR)
        await until(lambda: "down" in service.troubles.by_pipeline().get(NAME, ""))
        bench.pass_time(20 * MINUTE)
        bench.source.trouble = None
        await until(lambda: bench.made == [START, START + HOUR + 20 * MINUTE])


async def test_a_run_that_becomes_due_while_another_works_follows_it(bench: Counting) -> None:
    def slow(_: ReadRequest) -> None:
        bench.source.before_read = None
        bench.pass_time(3 * MINUTE)

    async with served(service := bench.by_cron("* * * * *")):
        await bench.seen(service)
        bench.source.before_read = slow
        bench.pass_time(MINUTE)
        await until(lambda: len(bench.made) == 3)
        await bench.seen(service)
    assert bench.made == [START, START + MINUTE, START + 4 * MINUTE]


async def test_a_snapshot_that_was_left_in_the_middle_goes_on_at_once(bench: Counting) -> None:
    bench.insert(*range(2, 30))
    service = bench.by_cron()

    def gone(_: ReadRequest) -> None:
        if bench.sequence > 2:
            raise SourceUnavailableError("its process is gone in the same moment")

    async with down(bench, bench.by_cron(), 10 * MINUTE):
        await bench.registry.wish_snapshot(NAME, reason="a loader has nothing", restart=True)
        bench.source.before_read = gone
        async with served(service):
            await until(lambda: bench.store.pipelines[NAME].state.snapshot is not None)
        bench.source.before_read = None
        async with served(bench.by_cron()):
            await until(lambda: snapshots(bench) == 2)


async def test_a_run_that_has_failed_is_made_by_the_next_process_however_late_that_is(bench: Counting) -> None:
    async with down(bench, bench.by_cron(), HOUR):
        bench.source.trouble = SourceUnavailableError("down")
        async with served(service := bench.by_cron()):
            await until(lambda: bench.store.pipelines[NAME].trouble is not None)
            await until(lambda: "down" in service.troubles.by_pipeline().get(NAME, ""))
        bench.pass_time(20 * MINUTE)
        bench.source.trouble = None
        async with served(again := bench.by_cron()):
            await until(lambda: bench.made == [START, START + HOUR + 20 * MINUTE])
            await bench.seen(again)
        assert len(bench.made) == 2


async def test_an_incremental_run_that_was_left_in_the_middle_goes_on_however_late_that_is(bench: Counting) -> None:
    def gone(_: ReadRequest) -> None:
        if bench.store.pipelines[NAME].state.between_pages:
            raise SourceUnavailableError("its process is gone in the same moment")

    async with down(bench, bench.by_cron(), HOUR):
        bench.insert(*range(2, 30))
        bench.source.before_read = gone
        async with served(bench.by_cron()):
            await until(lambda: bench.store.pipelines[NAME].state.between_pages)
        bench.store.pipelines[NAME].trouble = None  # nor did it say so
        bench.source.before_read = None
        bench.pass_time(20 * MINUTE)
        async with served(again := bench.by_cron()):
            await until(lambda: bench.made == [START, START + HOUR + 20 * MINUTE])
            await bench.seen(again)
        assert not bench.store.pipelines[NAME].state.between_pages
        assert len(bench.made) == 2


async def test_another_definition_takes_effect_at_once(bench: Counting) -> None:
    async with down(bench, bench.service(), MINUTE), served(bench.service(page_rows=7)):
        await until(lambda: bench.made == [START, START + MINUTE])


async def test_what_was_triggered_in_a_pause_is_made_after_it_even_by_another_process(bench: Counting) -> None:
    controls = partial(MemoryControlWork, bench.store)
    await note_configured(controls, frozenset([NAME]), by="configuration")
    async with down(bench, bench.service(), MINUTE):
        await pause(controls, NAME, by="ann", reason=None, version=None)
        await bench.registry.request_run(NAME, "snapshot")
        await bench.board.look()
        async with served(again := bench.service()):
            await until(lambda: again._request is not None)
            bench.pass_time(2 * HOUR)
            await until(lambda: again._due)
            assert bench.made == [START]
        async with served(bench.service()):
            await resume(controls, NAME, by="ann", version=None)
            await until(lambda: snapshots(bench) == 2)
            await until(lambda: not bench.store.pipelines[NAME].run_requested)


async def test_an_extractor_that_made_nothing_yet_keeps_an_idle_pipeline_alive(bench: Counting) -> None:
    async with down(bench, bench.service(), 2 * MINUTE):
        sequence = bench.sequence
        async with served(bench.service()):
            await until(lambda: bench.sequence == sequence + 1)
        assert bench.made == [START]


async def test_what_has_run_as_it_is_defined_ends_no_process_after_a_restart(bench: Counting) -> None:
    async with down(bench, bench.service(), 2 * HOUR):
        bench.table.columns = bench.table.columns[1:]
        async with served(again := quickly(bench.service())) as task:
            await until(lambda: "key column 'id'" in again.troubles.by_pipeline().get(NAME, ""))
            assert not task.done()


async def test_a_clock_that_is_put_back_puts_no_run_off(bench: Counting) -> None:
    async with served(service := bench.service()):
        await bench.seen(service)
        bench.pass_time(-30 * 24 * HOUR)
        await bench.seen(service)
        assert len(bench.made) == 1
        bench.pass_time(HOUR)
        await until(lambda: len(bench.made) == 2)


async def test_a_run_that_rereads_need_is_made_whoever_made_the_last_one(bench: Counting) -> None:
    async with served(service := bench.service(cursor=None)):
        await bench.seen(service)
        bench.pass_time(HOUR)
        await until(lambda: len(bench.made) == 2)
        await bench.seen(service)
        bench.table.columns = bench.table.columns[:2]  # a snapshot has to come first
        asked = keys_wanted(1)
        await bench.rereads.request(asked)
        await until(lambda: bench.store.rereads[asked.id].reread.done)
    assert len(bench.made) == 3
