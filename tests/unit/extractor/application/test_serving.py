"""A pipeline in a running extractor: what was wanted is done in the end, whatever came between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from tests.unit.extractor.application.bench import NAME, Bench

from qupersync_extractor.application import asking, serving
from qupersync_extractor.application.ports import Asked, ReadRequest, RunRequest
from qupersync_extractor.application.serving import PipelineService, Wanted
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.kernel.errors import (
    ConfigurationError,
    PageRefusedError,
    SourceUnavailableError,
    StreamUnavailableError,
)
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.records import Query
from qupersync_shared.runtime.retry import Backoff

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(serving, "LEASED_ELSEWHERE_SECONDS", 0.01)
    monkeypatch.setattr(asking, "POLL_SECONDS", 0.05)


@pytest.fixture
async def bench() -> Bench:
    return await Bench().registered()


def quickly(service: PipelineService) -> PipelineService:
    service._backoff = Backoff(first_seconds=0.01, cap_seconds=0.01)
    return service


@asynccontextmanager
async def served(service: PipelineService) -> AsyncIterator[asyncio.Task[None]]:
    stop = Stop()
    task = asyncio.create_task(service.serve(stop))
    listening = asyncio.create_task(service.board.listen(stop))
    try:
        yield task
    finally:
        stop.request()
        async with asyncio.timeout(5):
            await asyncio.gather(task, listening, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # the adapters in memory have no signal for everything
            await asyncio.sleep(0.01)


def snapshots(bench: Bench) -> int:
    return sum(event.snapshot_first for event in bench.envelopes()) // 2


def snapshotted(bench: Bench) -> bool:
    return bench.store.pipelines[NAME].state.snapshot_ended_at is not None


async def rested(service: PipelineService) -> None:
    """The first run is over, and the next one has its appointment."""
    await until(lambda: service._proven and service._wanted is None)


async def test_a_first_run_begins_at_once_and_the_next_when_it_is_due(bench: Bench) -> None:
    service = bench.service()
    async with served(service):
        await rested(service)
        bench.insert(1)
        bench.pass_time(HOUR)
        await until(lambda: bench.sent_ids() == {1})


async def test_a_triggered_run_that_fails_is_made_later_in_the_mode_it_was_asked_for(bench: Bench) -> None:
    service = quickly(bench.service())
    async with served(service):
        await until(lambda: snapshotted(bench))
        bench.source.trouble = SourceUnavailableError("down")
        await bench.registry.request_run(NAME, "snapshot")
        await until(lambda: "down" in service.troubles.by_pipeline().get(NAME, ""))
        bench.source.trouble = None
        await until(lambda: snapshots(bench) == 2)


async def test_a_request_that_comes_while_another_extractor_works_is_not_forgotten(bench: Bench) -> None:
    service = bench.service()
    async with served(service):
        await rested(service)
        token = await bench.registry.acquire(NAME, "other", 60)
        assert token is not None
        await bench.registry.request_run(NAME, "snapshot")
        await until(lambda: bench.board.asked(NAME).run)
        await bench.registry.release(NAME, token)
        await until(lambda: snapshots(bench) == 2)
        await until(lambda: not bench.store.pipelines[NAME].run_requested)
        await rested(service)
    assert snapshots(bench) == 2


async def test_a_request_that_could_not_be_served_stays_for_who_comes_next(bench: Bench) -> None:
    service = quickly(bench.service())
    async with served(service):
        await until(lambda: snapshotted(bench))
        bench.source.trouble = SourceUnavailableError("down")
        await bench.registry.request_run(NAME, "snapshot")
        await until(lambda: service.troubles.by_pipeline() != {})
    row = bench.store.pipelines[NAME]
    assert (row.run_requested, row.run_mode) == (True, "snapshot")


async def test_what_a_process_before_said_of_the_pipeline_is_taken_back(bench: Bench) -> None:
    await bench.registry.set_trouble(NAME, "the process before could not reach the source")
    service = bench.service()
    async with served(service):
        await rested(service)
        assert bench.store.pipelines[NAME].trouble is None
        await bench.registry.set_trouble(NAME, "and one beside us neither")
        bench.pass_time(HOUR)
        await until(lambda: bench.store.pipelines[NAME].trouble is None)


async def test_an_unforeseen_error_is_shown_and_the_pipeline_goes_on(bench: Bench) -> None:
    def defect(_: ReadRequest) -> None:
        raise ZeroDivisionError("a defect")

    bench.source.before_read = defect
    service = quickly(bench.service())
    async with served(service) as task:
        await until(lambda: "a defect" in (bench.store.pipelines[NAME].trouble or ""))
        assert not task.done()
        bench.source.before_read = None
        await until(lambda: snapshotted(bench))
        await until(lambda: bench.store.pipelines[NAME].trouble is None)


async def test_a_configuration_error_ends_the_service_before_the_first_run_and_never_after(bench: Bench) -> None:
    with pytest.raises(ConfigurationError):
        await bench.service(key=("nothing",)).serve(Stop())
    service = quickly(bench.service())
    async with served(service) as task:
        await rested(service)
        bench.table.columns = bench.table.columns[1:]
        bench.pass_time(HOUR)
        await until(lambda: "key column 'id'" in service.troubles.by_pipeline().get(NAME, ""))
        assert not task.done()


async def test_an_incremental_run_that_becomes_due_while_a_page_commits_is_made(bench: Bench) -> None:
    bench.insert(*range(1, 13))
    bench.pass_time(timedelta(minutes=1))
    pages = 0

    def later(request: ReadRequest) -> None:
        nonlocal pages
        pages += 1
        if pages == 3:  # read ahead while the second page is committed
            bench.pass_time(HOUR)

    bench.source.before_read = later
    async with served(bench.service()):
        await until(lambda: snapshotted(bench))
    bench.source.before_read = None
    reads = [type(request.range).__name__ for request in bench.source.reads]
    assert reads[0] == "KeyRange"
    assert "CursorRange" in reads[:-1]
    assert reads.index("CursorRange") < max(i for i, name in enumerate(reads) if name == "KeyRange")


async def test_a_due_run_that_begins_with_a_snapshot_does_not_interrupt_it_at_once(bench: Bench) -> None:
    bench.insert(*range(1, 13))
    async with served(bench.service()):
        await until(lambda: snapshotted(bench))
    reads = [type(request.range).__name__ for request in bench.source.reads]
    assert reads.index("CursorRange") == reads.count("KeyRange") == 4


async def test_a_stop_ends_a_read_that_takes_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, ended = asyncio.Event(), asyncio.Event()

    async def slow(_: ReadRequest) -> None:
        reading.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(bench.source, "read", slow)
    async with served(bench.service()):
        await reading.wait()
    assert ended.is_set()
    assert bench.store.pipelines[NAME].lease is None


async def test_a_stop_ends_the_wait_for_room_in_the_outbox(bench: Bench) -> None:
    waiting = asyncio.Event()

    async def full() -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with served(bench.service(room=full)):
        await waiting.wait()
    assert bench.sequence == 0


async def test_once_gives_up_only_where_no_later_attempt_is_spared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source.troubles = [SourceUnavailableError("down"), SourceUnavailableError("down")]
    service = quickly(bench.service())
    assert (await service.once(Stop())).pages == 1
    read = bench.source.read

    async def refused(_: ReadRequest) -> None:
        raise PageRefusedError("keys out of order")

    monkeypatch.setattr(bench.source, "read", refused)
    bench.pass_time(HOUR)
    with pytest.raises(PageRefusedError):
        await service.once(Stop())
    monkeypatch.setattr(bench.source, "read", read)
    stop = Stop()
    stop.request()
    bench.stream.trouble = StreamUnavailableError("down")
    assert (await service.once(stop)).stopped


async def test_an_extractor_beside_another_shows_no_trouble_of_its_own(bench: Bench) -> None:
    bench.source.trouble = SourceUnavailableError("down")
    service = quickly(bench.service())
    async with served(service):
        await until(lambda: service.troubles.by_pipeline() != {})
        bench.source.trouble = None
        token = await bench.registry.acquire(NAME, "other", 60)
        await bench.registry.set_trouble(NAME, "the other one's")
        if token is not None:  # else this one was quicker
            await until(lambda: service.troubles.by_pipeline() == {})
            assert bench.store.pipelines[NAME].trouble == "the other one's"


async def test_a_pipeline_without_cursor_is_not_read_again_by_every_extractor(bench: Bench) -> None:
    bench.insert(1)
    one, other = bench.service(owner="one", cursor=None), bench.service(owner="other", cursor=None)
    async with served(one):
        await rested(one)
    bench.store.last_runs.clear()  # as after an upgrade: the snapshot itself is known
    async with served(other):
        await until(lambda: other._wanted is None and other._proven)
    assert snapshots(bench) == 1
    assert await other._run(Stop(), Wanted(asked=True), patient=True) is not None
    assert snapshots(bench) == 2


async def test_a_lost_lease_ends_the_record_of_its_run(bench: Bench) -> None:
    bench.insert(*range(1, 13))

    async def stolen() -> None:
        if bench.sequence == 2:
            await bench.registry.reset(NAME, lanes=2, reason="stolen")

    assert await bench.service(room=stolen)._run(Stop(), Wanted(), patient=True) is None
    (record,) = (await bench.runs.page(Query())).items
    assert record.ended_at is not None
    assert record.error is not None


async def test_an_idle_pipeline_says_so_once_a_minute_and_costs_no_lease_meanwhile(bench: Bench) -> None:
    bench.insert(1)
    use_case = bench.use_case()
    await use_case.run()
    token, sequence = bench.store.pipelines[NAME].token, bench.sequence
    assert not await use_case.keep_alive()
    assert bench.store.pipelines[NAME].token == token
    bench.pass_time(timedelta(minutes=1))
    assert await use_case.keep_alive()
    assert bench.sequence == sequence + 1
    assert bench.envelopes()[-1].mode is Mode.INCREMENTAL


async def test_a_process_that_dies_in_a_requested_run_leaves_the_request(bench: Bench) -> None:
    await bench.use_case().run()
    bench.pass_time(timedelta(minutes=1))
    bench.insert(1, 2, 3)
    bench.pass_time(timedelta(minutes=1))
    await bench.registry.request_run(NAME, "incremental")
    reading = asyncio.Event()

    def die(_: ReadRequest) -> None:
        reading.set()
        raise SourceUnavailableError("its process is gone in the same moment")

    bench.source.before_read = die
    service = bench.service()
    async with served(service) as task:
        await asyncio.wait_for(reading.wait(), 10)
        task.cancel()
    bench.source.before_read = None
    assert bench.store.pipelines[NAME].run_requested
    async with served(bench.service()):
        await until(lambda: not bench.store.pipelines[NAME].run_requested)
    assert bench.sent_ids() == {1, 2, 3}


async def test_a_request_that_comes_while_a_run_works_is_a_run_of_its_own(bench: Bench) -> None:
    await bench.registry.request_run(NAME, None)
    request = await bench.registry.run_request(NAME)
    assert request is not None
    await bench.registry.request_run(NAME, "snapshot")
    await bench.registry.run_made(NAME, request)
    later = await bench.registry.run_request(NAME)
    assert later is not None
    assert later.mode == "snapshot"


async def test_an_idle_pipeline_asks_the_database_nothing_of_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = bench.registry.run_request

    async def counted(pipeline: PipelineName) -> RunRequest | None:
        nonlocal looks
        looks += 1
        return await look(pipeline)

    monkeypatch.setattr(bench.registry, "run_request", counted)
    service = bench.service()
    async with served(service):
        await rested(service)
        await until(lambda: bench.board.asked(NAME) == Asked())
        before = looks
        seen = bench.store._requests
        await bench.store._until(lambda: bench.store._requests != seen, 0.2)  # nobody asks for anything
        assert looks == before
        await bench.registry.request_run(NAME, "snapshot")
        await until(lambda: snapshots(bench) == 2)
    assert looks > before


def test_a_wanted_run_knows_its_cause() -> None:
    assert Wanted().cause == "schedule"
    assert Wanted(asked=True, forced=ForcedMode.SNAPSHOT).cause == "request"
