"""One lane's publishing: what is stored after each kind of failure, and that nothing stays behind unnoticed."""

import asyncio

import pytest
from tests.unit.extractor.application.bench import NAME, Bench

from qupersync_extractor.application.relay import answer_resend
from qupersync_extractor.domain.records import RelayCursor
from qupersync_shared.contracts.commands import ResendRequest, ResendStatus
from qupersync_shared.kernel.errors import DatabaseUnavailableError, StreamUnavailableError, TerminalError
from qupersync_shared.kernel.ids import Lane


@pytest.fixture
async def bench() -> Bench:
    bench = await Bench().registered()
    bench.insert(*range(1, 10))
    await bench.use_case().run()
    return bench


async def stored(bench: Bench, lane: int = 0) -> RelayCursor:
    cursor = await bench.cursors.read(NAME, Lane(lane))
    assert cursor is not None
    return cursor


async def test_a_cursor_that_could_not_be_stored_is_stored_by_the_next_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await bench.lane_relay()
    advance = bench.cursors.advance

    async def unavailable(cursor: RelayCursor, owner: str) -> bool:
        raise DatabaseUnavailableError("down")

    monkeypatch.setattr(bench.cursors, "advance", unavailable)
    with pytest.raises(DatabaseUnavailableError):
        await relay.publish_some()
    monkeypatch.setattr(bench.cursors, "advance", advance)
    assert (await stored(bench)).last_sequence == 0
    while not (await relay.publish_some()).idle:
        pass
    assert (await stored(bench)).last_sequence == bench.sequence


async def test_a_cancelled_publish_stays_cancelled_when_the_database_is_gone_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await bench.lane_relay()
    publish, calls = bench.stream.publish, 0
    reached = asyncio.Event()

    async def slow(*arguments: object, **named: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            reached.set()
            await asyncio.Event().wait()
        return await publish(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.stream, "publish", slow)
    task = asyncio.create_task(relay.publish_some())
    await reached.wait()
    bench.store.unavailable = "down"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_was_published_before_an_error_is_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = await bench.lane_relay()
    publish, calls = bench.stream.publish, 0

    async def once(*arguments: object, **named: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StreamUnavailableError("gone")
        return await publish(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.stream, "publish", once)
    with pytest.raises(StreamUnavailableError):
        await relay.publish_some()
    assert (await stored(bench)).last_sequence == 1


async def test_a_rewind_between_publish_and_store_wins(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = await bench.lane_relay()
    publish = bench.stream.publish
    request = ResendRequest(group="main", pipeline=NAME, lane=0, log=1, from_sequence=1)

    async def rewound(*arguments: object, **named: object) -> int:
        answer = await publish(*arguments, **named)  # type: ignore[arg-type]
        if arguments[0].sequence == 2:  # type: ignore[attr-defined]
            reply = await answer_resend(bench.cursors, request)
            assert reply.status is ResendStatus.REWOUND
        return answer

    monkeypatch.setattr(bench.stream, "publish", rewound)
    outcome = await relay.publish_some()
    assert not outcome.stored
    monkeypatch.setattr(bench.stream, "publish", publish)
    relay.cursor = await stored(bench)
    assert (relay.cursor.last_sequence, relay.cursor.generation) == (0, 1)
    while not (await relay.publish_some()).idle:
        pass
    resent = [
        m.headers["ce-sequence"] for m in bench.stream.messages(NAME, Lane(0)) if m.headers["ce-generation"] == "1"
    ]
    assert resent == [str(number) for number in range(1, bench.sequence + 1)]


async def test_an_event_over_the_servers_limit_holds_its_lane_and_no_other(bench: Bench) -> None:
    bench.stream.event_bytes_max = 100
    relay = await bench.lane_relay()
    with pytest.raises(TerminalError, match="bytes"):
        await relay.publish_some()
    assert (await stored(bench)).last_sequence == 0
    bench.stream.event_bytes_max = 1_000_000
    assert (await relay.publish_some()).count > 0


async def test_an_idle_relay_notices_that_its_database_was_restored(bench: Bench) -> None:
    relay = await bench.lane_relay()
    older = await stored(bench)
    while not (await relay.publish_some()).idle:
        pass
    assert (await stored(bench)).last_sequence > older.last_sequence
    bench.store.cursors[NAME, Lane(0)].cursor = older
    bench.stream.purge(NAME, lane=Lane(0))
    assert not (await relay.publish_some()).stored, "it must read its cursor again"
    relay.cursor = await stored(bench)
    while not (await relay.publish_some()).idle:
        pass
    assert (await stored(bench)).last_sequence == bench.sequence
    assert await bench.stream.last_message(NAME, Lane(0)) is not None
