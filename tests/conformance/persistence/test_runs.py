"""The history of runs."""

from datetime import timedelta
from typing import Any

from qupersync_extractor.application.runs import INTERRUPTED, RunCounts
from qupersync_shared.kernel.ids import PipelineName, RunId, uuid7

ORDERS, COSTS = PipelineName("orders"), PipelineName("costs")


async def test_a_run_is_recorded_from_start_to_end(persistence: Any) -> None:
    run = RunId(uuid7())
    await persistence.runs.start(run, ORDERS, mode="snapshot", cause="schedule", trace_id="ab" * 16)
    (working,) = await persistence.runs.latest()
    assert (working.id, working.mode, working.cause, working.ended_at) == (run, "snapshot", "schedule", None)
    counts = RunCounts(pages=3, rows=2**40, bytes=9)
    await persistence.runs.end(run, counts=counts, error="source: NUL \0")
    await persistence.runs.end(run, counts=RunCounts(), error=None)  # it has ended: this is nobody's business
    (ended,) = await persistence.runs.latest()
    assert (ended.counts, ended.trace_id) == (counts, "ab" * 16)
    assert ended.error.startswith("source: NUL")
    assert ended.ended_at >= ended.started_at == working.started_at


async def test_a_run_that_never_ended_is_interrupted_by_the_next(persistence: Any) -> None:
    lost, other, new = (RunId(uuid7()) for _ in range(3))
    for run, pipeline in ((lost, ORDERS), (other, COSTS), (new, ORDERS)):
        await persistence.runs.start(run, pipeline, mode="incremental", cause="schedule")
    assert {run.id: run.error for run in await persistence.runs.latest()} == {lost: INTERRUPTED, other: None, new: None}


async def test_runs_are_listed_page_by_page_latest_first(persistence: Any) -> None:
    runs = [RunId(uuid7()) for _ in range(7)]
    for number, run in enumerate(runs):
        await persistence.runs.start(run, COSTS if number == 3 else ORDERS, mode="incremental", cause="schedule")
    seen: list[RunId] = []
    while page := await persistence.runs.latest(limit=3, before=seen[-1] if seen else None):
        seen += [run.id for run in page]
    assert seen == runs[::-1]
    assert [run.id for run in await persistence.runs.latest(COSTS)] == [runs[3]]
    assert await persistence.runs.latest(before=RunId(uuid7())) == []


async def test_old_runs_are_forgotten_but_not_one_that_works(persistence: Any) -> None:
    ended, working, recent = (RunId(uuid7()) for _ in range(3))
    await persistence.runs.start(ended, ORDERS, mode="incremental", cause="schedule")
    await persistence.runs.end(ended, counts=RunCounts())
    await persistence.runs.start(working, COSTS, mode="incremental", cause="schedule")
    await persistence.pass_time(7200)
    await persistence.runs.start(recent, ORDERS, mode="incremental", cause="schedule")
    await persistence.runs.end(recent, counts=RunCounts())
    assert await persistence.runs.forget(older_than=timedelta(hours=1)) == 1
    assert {run.id for run in await persistence.runs.latest()} == {working, recent}


async def test_of_a_pipeline_only_the_newest_runs_are_kept(persistence: Any) -> None:
    runs = [RunId(uuid7()) for _ in range(9)]
    for number, run in enumerate(runs):
        await persistence.runs.start(run, COSTS if number in (1, 4) else ORDERS, mode="incremental", cause="schedule")
        await persistence.runs.end(run, counts=RunCounts())
    working = RunId(uuid7())
    await persistence.runs.start(working, ORDERS, mode="incremental", cause="schedule")
    assert await persistence.runs.forget(older_than=timedelta(days=1), newest=20) == 0
    assert await persistence.runs.forget(older_than=timedelta(days=1), newest=3) == 5
    kept = [run.id for run in await persistence.runs.latest()]
    assert kept == [working, runs[8], runs[7], runs[4], runs[1]]
    assert await persistence.runs.forget(older_than=timedelta(days=1), newest=3) == 0
