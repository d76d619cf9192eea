"""What a run does when what it rests on has changed: the configuration, the stream, the log, the server's limits."""

import asyncio
from datetime import timedelta

import pytest
from tests.unit.extractor.application.bench import NAME, Bench, columns, naive

from qupersync_extractor.application.ports import ReadRequest
from qupersync_extractor.application.running import RunHooks
from qupersync_extractor.domain.pipeline import SourceTable
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.schema import Column
from qupersync_shared.kernel.errors import PageRefusedError, SourceUnavailableError, TransientError
from qupersync_shared.kernel.ids import Lane, Log
from qupersync_shared.runtime.lifecycle import Stop

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def bench() -> Bench:
    return await Bench().registered()


async def test_events_stay_below_what_the_server_takes(bench: Bench) -> None:
    bench.insert(*range(1, 41), note="".join(chr(33 + n % 90) * (n % 7) for n in range(3000)))
    bench.stream.event_bytes_max = 12_000
    await bench.use_case(page_rows=1000).run()
    relay = await bench.lane_relay()
    while not (await relay.publish_some()).idle:
        pass
    assert len(bench.stream.messages(NAME, Lane(0))) == bench.sequence
    assert bench.sent_ids() == set(range(1, 41))


async def test_a_stream_that_nobody_declared_is_declared(bench: Bench) -> None:
    bench.stream.delete(NAME)
    bench.insert(1)
    use_case = bench.use_case()
    await use_case.run()
    assert bench.sent_ids() == {1}


async def test_columns_that_no_event_can_hold_are_refused() -> None:
    wide = columns(id="bigint", updated_at="timestamp", **{f"a_rather_long_name_{n}": "varchar" for n in range(150)})
    bench = await Bench(columns=wide).registered()
    bench.table.insert({"id": 1, "updated_at": naive(bench.source.now)})
    with pytest.raises(PageRefusedError, match="152 columns"):
        await bench.use_case(event_bytes_max=16_384).run()
    bench.table.delete()
    with pytest.raises(PageRefusedError, match="152 columns"):
        await bench.use_case(event_bytes_max=16_384).run()


async def test_keys_too_long_for_headers_are_refused_before_they_hold_a_lane() -> None:
    bench = await Bench(columns=columns(id="varchar", updated_at="timestamp")).registered()
    stamp = naive(bench.source.now)
    bench.table.insert(*({"id": letter * 40_000, "updated_at": stamp} for letter in "abcdefgh"))
    with pytest.raises(PageRefusedError, match="headers"):
        await bench.use_case(page_rows=2).run()
    relay = await bench.lane_relay()
    while not (await relay.publish_some()).idle:
        pass
    assert len(bench.stream.messages(NAME, Lane(0))) == bench.sequence


async def test_long_keys_leave_room_for_themselves_in_the_headers() -> None:
    bench = await Bench(columns=columns(id="varchar", note="varchar", updated_at="timestamp")).registered()
    stamp = naive(bench.source.now)
    for number in range(12):
        bench.table.insert({"id": f"{number:02}" + "ü" * 900, "note": str(number) * 2000, "updated_at": stamp})
    bench.stream.event_bytes_max = 26_000
    await bench.use_case(page_rows=3).run()
    for lane in range(2):
        relay = await bench.lane_relay(lane)
        while not (await relay.publish_some()).idle:
            pass
    assert len(bench.sent_ids()) == 12


async def test_another_cursor_column_begins_with_a_snapshot_and_a_cursor_of_its_own() -> None:
    bench = await Bench(columns=columns(id="bigint", updated_at="timestamp", version="bigint")).registered()
    row = {"updated_at": naive(bench.source.now), "version": 5}
    bench.table.insert({"id": 1, **row})
    await bench.use_case().run()
    assert bench.sent_ids() == {1}
    bench.pass_time(MINUTE)
    before = bench.sequence
    report = await bench.use_case(cursor="version").run()
    assert report.modes[0] == "snapshot"
    assert bench.sent_ids(after=before) == {1}
    bench.table.insert({"id": 2, "updated_at": None, "version": 6})
    before = bench.sequence
    await bench.use_case(cursor="version").run()
    assert bench.sent_ids(after=before) == {2}


async def test_another_time_zone_of_the_cursor_skips_nothing(bench: Bench) -> None:
    await bench.use_case(cursor_time_zone="Asia/Tokyo", lookback=timedelta(0)).run()
    bench.pass_time(MINUTE)
    await bench.use_case(lookback=timedelta(0)).run()
    bench.pass_time(MINUTE)
    bench.insert(3)
    bench.pass_time(MINUTE)
    before = bench.sequence
    await bench.use_case(lookback=timedelta(0)).run()
    assert bench.sent_ids(after=before) == {3}, "the cursor stood nine hours ahead"


async def test_another_source_table_begins_with_a_snapshot(bench: Bench) -> None:
    bench.insert(1)
    await bench.use_case().run()
    other = SourceTable("main", "orders_2")
    bench.source.table(other, bench.columns).insert({"id": 7, "updated_at": naive(bench.source.now - 30 * MINUTE)})
    before = bench.sequence
    await bench.use_case(relation=other).run()
    assert bench.sent_ids(after=before) == {7}


async def test_another_key_goes_on_from_a_cursor_that_held_the_old_one() -> None:
    bench = await Bench(columns=columns(id="bigint", part="bigint", updated_at="timestamp")).registered()
    await bench.use_case().run()
    bench.pass_time(MINUTE)
    for number in range(1, 9):
        bench.table.insert({"id": number, "part": 0, "updated_at": naive(bench.source.now)})
    bench.pass_time(MINUTE)
    reads = 0

    def broken(_: ReadRequest) -> None:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise SourceUnavailableError("gone")

    bench.source.before_read = broken
    with pytest.raises(SourceUnavailableError):
        await bench.use_case().run()
    bench.source.before_read = None
    assert bench.sent_ids() != set(range(1, 9))
    await bench.use_case(key=("part", "id")).run()
    assert bench.sent_ids() == set(range(1, 9))


async def test_a_fork_reported_in_a_long_snapshot_ends_it_and_the_next_run_opens_a_log(bench: Bench) -> None:
    bench.insert(*range(1, 31))
    reads = 0

    async def reported() -> None:
        nonlocal reads
        reads += 1
        if reads == 4:
            await bench.registry.report_fork(NAME, Log(1))

    with pytest.raises(TransientError, match="fork"):
        await bench.use_case(room=reported).run()
    assert bench.sequence < 9
    await bench.use_case().run()
    assert bench.store.pipelines[NAME].state.log == 2


async def test_a_wish_to_begin_anew_is_heeded_after_the_page_under_way(bench: Bench) -> None:
    bench.insert(*range(1, 31))
    reads = 0

    async def wished() -> None:
        nonlocal reads
        reads += 1
        if reads == 4:
            assert await bench.registry.wish_snapshot(NAME, reason="a loader has no baseline", restart=True)

    await bench.use_case(room=wished).run()
    firsts = [event.sequence for event in bench.envelopes() if event.snapshot_first and event.lane == 0]
    assert len(firsts) == 2
    assert firsts[1] in {4, 5}
    assert bench.sent_ids(after=firsts[1] - 1) == set(range(1, 31))


async def test_changes_between_the_pages_of_a_snapshot_are_read_in_the_order_they_are_committed(bench: Bench) -> None:
    bench.insert(*range(1, 13))
    await bench.use_case().run()
    bench.pass_time(MINUTE)
    bench.table.upsert(["id"], {"id": 11, "note": "fresh", "updated_at": naive(bench.source.now)})
    bench.pass_time(MINUTE)
    due = iter([False, True])
    start = bench.sequence
    hooks = RunHooks(incremental_due=lambda: next(due, False))
    await bench.use_case().run(forced=ForcedMode.SNAPSHOT, hooks=hooks)
    kinds = ["C" if type(r.range).__name__ == "CursorRange" else "K" for r in bench.source.reads]
    modes = [e.mode for e in bench.envelopes() if e.lane == 0 and e.sequence > start]
    assert modes[2] is Mode.INCREMENTAL
    assert "".join(kinds).endswith("KKCKKC")


async def test_two_clocks_that_differ_break_no_silence_for_ever(bench: Bench) -> None:
    bench.insert(1)
    use_case = bench.use_case()
    await use_case.run()
    bench.clock.moment -= timedelta(hours=2)
    assert await use_case.keep_alive()
    assert not await use_case.keep_alive()


async def test_a_sign_of_life_never_shows_columns_that_the_log_has_left(bench: Bench) -> None:
    bench.insert(1)
    first, second = bench.use_case(owner="one"), bench.use_case(owner="two")
    await first.run()
    bench.table.columns = (*bench.table.columns, *columns(added="bigint"))
    bench.table.upsert(["id"], {"id": 1, "note": "x", "updated_at": naive(bench.source.now)})
    await second.run()
    bench.pass_time(MINUTE)
    sequence = bench.sequence
    assert not await first.keep_alive(), "its columns are another process's past"
    assert bench.sequence == sequence
    assert await second.keep_alive()
    assert len({event.schema_fingerprint for event in bench.envelopes() if event.sequence >= sequence}) == 1


async def test_a_restarted_process_shows_a_paused_pipeline_no_columns_before_their_snapshot(bench: Bench) -> None:
    bench.insert(1)
    await bench.use_case().run()
    bench.pass_time(MINUTE)
    sequence = bench.sequence
    before = bench.table.columns
    bench.table.columns = (*before, *columns(added="bigint"))
    restarted = bench.use_case(owner="two")
    assert not await restarted.keep_alive(describe=True)
    bench.table.columns = before
    assert await restarted.keep_alive(describe=True)
    assert bench.sequence == sequence + 1


async def test_describing_for_a_sign_of_life_is_given_up_at_the_end(bench: Bench) -> None:
    bench.insert(1)
    await bench.use_case().run()
    bench.pass_time(MINUTE)
    stop = Stop()

    async def never_answered(_: object) -> tuple[Column, ...]:
        stop.request()
        await asyncio.Event().wait()
        return ()

    bench.source.describe = never_answered  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        assert not await bench.use_case().keep_alive(describe=True, stop=stop)
