"""The ledger: what became of every page, and where a pipeline's pages are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qupersync_extractor.application.observing import Stand
from qupersync_extractor.domain.records import LedgerLine
from qupersync_extractor.domain.whereabouts import Hop, PageState, Reached, Waiting
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, Sequence, uuid7
from qupersync_shared.runtime.records import BadCursorError, Query, UnknownFieldError

from .conftest import LANES, PIPELINE, Writer
from .ledger_book import MAIN, REPORTS, Book

COSTS = PipelineName("costs")
WEEK = timedelta(days=7)


@pytest.fixture
async def book(persistence: Any) -> Book:
    return await Book(persistence).open()


async def test_a_page_stands_in_the_ledger_with_its_transaction(persistence: Any, book: Book) -> None:
    run = uuid7()
    await book.page(mode="snapshot", run=run, rows=7)
    (entry,) = await book.entries()
    assert (entry.pipeline, entry.log, entry.sequence, entry.run, entry.mode) == (PIPELINE, 1, 1, run, "snapshot")
    assert (entry.rows, entry.bytes, entry.state, entry.published_at) == (7, 2**33, PageState.EXTRACTED, None)
    assert (entry.applied, entry.waits_for) == ({}, ())


async def test_promise_o_a_page_that_is_not_committed_leaves_no_line(persistence: Any, writer: Writer) -> None:
    line = LedgerLine(
        pipeline=PIPELINE, log=Log(1), sequence=Sequence(1), run=None, mode="incremental", rows=1, bytes=1
    )
    async with persistence.unit_of_work() as work:
        await work.extractions.lock(PIPELINE, writer.token)
        await work.outbox.add([writer.record(0, 1)], line)
    assert (await persistence.ledger.pages(Query())).items == ()


async def test_a_line_that_is_there_keeps_no_page_from_being_committed(persistence: Any, writer: Writer) -> None:
    line = LedgerLine(
        pipeline=PIPELINE, log=Log(1), sequence=Sequence(1), run=None, mode="incremental", rows=1, bytes=1
    )
    for rows in (1, 2):
        async with persistence.unit_of_work() as work:
            await work.extractions.lock(PIPELINE, writer.token)
            await work.outbox.add([writer.record(rows - 1, 1)], replace(line, rows=rows))
            await work.commit()
    (entry,) = (await persistence.ledger.pages(Query())).items
    assert entry.rows == 1
    assert len(await persistence.outbox.next_records(PIPELINE, Lane(1), Log(1), after=0, limit=9, bytes_max=99)) == 1


async def test_a_page_passes_a_hop_at_the_first_mark_that_is_not_below_it(persistence: Any, book: Book) -> None:
    await book.pages(4)
    await book.published(2, 1)
    await book.published(3, 4)
    await book.applied(2)
    await book.applied(1, group=REPORTS)
    four, three, two, one = await book.entries()
    assert [entry.state for entry in (four, three, two, one)] == [
        PageState.EXTRACTED,
        PageState.PUBLISHED,
        PageState.PUBLISHED,
        PageState.APPLIED,
    ]
    assert one.published_at < two.published_at == three.published_at
    assert four.published_at is None
    assert (one.waits_for, two.waits_for, four.waits_for) == ((), (REPORTS,), (MAIN, REPORTS))
    assert set(two.applied) == {MAIN}
    assert one.applied[MAIN] == two.applied[MAIN]
    assert one.extracted_at <= one.published_at <= min(one.applied.values())
    assert one.publish_seconds >= 0
    assert set(one.apply_seconds) == {MAIN, REPORTS}


async def test_marks_are_made_once_however_many_look(persistence: Any, book: Book) -> None:
    await book.pages(3)
    await book.published(1, 1)
    first = (await book.entries())[-1].published_at
    for _ in range(3):
        await persistence.marks.mark_published()
    await book.published(2, 2)
    assert (await book.entries())[-1].published_at == first
    await book.published(3, 3)
    await persistence.marks.mark_published(apart_seconds=600.0)
    assert (await book.standing()).published.sequence == 3


async def test_marks_of_what_was_published_keep_their_distance(persistence: Any, book: Book) -> None:
    await book.pages(2)
    await book.published(1, 1)
    for cursor in await persistence.cursors.claim(PIPELINE, "relay", 600):
        await persistence.cursors.advance(replace(cursor, last_sequence=Sequence(2)), "relay")
    await persistence.marks.mark_published(apart_seconds=600.0)
    assert await book.sequences(state="extracted") == [2]
    await persistence.marks.mark_published()
    assert await book.sequences(state="extracted") == []


async def test_times_stand_in_the_order_of_the_hops_whatever_clocks_say(persistence: Any, book: Book) -> None:
    await book.page()
    await book.applied(1, at=datetime(2001, 1, 1, tzinfo=UTC))
    await book.published(1, 1)
    (entry,) = await book.entries()
    assert entry.extracted_at == entry.published_at == entry.applied[MAIN]
    await book.page()
    await book.applied(2, at=datetime.now(UTC) + timedelta(days=1))
    assert (await book.entries())[0].applied[MAIN] < datetime.now(UTC) + timedelta(hours=1)


async def test_progress_never_goes_back_by_itself(persistence: Any, book: Book) -> None:
    await book.pages(3)
    await book.applied(3)
    await book.applied(1)
    assert (await book.standing()).applied[MAIN].sequence == 3
    assert await book.sequences(state="applied") == [3, 2, 1]


async def test_a_target_that_lost_pages_has_not_applied_them_any_more(persistence: Any, book: Book) -> None:
    await book.pages(3)
    await book.published(3, 3)
    for sequence in (1, 2, 3):
        await book.applied(sequence)
    three, one = (Reached(log=Log(1), sequence=Sequence(number)) for number in (3, 1))
    member = (PIPELINE, MAIN)
    assert not await persistence.marks.take_back(member, known=one, found=one)
    assert await persistence.marks.take_back(member, known=three, found=one)
    assert not await persistence.marks.take_back(member, known=three, found=one)
    assert await book.sequences(state="published") == [3, 2]
    standing = await book.standing()
    assert (standing.in_sync, standing.pages_waiting, standing.waiting.sequence) == (False, 2, 2)
    await book.applied(3)
    assert (await book.standing()).in_sync


async def test_a_group_that_was_removed_holds_nothing_up(persistence: Any, book: Book) -> None:
    await book.pages(2)
    await book.published(2, 2)
    await book.applied(2)
    await book.applied(1, group=REPORTS)
    assert not (await book.standing()).in_sync
    await persistence.marks.forget_group((PIPELINE, REPORTS))
    assert (await book.standing()).in_sync
    assert await book.sequences(state="applied") == [2, 1]


async def test_how_all_pipelines_stand_is_told_with_the_marks(persistence: Any, book: Book) -> None:
    await Book(persistence, COSTS).open()
    await book.pages(2)
    await book.applied(1)
    stands = {stand.pipeline: stand for stand in await persistence.marks.mark_published()}
    assert set(stands) == {PIPELINE, COSTS}
    assert stands[COSTS] == Stand(pipeline=COSTS, log=Log(1), sequence=Sequence(0), groups={})
    assert not stands[COSTS].moves
    assert stands[PIPELINE].sequence == 2
    assert stands[PIPELINE].groups[MAIN].place == (1, 1)
    assert stands[PIPELINE].moves
    await book.applied(2)
    assert not any(stand.moves for stand in await persistence.marks.mark_published())


async def test_where_a_pipeline_is_has_one_answer(persistence: Any, book: Book) -> None:
    assert (await persistence.ledger.whereabouts([COSTS]))[COSTS].sentence == "it has never run"
    assert (await book.standing()).sentence == "log 1 has no page yet"
    await book.pages(3)
    first = (await book.entries())[-1]
    nobody = await book.standing()
    assert nobody.sentence == "3 pages of log 1: no loader group has applied anything yet"
    assert (nobody.pages_waiting, nobody.waiting.hop, nobody.published) == (3, Hop.PUBLISHED, None)
    await book.published(1, 2)
    await book.applied(1)
    here = await book.standing()
    assert here.extracted == Reached(log=Log(1), sequence=Sequence(3), at=(await book.entries())[0].extracted_at)
    assert here.published == Reached(log=Log(1), sequence=Sequence(1), at=first.published_at or here.published.at)
    assert here.waiting == Waiting(
        log=Log(1),
        sequence=Sequence(2),
        hop=Hop.PUBLISHED,
        groups=(MAIN,),
        since=(await book.entries())[1].extracted_at,
    )
    assert here.sentence.startswith("2 pages wait to be published, the oldest for ")
    await book.published(3, 3)
    assert (await book.standing()).sentence.startswith("2 pages wait to be loaded by main, the oldest for ")
    await book.applied(3)
    there = await book.standing()
    assert there.in_sync
    assert there.sentence == "in sync: all 3 pages of log 1 are applied by main"


async def test_trouble_and_pauses_are_part_of_the_answer(persistence: Any, book: Book) -> None:
    await book.page()
    await book.published(1, 1)
    await book.applied(1)
    await persistence.registry.set_trouble(PIPELINE, "source: it is down")
    standing = await book.standing()
    assert not standing.in_sync
    assert standing.sentence.endswith("applied by main; nothing more is extracted: source: it is down")


async def test_what_a_log_left_behind_is_superseded(persistence: Any, book: Book) -> None:
    await book.pages(3)
    await book.published(2, 2)
    await book.applied(1)
    await persistence.registry.reset(PIPELINE, lanes=LANES, reason="test")
    await book.page()
    assert await book.sequences(state="superseded") == [3, 2]
    assert await book.sequences(state="applied") == [1]
    assert await book.sequences(state="extracted") == [1]
    (left, *_) = await book.entries(state="superseded")
    assert left.waits_for == ()
    standing = await book.standing()
    assert (standing.extracted.place, standing.applied[MAIN].place) == ((2, 1), (1, 1))
    assert (standing.pages_waiting, standing.waiting.sequence) == (1, 1)
    await book.published(1, 1)
    await book.applied(1, log=2)
    assert (await book.standing()).in_sync


async def test_what_is_published_is_marked_though_the_clock_was_put_back(persistence: Any, book: Book) -> None:
    await book.pages(2)
    await book.published(1, 1)
    await persistence.pass_time(-3600)
    for cursor in await persistence.cursors.claim(PIPELINE, "relay", 600):
        await persistence.cursors.advance(replace(cursor, last_sequence=Sequence(2)), "relay")
    await persistence.marks.mark_published(apart_seconds=60)
    assert await book.sequences(state="published") == [2, 1]


async def test_a_group_that_is_beyond_is_said_to_be(persistence: Any, book: Book) -> None:
    await book.page()
    await book.applied(9, log=4)
    standing = await book.standing()
    assert not standing.in_sync
    assert "beyond page 1 of log 1" in standing.sentence


async def test_pages_are_filtered_and_sorted_by_what_is_allowed(persistence: Any, book: Book) -> None:
    costs, run = await Book(persistence, COSTS).open(), uuid7()
    await book.page(mode="snapshot", run=run)
    await costs.page(mode="reread", run=uuid7())
    await book.page(mode="heartbeat")
    await costs.page()
    newest, second, first, oldest = await book.entries()
    assert [(entry.pipeline, entry.sequence) for entry in (newest, second, first, oldest)] == [
        (COSTS, 2),
        (PIPELINE, 2),
        (COSTS, 1),
        (PIPELINE, 1),
    ]
    assert await book.entries(pipeline="orders") == [second, oldest]
    assert await book.entries(pipeline="orders", log=1, mode="snapshot") == [oldest]
    assert await book.entries(log="2") == []
    assert await book.entries(mode="heartbeat") == [second]
    assert await book.entries(run=str(run)) == [oldest]
    assert await book.entries(since=second.extracted_at) == [newest, second]
    assert await book.entries(before=second.extracted_at.isoformat()) == [first, oldest]
    assert await book.entries(pipeline="costs", state="extracted") == [newest, first]
    up = await persistence.ledger.pages(Query(sort="sequence", filters={"pipeline": "orders"}))
    assert list(up.items) == [oldest, second]
    for query in (Query(filters={"rows": 3}), Query(sort="rows"), Query(filters={"state": "lost"}), Query(limit=0)):
        with pytest.raises(UnknownFieldError):
            await persistence.ledger.pages(query)


@pytest.mark.parametrize(
    "filters", [{}, {"pipeline": "orders"}, {"state": "applied"}, {"state": "extracted"}, {"mode": "incremental"}]
)
async def test_pages_are_listed_page_by_page(persistence: Any, book: Book, filters: dict[str, Any]) -> None:
    for _ in range(7):
        await book.page()
    if filters.get("state") == "applied":
        await book.applied(7)
    seen: list[int] = []
    query = Query(filters=filters, limit=3)
    while True:
        page = await persistence.ledger.pages(query)
        seen += [entry.sequence for entry in page.items]
        if page.next_cursor is None:
            break
        await book.page()  # what comes meanwhile is newer than every page behind the first
        query = replace(query, cursor=page.next_cursor)
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    with pytest.raises(BadCursorError):
        await persistence.ledger.pages(Query(cursor=query.cursor, filters={"pipeline": "other"}))


async def test_old_pages_are_forgotten_but_not_those_that_wait(persistence: Any, book: Book) -> None:
    other = await Book(persistence, COSTS).open()
    await book.pages(3)
    await other.page()
    await book.published(2, 2)
    await book.applied(1)
    await book.applied(2)
    assert await persistence.ledger.forget(older_than=WEEK) == 0
    await persistence.pass_time(WEEK.total_seconds() + 60)
    await book.page()
    assert await persistence.ledger.forget(older_than=WEEK) == 3
    assert await book.sequences() == [4, 3]
    standing = await book.standing()
    assert (standing.applied[MAIN].sequence, standing.waiting.sequence) == (2, 3)
    assert standing.waiting.since == (await book.entries())[-1].extracted_at
    assert (await other.standing()).extracted.at is None
    await book.published(4, 4)
    await book.applied(4)
    assert await persistence.ledger.forget(older_than=WEEK) == 1
    assert await book.sequences(state="applied") == [4]
    assert await persistence.ledger.forget(older_than=timedelta(0)) == 1
    assert (await book.standing()).sentence == "in sync: all 4 pages of log 1 are applied by main"
