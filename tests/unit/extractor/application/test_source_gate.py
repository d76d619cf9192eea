"""What stands before the source: turns within the budget, maintenance between pages, and what is told meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.unit.extractor.application.bench import NAME, TABLE, Bench, no_wait, pipeline

from qupersync_extractor.application import asking, guarding, serving, source_gate
from qupersync_extractor.application.additions import Added
from qupersync_extractor.application.budget import ByteBudget
from qupersync_extractor.application.guarding import SourceGuard, guard_of
from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.application.relation import row_schema
from qupersync_extractor.application.serving import PipelineService
from qupersync_extractor.application.source_gate import Calendar, MaintenanceError
from qupersync_extractor.application.source_turns import SourceTurns
from qupersync_extractor.application.source_use import EndedRead, Own, SourceRead
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.domain.maintenance import Window, Windows
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_extractor.domain.source_budget import Amount, SourceLimits
from qupersync_extractor.infrastructure.memory.source_use import MemorySourceUse
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.kernel.errors import SourceUnavailableError, TransientError
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.runtime.lifecycle import Stop

ONE = SourceLimits(reads=1)
# The benches' clocks begin at 12:00.
AFTERNOON = Windows((Window(begins=time(13), ends=time(14), zone=ZoneInfo("UTC")),))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_gate, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(asking, "POLL_SECONDS", 0.05)


@dataclass
class Guarded:
    """A bench whose processes stand behind one budget and the same windows."""

    limits: SourceLimits = ONE
    windows: Windows = field(default_factory=Windows)
    bench: Bench = field(default_factory=Bench)
    guards: list[SourceGuard] = field(default_factory=list)

    def guard(self, owner: str = "one", troubles: Troubles | None = None) -> SourceGuard:
        use = MemorySourceUse(self.bench.store)
        turns = SourceTurns(use=use, owner=owner, limits=self.limits, seconds=30)
        made = guard_of(Calendar(windows=self.windows, clock=self.bench.clock), turns, troubles or Troubles())
        assert made is not None
        self.guards.append(made)
        return made

    async def occupy(self) -> SourceRead:
        """Somebody else reads, and has the only turn."""
        read = SourceRead(id=uuid7(), pipeline=PipelineName("other"), expected=Amount())
        use = MemorySourceUse(self.bench.store)
        standing = await use.settle("somebody else", Own(waiting=(read,)), self.limits, seconds=3600)
        assert standing.begun("somebody else") == {read.id}
        return read

    async def free(self, read: SourceRead, *, rows: int = 0) -> None:
        ended = EndedRead(id=read.id, took=Amount(rows=rows))
        await MemorySourceUse(self.bench.store).settle("somebody else", Own(ended=(ended,)), self.limits, seconds=3600)


@asynccontextmanager
async def guarded(**options: Any) -> AsyncIterator[Guarded]:
    made = Guarded(**options)
    await made.bench.registered()
    try:
        yield made
    finally:
        for guard in made.guards:
            await guard.close()
        assert made.bench.store.source_reads.keys() <= {
            id_ for id_, row in made.bench.store.source_reads.items() if row.read.owner == "somebody else"
        }


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # the adapters in memory have no signal for everything
            await asyncio.sleep(0.01)


def test_nobody_stands_before_the_source_where_nothing_is_configured() -> None:
    bench = Bench()
    turns = SourceTurns(use=MemorySourceUse(bench.store), owner="one", limits=SourceLimits(), seconds=30)
    assert guard_of(Calendar(windows=Windows(), clock=bench.clock), turns, Troubles()) is None
    windows_only = guard_of(Calendar(windows=AFTERNOON, clock=bench.clock), turns, Troubles())
    assert windows_only is not None
    assert windows_only.turns is None


async def test_runs_with_one_turn_for_all_read_everything_one_after_the_other() -> None:
    async with guarded() as made:
        made.bench.insert(*range(1, 23))
        at_once: list[int] = []

        def look(_: ReadRequest) -> None:
            reading = [row for row in made.bench.store.source_reads.values() if row.read.began_at is not None]
            at_once.append(len(reading))

        made.bench.source.before_read = look
        first = made.bench.use_case(owner="one", guard=made.guard("one"))
        other = made.bench.use_case(owner="two", guard=made.guard("two"))
        async with asyncio.timeout(20):
            await first.run()
            await asyncio.gather(first.run(forced=ForcedMode.SNAPSHOT), other.run(forced=ForcedMode.SNAPSHOT))
        assert made.bench.sent_ids() == set(range(1, 23))
        assert set(at_once) == {1}


async def test_what_a_page_took_is_booked() -> None:
    async with guarded(limits=SourceLimits(reads=1, rows_per_minute=10**6)) as made:
        made.bench.insert(1, 2)
        made.bench.store.advance(60 - made.bench.store.now().second)  # a minute has just begun
        guard = made.guard()
        source = guard.of_runs(made.bench.source, NAME)
        schema = await row_schema(source, pipeline())
        await source.read(ReadRequest(relation=TABLE, schema=schema, range=KeyRange(after=None), limit=100))
        assert await source.count_nulls(TABLE, ["note"]) == {"note": 0}
        await guard.close()
        minute = made.bench.store.source_minute
        assert minute is not None
        assert minute.used.rows == 3
        assert minute.used.bytes > 0


async def test_a_run_that_waits_says_why_and_goes_on_when_it_is_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with guarded() as made:
        made.bench.insert(1, 2)
        troubles = Troubles()
        theirs = await made.occupy()
        running = asyncio.create_task(made.bench.use_case(guard=made.guard(troubles=troubles)).run())
        monkeypatch.setattr(guarding, "NOTICE_SECONDS", 0.0)
        await until(lambda: "source.budget.reads is 1" in str(troubles.notices()))
        assert troubles.by_pipeline() == {}
        monkeypatch.setattr(guarding, "TROUBLE_SECONDS", 0.0)
        await until(lambda: "Raise it" in str(troubles.by_pipeline()))
        assert troubles.notices() == {}
        assert made.bench.records() == []
        await made.free(theirs)
        await running
        assert made.bench.sent_ids() == {1, 2}
        assert (troubles.by_pipeline(), troubles.notices()) == ({}, {})


async def test_a_run_that_waits_for_its_turn_heeds_the_stop_and_leaves_the_queue() -> None:
    async with guarded() as made:
        await made.occupy()
        stop = Stop()
        running = asyncio.create_task(made.bench.use_case(guard=made.guard()).run(stop=stop))
        await until(lambda: len(made.bench.store.source_reads) == 2)
        stop.request()
        assert (await running).stopped
        await until(lambda: len(made.bench.store.source_reads) == 1)


async def test_while_the_database_is_away_reads_wait_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "NOTICE_SECONDS", 0.0)
    async with guarded() as made:
        made.bench.insert(1)
        troubles = Troubles()
        guard = made.guard(troubles=troubles)
        source = guard.of_runs(made.bench.source, NAME)
        schema = await row_schema(source, pipeline())
        made.bench.store.unavailable = "it is being restarted"
        request = ReadRequest(relation=TABLE, schema=schema, range=KeyRange(after=None), limit=100)
        reading = asyncio.create_task(source.read(request))
        await until(lambda: "it is being restarted" in str(troubles.notices()))
        assert made.bench.source.reads == []
        made.bench.store.unavailable = None
        assert (await reading).num_rows == 1
        assert troubles.notices() == {}


async def test_a_defect_of_the_books_is_told_to_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with guarded() as made:
        guard = made.guard()

        async def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError("a defect")

        with monkeypatch.context() as patch:
            patch.setattr(MemorySourceUse, "settle", broken)
            with pytest.raises(TransientError, match="a defect"):
                await guard.of_runs(made.bench.source, NAME).count_nulls(TABLE, ["note"])
        assert await guard.of_runs(made.bench.source, NAME).count_nulls(TABLE, ["note"]) == {"note": 0}


async def test_who_waits_for_a_turn_holds_no_memory_and_scores_are_computed_without_one() -> None:
    class Slow:
        columns: tuple[Column, ...] = ()
        identity = "slow"

        async def open(self, _: RowSchema) -> "Slow":
            return self

        async def apply(self, _: object) -> Added:
            computing.set()
            await computed.wait()
            return Added(columns=())

    computing, computed = asyncio.Event(), asyncio.Event()
    async with guarded() as made:
        made.bench.insert(1)
        theirs = await made.occupy()
        source = made.guard().of_runs(made.bench.source, NAME)
        memory = ByteBudget(1 << 20)
        sizer = PageSizer(rows_max=5, page_bytes_max=1 << 20, event_bytes_max=900_000)
        reader = PageReader(
            pipeline(), source, sizer, room=no_wait, budget=memory, additions=Slow(), admitted=source.admitted
        )
        described = await reader.describe()
        reading = asyncio.create_task(reader.read(described.schema, KeyRange(after=None)))
        await until(lambda: len(made.bench.store.source_reads) == 2)
        assert memory.used == 0
        await made.free(theirs)
        await computing.wait()
        assert memory.used > 0
        await until(lambda: made.bench.store.source_reads == {})
        computed.set()
        (await reading).done()
        assert memory.used == 0


# ---------------------------------------------------------------------------------------------------- maintenance


async def test_maintenance_ends_a_run_after_its_page_and_the_next_goes_on_there() -> None:
    async with guarded(limits=SourceLimits(), windows=AFTERNOON) as made:
        made.bench.insert(*range(1, 23))

        def noon_passes(_: ReadRequest) -> None:
            if len(made.bench.source.reads) == 2:
                made.bench.pass_time(timedelta(hours=1))

        made.bench.source.before_read = noon_passes
        use_case = made.bench.use_case(guard=made.guard())
        assert (await use_case.run()).stopped
        committed = made.bench.sent_ids()
        assert 0 < len(committed) < 22
        reads = len(made.bench.source.reads)
        assert (await use_case.run()).stopped
        assert len(made.bench.source.reads) == reads
        made.bench.pass_time(timedelta(hours=1))
        assert not (await use_case.run()).stopped
        assert made.bench.sent_ids() == set(range(1, 23))


async def test_in_maintenance_the_source_is_asked_nothing_at_all() -> None:
    async with guarded(windows=AFTERNOON) as made:
        made.bench.pass_time(timedelta(hours=1))
        made.bench.source.trouble = SourceUnavailableError("it is down")
        source = made.guard().of_runs(made.bench.source, NAME)
        for ask in (source.clock(), source.describe(TABLE), source.count_duplicate_keys(TABLE, ["id"])):
            with pytest.raises(MaintenanceError, match=r"maintenance until 14:00 UTC: nothing is read"):
                await ask


async def test_a_window_that_opens_while_a_run_waits_for_its_turn_ends_it() -> None:
    async with guarded(windows=AFTERNOON) as made:
        await made.occupy()
        running = asyncio.create_task(made.bench.use_case(guard=made.guard()).run())
        await until(lambda: len(made.bench.store.source_reads) == 2)
        made.bench.pass_time(timedelta(hours=1))
        assert (await running).stopped


async def test_a_comparison_waits_until_maintenance_is_over() -> None:
    async with guarded(windows=AFTERNOON) as made:
        told: list[str | None] = []
        made.bench.pass_time(timedelta(hours=1))
        source, _ = made.guard().of_comparison(
            made.bench.source,
            None,  # type: ignore[arg-type]  # not asked here
            NAME,
            lambda reason, _: told.append(reason),
        )
        asking = asyncio.create_task(source.count_nulls(TABLE, ["note"]))
        await until(lambda: bool(told))
        made.bench.pass_time(timedelta(hours=1))
        assert await asking == {"note": 0}
        assert "maintenance until 14:00 UTC" in str(told[0])
        assert told[-1] is None


@asynccontextmanager
async def served(service: PipelineService) -> AsyncIterator[None]:
    stop = Stop()
    task = asyncio.create_task(service.serve(stop))
    listening = asyncio.create_task(service.board.listen(stop))
    try:
        yield
    finally:
        stop.request()
        async with asyncio.timeout(5):
            await asyncio.gather(task, listening, return_exceptions=True)


async def test_a_served_pipeline_rests_in_maintenance_gives_signs_of_life_and_makes_its_run_afterwards() -> None:
    async with guarded(limits=SourceLimits(), windows=AFTERNOON) as made:
        bench = made.bench
        guard = made.guard()
        service = bench.service(bench.use_case(guard=guard))
        service.closed = guard.calendar.words
        async with served(service):
            await until(lambda: service._proven and service._wanted is None)
            bench.insert(1)
            sequence = bench.sequence
            bench.pass_time(timedelta(hours=1))
            await until(lambda: bench.sequence > sequence)  # a sign of life
            assert "maintenance until 14:00 UTC" in str(service.troubles.notices())
            await bench.registry.request_run(NAME, "snapshot")
            await until(lambda: service._request is not None)
            bench.source.trouble = SourceUnavailableError("it is down, as it may be now")
            await asyncio.sleep(0.1)  # several turns of its loop
            assert service.troubles.by_pipeline() == {}
            assert bench.sent_ids() == set()
            bench.source.trouble = None
            bench.pass_time(timedelta(hours=1))
            await until(lambda: bench.sent_ids() == {1})
            await until(lambda: not bench.store.pipelines[NAME].run_requested)
            assert service.troubles.notices() == {}


async def test_what_maintenance_does_to_a_read_under_way_is_no_trouble() -> None:
    async with guarded(limits=SourceLimits(), windows=AFTERNOON) as made:
        bench = made.bench
        guard = made.guard()
        service = bench.service(bench.use_case(guard=guard))
        service.closed = guard.calendar.words
        bench.insert(1)
        seen = asyncio.Event()

        def goes_down(_: ReadRequest) -> None:
            if not seen.is_set():
                seen.set()
                bench.pass_time(timedelta(hours=1))
                raise SourceUnavailableError("the cluster restarts")

        bench.source.before_read = goes_down
        async with served(service):
            await seen.wait()
            await until(lambda: bool(service.troubles.notices()))
            assert service.troubles.by_pipeline() == {}
            bench.pass_time(timedelta(hours=1))
            await until(lambda: bench.sent_ids() == {1})
