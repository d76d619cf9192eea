"""The board: one building for all who ask, nothing older than it may be, and nothing built for nobody."""

import asyncio
from typing import Any

import pytest

from qupersync_extractor.interface.api.board import OLD_SECONDS, StatusBoard
from qupersync_shared.runtime.lifecycle import Stop


class Builder:
    """Builds numbered documents; each waits until it may go on."""

    def __init__(self) -> None:
        self.built = 0
        self.now = 0.0
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()
        self._grew = asyncio.Condition()

    async def until_built(self, times: int) -> None:
        async with asyncio.timeout(30), self._grew:
            await self._grew.wait_for(lambda: self.built >= times)

    async def __call__(self) -> dict[str, Any]:
        self.begun.set()
        await self.go.wait()
        async with self._grew:
            self.built += 1
            self._grew.notify_all()
        return {"n": self.built}


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def board(builder: Builder) -> StatusBoard:
    return StatusBoard(builder, clock=lambda: builder.now)


async def test_many_who_ask_at_once_wait_for_one_building(board: StatusBoard, builder: Builder) -> None:
    builder.go.clear()
    asking = [asyncio.create_task(board.look()) for _ in range(50)]
    await builder.begun.wait()
    builder.go.set()

    shown = await asyncio.gather(*asking)
    assert {one.document["n"] for one in shown} == {1}
    assert shown[0].body == b'{"n":1}'


async def test_a_document_serves_until_it_is_old(board: StatusBoard, builder: Builder) -> None:
    first = await board.look()
    builder.now += OLD_SECONDS
    assert await board.look() is first
    builder.now += 0.1
    assert (await board.look()).document == {"n": 2}


async def test_after_a_change_nobody_is_shown_what_was_before(board: StatusBoard, builder: Builder) -> None:
    await board.look()
    builder.now += 1
    builder.go.clear()
    builder.begun.clear()
    builder.now += OLD_SECONDS + 1
    early = asyncio.create_task(board.look())
    await builder.begun.wait()
    builder.now += 1
    board.outdate()
    builder.now += 1
    late = asyncio.create_task(board.look())
    await asyncio.sleep(0)
    builder.go.set()

    assert (await early).document["n"] == 2
    assert (await late).document["n"] == 3


async def test_a_building_that_takes_long_is_not_begun_for_ever(board: StatusBoard, builder: Builder) -> None:
    builder.go.clear()
    asking = asyncio.create_task(board.look())
    await builder.begun.wait()
    builder.now += 10 * OLD_SECONDS
    builder.go.set()

    assert (await asking).document == {"n": 1}


async def test_whoever_gives_up_does_not_end_the_building_for_others(board: StatusBoard, builder: Builder) -> None:
    builder.go.clear()
    impatient, patient = asyncio.create_task(board.look()), asyncio.create_task(board.look())
    await builder.begun.wait()
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    builder.go.set()

    assert (await patient).document == {"n": 1}


async def test_nothing_is_built_for_nobody_and_the_first_who_asks_wakes_it(
    board: StatusBoard, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qupersync_extractor.interface.api.board.REFRESH_SECONDS", 0.01)
    stop = Stop()
    keeping = asyncio.create_task(board.keep(stop))
    for _ in range(5):
        await asyncio.sleep(0)
    assert builder.built == 0

    await board.look()
    await builder.until_built(4)
    stop.request()
    await asyncio.wait_for(keeping, 30)


async def test_a_defect_ends_no_board(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("qupersync_extractor.interface.api.board.REFRESH_SECONDS", 0.01)
    failures = 2

    async def build() -> dict[str, Any]:
        nonlocal failures
        if failures:
            failures -= 1
            raise RuntimeError("a defect")
        return await builder()

    board, stop = StatusBoard(build, clock=lambda: builder.now), Stop()
    with pytest.raises(RuntimeError):
        await board.look()
    keeping = asyncio.create_task(board.keep(stop))
    await builder.until_built(1)
    stop.request()
    await asyncio.wait_for(keeping, 30)
    assert "status_not_built" in caplog.text
