"""What the history keeps of runs: their pages and modes, and failures before the first page, once for all attempts."""

from datetime import timedelta

import pytest
from tests.unit.extractor.application.bench import NAME, Bench

from qupersync_extractor.application import recording
from qupersync_extractor.application.recording import RunRecorder
from qupersync_extractor.application.runs import RunRecord, RunSpan, RunStatus
from qupersync_extractor.application.serving import Wanted
from qupersync_shared.kernel.errors import SourceUnavailableError
from qupersync_shared.kernel.ids import Log, PipelineName, Sequence
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.records import Query


@pytest.fixture
async def bench() -> Bench:
    return await Bench().registered()


async def _runs(bench: Bench) -> tuple[RunRecord, ...]:
    return (await bench.runs.page(Query())).items


async def test_a_run_says_what_it_wrote(bench: Bench) -> None:
    bench.insert(*range(1, 8))
    service = bench.service()
    await service._run(Stop(), Wanted(), patient=True)
    (run,) = await _runs(bench)
    assert run.span == RunSpan(log=Log(1), first=Sequence(1), last=Sequence(bench.sequence))
    assert (run.status, run.counts.pages, run.mode) == (RunStatus.SUCCEEDED, bench.sequence, "snapshot,incremental")
    lines = bench.store.ledger.pages.values()
    assert {page.line.run for page in lines} == {run.id}
    assert sum(page.line.rows for page in lines) == run.counts.rows
    assert sum(page.line.rows for page in lines if page.line.mode == "snapshot") == 7


async def test_a_long_run_is_followed_while_it_works(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "TELL_SECONDS", 0.0)
    bench.insert(*range(1, 8))
    seen: list[int] = []

    async def look() -> None:
        seen.extend(run.counts.pages for run in await _runs(bench))

    await bench.service(room=look)._run(Stop(), Wanted(), patient=True)
    assert max(seen) > 1


async def test_a_sign_of_life_has_a_line_and_no_run(bench: Bench) -> None:
    bench.insert(1)
    use_case = bench.use_case()
    await use_case.run()
    bench.pass_time(timedelta(minutes=1))
    assert await use_case.keep_alive()
    line = bench.store.ledger.pages[(NAME, Log(1), Sequence(bench.sequence))].line
    assert (line.mode, line.run, line.rows) == ("heartbeat", None, 0)


async def test_runs_that_fail_before_their_first_page_are_one_record(bench: Bench) -> None:
    service = bench.service()
    bench.source.trouble = SourceUnavailableError("it is down")
    for _ in range(3):
        assert await service._run(Stop(), Wanted(), patient=True) is None
    (failed,) = await _runs(bench)
    assert (failed.status, failed.attempts, failed.counts.pages) == (RunStatus.FAILED, 3, 0)
    assert "it is down" in str(failed.error)
    bench.source.trouble = None
    bench.insert(1)
    await service._run(Stop(), Wanted(asked=True), patient=True)
    ended, _ = await _runs(bench)
    assert (ended.status, ended.cause, ended.attempts) == (RunStatus.SUCCEEDED, "request", 1)


async def test_a_run_that_finds_nothing_leaves_no_record(bench: Bench) -> None:
    service = bench.service()
    await service._run(Stop(), Wanted(), patient=True)
    before = len(await _runs(bench))
    await service._run(Stop(), Wanted(), patient=True)
    assert len(await _runs(bench)) == before


async def test_a_history_that_cannot_be_written_stops_no_run(bench: Bench) -> None:
    recorder = RunRecorder(pipeline=PipelineName("orders"), runs=bench.runs, clock=bench.clock)
    recorder.begin(cause="schedule")
    bench.store.unavailable = "the database is away"
    await recorder.failed("it is down")
    bench.store.unavailable = None
    assert await _runs(bench) == ()
    await recorder.ended("nobody's fault")
    assert await _runs(bench) == ()
