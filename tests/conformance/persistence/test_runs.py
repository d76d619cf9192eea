"""The history of runs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from qupersync_extractor.application.runs import INTERRUPTED, RunCounts, RunRecord
from qupersync_shared.kernel.ids import PipelineName, RunId, uuid7
from qupersync_shared.runtime.records import BadCursorError, Query, UnknownFieldError

ORDERS, COSTS = PipelineName("orders"), PipelineName("costs")


async def test_a_run_is_recorded_from_start_to_end(persistence: Any) -> None:
    run = RunId(uuid7())
    await persistence.runs.start(run, ORDERS, mode="snapshot", cause="schedule", trace_id="ab" * 16)
    (working,) = await _all(persistence)
    assert (working.id, working.mode, working.cause, working.ended_at) == (run, "snapshot", "schedule", None)
    counts = RunCounts(pages=3, rows=2**40, bytes=9)
    await persistence.runs.end(run, counts=counts, error="source: NUL \0")
    await persistence.runs.end(run, counts=RunCounts(), error=None)  # it has ended: this is nobody's business
    (ended,) = await _all(persistence)
    assert (ended.counts, ended.trace_id) == (counts, "ab" * 16)
    assert ended.error.startswith("source: NUL")
    assert ended.ended_at >= ended.started_at == working.started_at


async def test_a_run_that_never_ended_is_interrupted_by_the_next(persistence: Any) -> None:
    lost, other, new = (RunId(uuid7()) for _ in range(3))
    for run, pipeline in ((lost, ORDERS), (other, COSTS), (new, ORDERS)):
        await persistence.runs.start(run, pipeline, mode="incremental", cause="schedule")
    assert {run.id: run.error for run in await _all(persistence)} == {lost: INTERRUPTED, other: None, new: None}


async def _all(persistence: Any) -> tuple[RunRecord, ...]:
    items: tuple[RunRecord, ...] = (await persistence.runs.page(Query())).items
    return items


async def test_runs_are_listed_page_by_page_latest_first(persistence: Any) -> None:
    runs = [RunId(uuid7()) for _ in range(7)]
    for number, run in enumerate(runs):
        await persistence.runs.start(run, COSTS if number == 3 else ORDERS, mode="incremental", cause="schedule")
    seen: list[RunId] = []
    query = Query(limit=3)
    while True:
        page = await persistence.runs.page(query)
        seen += [run.id for run in page.items]
        if page.next_cursor is None:
            break
        # What begins meanwhile is newer than every page behind the first.
        await persistence.runs.start(RunId(uuid7()), ORDERS, mode="incremental", cause="meanwhile")
        query = replace(query, cursor=page.next_cursor)
    assert seen == runs[::-1]


async def test_runs_are_filtered_and_sorted_by_what_is_allowed(persistence: Any) -> None:
    failed, done, works = (RunId(uuid7()) for _ in range(3))
    await persistence.runs.start(failed, COSTS, mode="incremental", cause="schedule")
    await persistence.runs.end(failed, counts=RunCounts(), error="no")
    await persistence.runs.start(done, ORDERS, mode="snapshot", cause="request")
    await persistence.runs.end(done, counts=RunCounts())
    await persistence.runs.start(works, ORDERS, mode="incremental", cause="schedule")

    async def ids(sort: str | None = None, **filters: Any) -> list[RunId]:
        return [run.id for run in (await persistence.runs.page(Query(filters=filters, sort=sort))).items]

    assert await ids(pipeline="orders") == [works, done]
    assert [await ids(status=status) for status in ("failed", "succeeded", "running")] == [[failed], [done], [works]]
    assert await ids(cause="schedule", sort="started_at") == [failed, works]
    assert await ids(sort="pipeline") == [failed, done, works]
    moment = next(run.started_at for run in await _all(persistence) if run.id == done)
    assert await ids(since=moment) == [works, done]
    assert await ids(before=moment.isoformat()) == [failed]
    for query in (
        Query(filters={"error": "no"}),
        Query(sort="rows"),
        Query(filters={"status": "lost"}),
        Query(limit=0),
    ):
        with pytest.raises(UnknownFieldError):
            await persistence.runs.page(query)


async def test_a_cursor_goes_on_in_its_own_list_only(persistence: Any) -> None:
    for _ in range(3):
        await persistence.runs.start(RunId(uuid7()), ORDERS, mode="incremental", cause="schedule")
    cursor = (await persistence.runs.page(Query(limit=1))).next_cursor
    for other in (
        Query(cursor=cursor, sort="started_at"),
        Query(cursor=cursor, filters={"pipeline": "orders"}),
        Query(cursor=cursor[:-2] + "xx"),
        Query(cursor="not a cursor"),
    ):
        with pytest.raises(BadCursorError):
            await persistence.runs.page(other)


async def test_old_runs_are_forgotten_but_not_one_that_works(persistence: Any) -> None:
    ended, working, recent = (RunId(uuid7()) for _ in range(3))
    await persistence.runs.start(ended, ORDERS, mode="incremental", cause="schedule")
    await persistence.runs.end(ended, counts=RunCounts())
    await persistence.runs.start(working, COSTS, mode="incremental", cause="schedule")
    await persistence.pass_time(7200)
    await persistence.runs.start(recent, ORDERS, mode="incremental", cause="schedule")
    await persistence.runs.end(recent, counts=RunCounts())
    assert await persistence.runs.forget(older_than=timedelta(hours=1)) == 1
    assert {run.id for run in await _all(persistence)} == {working, recent}


async def test_of_a_pipeline_only_the_newest_runs_are_kept(persistence: Any) -> None:
    runs = [RunId(uuid7()) for _ in range(9)]
    for number, run in enumerate(runs):
        await persistence.runs.start(run, COSTS if number in (1, 4) else ORDERS, mode="incremental", cause="schedule")
        await persistence.runs.end(run, counts=RunCounts())
    working = RunId(uuid7())
    await persistence.runs.start(working, ORDERS, mode="incremental", cause="schedule")
    assert await persistence.runs.forget(older_than=timedelta(days=1), newest=20) == 0
    assert await persistence.runs.forget(older_than=timedelta(days=1), newest=3) == 5
    kept = [run.id for run in await _all(persistence)]
    assert kept == [working, runs[8], runs[7], runs[4], runs[1]]
    assert await persistence.runs.forget(older_than=timedelta(days=1), newest=3) == 0
