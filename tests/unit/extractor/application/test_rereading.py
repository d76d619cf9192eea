"""Promise L through rereads: what was asked for is read again at least once, in order, and never tried for ever."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.extractor.application.bench import NAME, Bench, columns, encoded, keys_wanted, naive

from qupersync_extractor.application.ports import CursorRange, KeyList, KeyRange, ReadRequest
from qupersync_extractor.application.rereading import TURN_READS
from qupersync_extractor.application.running import RunHooks
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.domain.rereads import Reread, SpanOrder, WantedKeys, WantedSpan
from qupersync_extractor.infrastructure.memory.store import CommitFault, RereadRow
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.contracts.payload import decode
from qupersync_shared.contracts.schema import GONE_COLUMN
from qupersync_shared.kernel.errors import DatabaseUnavailableError, PageRefusedError, TerminalError
from qupersync_shared.kernel.ids import Log, uuid7
from qupersync_shared.kernel.positions import Position, Scalar, ScalarKind, decode_key, encode_position

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def bench() -> Bench:
    """Nine rows, a snapshot of them behind it."""
    bench = await Bench().registered()
    for number in range(1, 10):
        bench.insert(number)
        bench.pass_time(timedelta(seconds=1))
    await bench.use_case().run()
    return bench


def reread(bench: Bench, asked: Reread) -> Reread:
    return bench.store.rereads[asked.id].reread


def at(seconds: float) -> Scalar:
    return Scalar(ScalarKind.TIMESTAMP, f"2026-01-01 12:00:{seconds:09.6f}")


def by_cursor(after: Position | None, upto: Position, **changes: Any) -> Reread:
    span = WantedSpan(
        by=SpanOrder.CURSOR, after=None if after is None else encode_position(after), upto=encode_position(upto)
    )
    return keys_wanted(wanted=span, **changes)


def by_key(after: int | None, upto: int | None, **changes: Any) -> Reread:
    ends = [None if end is None else encoded(end) for end in (after, upto)]
    return keys_wanted(wanted=WantedSpan(by=SpanOrder.KEY, after=ends[0], upto=ends[1]), **changes)


def events(bench: Bench, after: int) -> list[tuple[BatchEnvelope, list[dict[str, Any]]]]:
    return [
        (BatchEnvelope.from_headers(dict(record.headers)), decode(record.payload).to_pylist())
        for record in bench.records()
        if record.sequence > after
    ]


def told(bench: Bench, after: int) -> dict[int, bool]:
    """Which ids the rereads named, and whether they are gone."""
    return {row["id"]: row.get(GONE_COLUMN, False) for _, rows in events(bench, after) for row in rows}


async def ask(bench: Bench, *asked: Reread) -> int:
    """The sequence before what comes of it."""
    for one in asked:
        assert await bench.rereads.request(one)
    return bench.sequence


async def test_keys_are_read_again_and_those_that_are_gone_are_said_to_be(bench: Bench) -> None:
    bench.table.delete(lambda row: row["id"] == 4)
    asked = keys_wanted(3, 4, 77, redrives=(uuid7(),))
    before = await ask(bench, asked)
    report = await bench.use_case().reread()
    assert (report.run_needed, report.rereads_left, report.modes) == (False, False, ["reread"])
    assert told(bench, before) == {3: False, 4: True, 77: True}
    assert reread(bench, asked).done
    for event, _ in events(bench, before):
        assert (event.mode, event.range_complete, event.snapshot_id) == (Mode.REREAD, False, None)
        assert event.redrives == asked.redrives


async def test_short_requests_share_a_page_and_long_ones_take_several(bench: Bench) -> None:
    short = [keys_wanted(1, 2), keys_wanted(2), keys_wanted(3, 4)]
    before = await ask(bench, *short)
    await bench.use_case().reread()
    assert bench.sequence == before + 2, "three keys fit into a page of three rows"
    assert all(reread(bench, one).done for one in short)

    long = keys_wanted(*range(1, 8), redrives=(uuid7(),))
    before = await ask(bench, long)
    await bench.use_case().reread()
    pages = events(bench, before)
    assert {event.sequence - before: event.redrives for event, _ in pages} == {1: (), 2: (), 3: long.redrives}


async def test_a_rows_duplicates_are_reduced_and_many_of_them_do_not_cut_a_list_short(bench: Bench) -> None:
    bench.insert(*[2] * 10, note="twin")
    asked = keys_wanted(1, 2, 3)
    before = await ask(bench, asked)
    await bench.use_case().reread()
    rows = [row for _, page in events(bench, before) for row in page]
    assert sorted(row["id"] for row in rows) == [1, 2, 3]
    assert next(row["note"] for row in rows if row["id"] == 2) == "twin"


async def test_a_cursor_span_is_paged_and_moves_neither_cursor_nor_honest_time(bench: Bench) -> None:
    state = bench.store.pipelines[NAME].state
    asked = by_cursor(Position.after(at(1)), Position.before(at(7)), redrives=(uuid7(),))
    before = await ask(bench, asked)
    await bench.use_case().reread()
    assert set(told(bench, before)) == {3, 4, 5, 6, 7, 8}
    after = bench.store.pipelines[NAME].state
    assert (after.cursor, after.swept, after.completed_at) == (state.cursor, state.swept, state.completed_at)
    last = max(event.sequence for event, _ in events(bench, before))
    for event, _ in events(bench, before):
        assert event.redrives == (asked.redrives if event.sequence == last else ())
        assert not event.range_complete
        assert (event.range_from, event.range_to) == (None, None)
    ranges = [one.range for one in bench.source.reads if isinstance(one.range, CursorRange)]
    assert ranges[-1].after is not None
    assert ranges[-1].after.key != ranges[-2].after


@pytest.mark.parametrize(("after", "upto"), [(None, None), (2, 8), (None, 3), (8, 8), (50, None)])
async def test_a_key_span_says_the_complete_content_of_ranges_that_adjoin(
    bench: Bench, after: int | None, upto: int | None
) -> None:
    asked = by_key(after, upto, redrives=(uuid7(),))
    before = await ask(bench, asked)
    await bench.use_case().reread()
    wanted = {number for number in range(1, 10) if number > (after or 0) and number <= (upto or 99)}
    assert set(told(bench, before)) == wanted
    pages = {event.sequence: event for event, _ in events(bench, before)}
    edges = [(event.range_from, event.range_to) for _, event in sorted(pages.items())]
    ends = [None if end is None else decode_key(encoded(end)) for end in (after, upto)]
    assert (edges[0][0], edges[-1][1]) == (ends[0], ends[1])
    assert [end for _, end in edges[:-1]] == [start for start, _ in edges[1:]]
    assert all(event.range_complete for event in pages.values())
    assert pages[max(pages)].redrives == asked.redrives


async def test_a_page_too_large_for_an_event_is_cut_and_only_its_last_part_makes_good(bench: Bench) -> None:
    bench.table.delete()
    bench.insert(1, 2, 3, note="")
    for row in bench.table.rows:
        row["note"] = "".join(chr(0x4E00 + (row["id"] * 7919 + place * 104729) % 20000) for place in range(3000))
    asked = by_key(None, 5, redrives=(uuid7(),))
    before = await ask(bench, asked)
    await bench.use_case(event_bytes_max=20_000).reread()
    pages = {event.sequence: event for event, _ in events(bench, before)}
    assert len(pages) > 1
    assert [bool(event.redrives) for _, event in sorted(pages.items())] == [False] * (len(pages) - 1) + [True]
    assert set(told(bench, before)) == {1, 2, 3}


@pytest.mark.parametrize("fault", [CommitFault.LOST, CommitFault.KEPT])
async def test_promise_o_a_page_and_how_far_its_request_has_come_commit_together(
    bench: Bench, fault: CommitFault
) -> None:
    asked = by_key(None, None)
    before = await ask(bench, asked)
    use_case = bench.use_case()

    def fail(request: ReadRequest) -> None:
        if isinstance(request.range, KeyRange) and request.range.after is not None:
            bench.store.commit_fault = fault
            bench.source.before_read = None

    bench.source.before_read = fail
    with pytest.raises(DatabaseUnavailableError):
        await use_case.reread()
    assert not reread(bench, asked).done
    await bench.use_case(owner="two").reread()
    await bench.use_case().reread()
    assert reread(bench, asked).done
    pages = {event.sequence: event for event, _ in events(bench, before)}
    edges = [(event.range_from, event.range_to) for _, event in sorted(pages.items())]
    assert [end for _, end in edges[:-1]] == [start for start, _ in edges[1:]], "no page twice, none left out"


async def test_the_same_id_twice_is_one_reread(bench: Bench) -> None:
    asked = keys_wanted(1)
    await ask(bench, asked, asked)
    await bench.use_case().reread()
    before = await ask(bench, asked)
    report = await bench.use_case().reread()
    assert bench.sequence == before
    assert not report.rereads_left


async def test_a_turn_is_bounded_and_says_that_more_is_left(bench: Bench) -> None:
    asked = keys_wanted(*range(1, 3 * TURN_READS + 10))
    before = await ask(bench, asked)
    report = await bench.use_case().reread()
    assert report.rereads_left
    assert bench.sequence == before + TURN_READS
    assert reread(bench, asked).keys_done == 3 * TURN_READS


# ------------------------------------------------------------------------------------------------------ what cannot be


async def test_keys_that_fit_no_column_end_with_a_reason_and_the_others_are_read(bench: Bench) -> None:
    keys = (encoded(1), "garbage", encoded("9" * 30), encoded(2))
    asked = keys_wanted(wanted=WantedKeys(keys=keys), redrives=(uuid7(),))
    before = await ask(bench, asked)
    await bench.use_case().reread()
    ended = reread(bench, asked)
    assert (ended.done, ended.keys_refused) == (True, 2)
    assert "codec" in (ended.refused or "")
    assert set(told(bench, before)) == {1, 2}
    assert all(event.redrives == () for event, _ in events(bench, before)), "not made good: a part of it is missing"
    counts = await bench.rereads.counts(NAME)
    assert (counts.waiting, counts.refused) == (0, 1)


@pytest.mark.parametrize(
    "wanted",
    [
        WantedKeys(keys=("garbage",)),
        WantedSpan(by=SpanOrder.KEY, after="garbage", upto=None),
        WantedSpan(by=SpanOrder.KEY, after=None, upto=encoded("x")),
        WantedSpan(by=SpanOrder.CURSOR, after=None, upto="garbage"),
        WantedSpan(by=SpanOrder.CURSOR, after=None, upto=encode_position(Position.after(Scalar(ScalarKind.INT, "1")))),
    ],
)
async def test_a_request_that_cannot_be_read_ends_and_holds_nobody_up(
    bench: Bench, wanted: WantedKeys | WantedSpan
) -> None:
    broken, sound = keys_wanted(wanted=wanted), keys_wanted(1)
    await ask(bench, broken, sound)
    report = await bench.use_case().reread()
    assert not report.rereads_left
    assert reread(bench, broken).refused is not None
    assert reread(bench, sound).refused is None


async def test_a_span_by_a_cursor_that_is_no_more_ends_with_a_reason(bench: Bench) -> None:
    await bench.use_case(cursor=None).run()
    asked = by_cursor(None, Position.after(at(5)))
    await ask(bench, asked)
    await bench.use_case(cursor=None).reread()
    assert "no cursor" in (reread(bench, asked).refused or "")


async def test_a_row_that_the_source_cannot_give_is_singled_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = bench.source.read

    async def refusing(request: ReadRequest) -> Any:
        if isinstance(request.range, KeyList) and decode_key(encoded(5)) in request.range.keys:
            raise TerminalError("column 'note' holds what varchar cannot carry")
        return await read(request)

    monkeypatch.setattr(bench.source, "read", refusing)
    asked = keys_wanted(*range(1, 10))
    before = await ask(bench, asked)
    await bench.use_case(page_rows=100).reread()
    assert set(told(bench, before)) == set(range(1, 10)) - {5}
    ended = reread(bench, asked)
    assert (ended.done, ended.keys_refused) == (True, 1)
    assert "key ('5')" in (ended.refused or "")


async def test_a_source_that_gives_no_row_is_not_asked_for_each(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    async def refusing(_: ReadRequest) -> Any:
        nonlocal reads
        reads += 1
        raise PageRefusedError("nothing can be read")

    monkeypatch.setattr(bench.source, "read", refusing)
    asked = keys_wanted(*range(1, 900))
    await ask(bench, asked)
    for _ in range(10):
        await bench.use_case(page_rows=1000).reread()
    ended = reread(bench, asked)
    assert (ended.done, ended.keys_refused) == (True, 899)
    assert reads < 300


# ----------------------------------------------------------------------------------------------------- in their place


async def test_a_log_without_a_baseline_takes_no_reread(bench: Bench) -> None:
    await bench.registry.reset(NAME, lanes=2, reason="a test")
    asked = keys_wanted(1)
    before = await ask(bench, asked)
    report = await bench.use_case().reread()
    assert (report.run_needed, report.rereads_left) == (True, True)
    assert bench.sequence == before
    await bench.use_case().run()
    assert reread(bench, asked).done
    modes = [event.mode for event in bench.envelopes() if event.log == Log(2)]
    assert modes[0] is Mode.SNAPSHOT
    assert Mode.REREAD in modes


async def test_changed_columns_are_snapshotted_before_anything_is_read_again(bench: Bench) -> None:
    bench.table.columns = columns(id="bigint", note="varchar", updated_at="timestamp", extra="integer")
    for row in bench.table.rows:
        row["extra"] = 1
    asked = keys_wanted(1)
    await ask(bench, asked)
    assert (await bench.use_case().reread()).run_needed
    assert not reread(bench, asked).done
    await bench.use_case().run()
    assert reread(bench, asked).done


async def test_promise_s_no_snapshot_page_is_read_before_a_reread_and_committed_after_it(bench: Bench) -> None:
    """The page after the reread must see what the reread saw, or an older row would come later than a newer one."""
    order: list[str] = []
    asked = keys_wanted(7, 8, 9)

    def watch(request: ReadRequest) -> None:
        order.append(type(request.range).__name__)
        if order.count("KeyRange") == 2 and not bench.store.rereads:
            bench.table.upsert(["id"], {"id": 7, "note": "newest", "updated_at": naive(bench.source.now)})
            bench.store.rereads.update(_stored(bench, asked))

    bench.source.before_read = watch
    await bench.use_case().run(forced=ForcedMode.SNAPSHOT)
    assert reread(bench, asked).done
    notes = [row["note"] for _, rows in events(bench, 0) for row in rows if row["id"] == 7]
    assert notes[-1] == "newest"
    place = order.index("KeyList")
    assert "KeyRange" in order[place:], "it took place between the pages"
    sequences = [(event.sequence, event.mode) for event, _ in events(bench, 0)]
    again = max(sequence for sequence, mode in sequences if mode is Mode.REREAD)
    assert any(sequence > again and mode is Mode.SNAPSHOT for sequence, mode in sequences)


async def test_rereads_take_place_between_the_pages_of_a_long_incremental_run(bench: Bench) -> None:
    bench.pass_time(MINUTE)
    bench.insert(*range(100, 120))
    bench.pass_time(MINUTE)
    asked = keys_wanted(1)

    def late(request: ReadRequest) -> None:
        if isinstance(request.range, CursorRange) and not bench.store.rereads:
            bench.store.rereads.update(_stored(bench, asked))

    bench.source.before_read = late
    before = bench.sequence
    await bench.use_case().run(hooks=RunHooks())
    modes = [event.mode for event, _ in events(bench, before)]
    assert modes.index(Mode.REREAD) < len(modes) - 2
    assert reread(bench, asked).done


async def test_incremental_pages_say_where_they_were_read_from(bench: Bench) -> None:
    bench.pass_time(MINUTE)
    bench.insert(*range(100, 110))
    bench.pass_time(MINUTE)
    before = bench.sequence
    await bench.use_case().run()
    pages = {event.sequence: event for event, _ in events(bench, before)}
    chain = [event for _, event in sorted(pages.items())]
    assert len(chain) > 2
    for one, other in pairwise(chain):
        assert other.after == one.position
    bench.pass_time(2 * MINUTE)
    assert await bench.use_case().keep_alive() is False, "it has described nothing yet"
    beating = bench.use_case()
    await beating.run()
    bench.pass_time(2 * MINUTE)
    await beating.keep_alive()
    beat = bench.envelopes()[-1]
    assert beat.after == beat.position


def _stored(bench: Bench, asked: Reread) -> dict[Any, Any]:
    return {asked.id: RereadRow(reread=asked, requested_at=bench.store.now())}
