"""The history of runs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from qupersync_extractor.application.runs import INTERRUPTED, STREAK_RECORDS_MAX, RunCounts, RunRecord, RunSpan
from qupersync_shared.kernel.ids import Log, PipelineName, RunId, Sequence, uuid7
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


def _span(log: int, first: int, last: int) -> RunSpan:
    return RunSpan(log=Log(log), first=Sequence(first), last=Sequence(last))


async def test_a_run_says_which_sequences_it_wrote_in_which_modes_and_since_when(persistence: Any) -> None:
    run = RunId(uuid7())
    await persistence.runs.start(run, ORDERS, mode="snapshot", cause="schedule", seconds=90.0, span=_span(1, 7, 7))
    (working,) = await _all(persistence)
    assert working.span == _span(1, 7, 7)
    await persistence.runs.advance(run, counts=RunCounts(pages=2), mode="snapshot", span=_span(1, 7, 8))
    (working,) = await _all(persistence)
    assert (working.span, working.counts.pages, working.status) == (_span(1, 7, 8), 2, "running")
    await persistence.runs.end(run, counts=RunCounts(pages=3), mode="snapshot,incremental", span=_span(2, 1, 3))
    (ended,) = await _all(persistence)
    await persistence.runs.advance(run, counts=RunCounts(), mode="")  # it has ended
    assert await _all(persistence) == (ended,)
    assert (ended.mode, ended.span, ended.attempts) == ("snapshot,incremental", _span(2, 1, 3), 1)
    assert ended.ended_at - ended.started_at >= timedelta(seconds=90)
    assert [found.id for found in (await persistence.runs.page(Query(filters={"id": str(run)}))).items] == [run]


async def _fail(persistence: Any, error: str, *, pipeline: PipelineName = ORDERS, seconds: float = 0.0) -> None:
    run = RunId(uuid7())
    await persistence.runs.fail(run, pipeline, mode="", cause="schedule", error=error, seconds=seconds)


async def test_a_run_that_fails_again_and_again_before_its_first_page_is_one_record(persistence: Any) -> None:
    for _ in range(3):
        await _fail(persistence, "source: no \0 right")
    await _fail(persistence, "source: it is down", seconds=5.0)
    await _fail(persistence, "source: no \0 right")
    await _fail(persistence, "source: it is down", pipeline=COSTS)
    costs, refused, down = await _all(persistence)
    assert [(run.pipeline, run.attempts) for run in (costs, refused, down)] == [(COSTS, 1), (ORDERS, 4), (ORDERS, 1)]
    assert refused.error.startswith("source: no")
    assert (refused.status, refused.span, refused.counts) == ("failed", None, RunCounts())
    assert refused.ended_at >= down.ended_at
    assert down.ended_at - down.started_at >= timedelta(seconds=5)


async def test_reasons_that_differ_each_time_do_not_fill_the_history(persistence: Any) -> None:
    for number in range(3 * STREAK_RECORDS_MAX):
        await _fail(persistence, f"port {number} is closed")
    runs = await _all(persistence)
    assert len(runs) == STREAK_RECORDS_MAX
    assert sum(run.attempts for run in runs) == 3 * STREAK_RECORDS_MAX
    assert f"port {3 * STREAK_RECORDS_MAX - 1} is closed" in {run.error for run in runs}


async def test_a_run_with_pages_ends_a_streak_of_failures(persistence: Any) -> None:
    await _fail(persistence, "no")
    run = RunId(uuid7())
    await persistence.runs.start(run, ORDERS, mode="snapshot", cause="schedule", span=_span(1, 1, 1))
    await persistence.runs.end(run, counts=RunCounts(pages=1), error="no")
    await _fail(persistence, "no")
    await _fail(persistence, "no")
    assert [(found.error, found.attempts) for found in await _all(persistence)] == [("no", 2), ("no", 1), ("no", 1)]


async def test_a_streak_that_lasts_is_not_old(persistence: Any) -> None:
    await _fail(persistence, "no")
    await persistence.pass_time(7200)
    await _fail(persistence, "no")
    assert await persistence.runs.forget(older_than=timedelta(hours=1)) == 0
    (kept,) = await _all(persistence)
    assert kept.attempts == 2
    assert kept.ended_at - kept.started_at >= timedelta(hours=2)
