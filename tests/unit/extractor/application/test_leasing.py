"""A lease is held while the body works: renewed, released, and the body ended when it is lost."""

import asyncio

import pytest
from tests.unit.extractor.application.bench import NAME, Bench

from qupersync_extractor.application.leasing import held
from qupersync_shared.kernel.errors import DatabaseUnavailableError, LeaseLostError, SourceUnavailableError
from qupersync_shared.kernel.ids import FencingToken, PipelineName

SECONDS = 0.06


@pytest.fixture
async def bench() -> Bench:
    return await Bench().registered()


async def token_of(bench: Bench, seconds: float = SECONDS) -> FencingToken:
    token = await bench.registry.acquire(NAME, "one", seconds)
    assert token is not None
    return token


def tasks() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def test_the_lease_is_renewed_and_then_released(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    renew, renewed = bench.registry.renew, asyncio.Semaphore(0)

    async def counted(pipeline: PipelineName, token: FencingToken, seconds: float) -> bool:
        answer = await renew(pipeline, token, seconds)
        renewed.release()
        return answer

    monkeypatch.setattr(bench.registry, "renew", counted)
    async with asyncio.timeout(5), held(bench.registry, NAME, await token_of(bench), seconds=SECONDS):
        for _ in range(5):
            await renewed.acquire()
        assert await bench.registry.acquire(NAME, "other", 1) is None
    assert await bench.registry.acquire(NAME, "other", 1) is not None
    assert not tasks()


async def test_a_lost_lease_ends_the_body(bench: Bench) -> None:
    ended = asyncio.Event()
    with pytest.raises(LeaseLostError):  # noqa: PT012  # the block is the body under the lease
        async with held(bench.registry, NAME, await token_of(bench), seconds=SECONDS):
            await bench.registry.reset(NAME, lanes=2, reason="a test")
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 5)
            finally:
                ended.set()
    assert ended.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert not tasks()


async def test_a_body_that_makes_another_error_of_its_end_says_lost_all_the_same(bench: Bench) -> None:
    with pytest.raises(LeaseLostError):  # noqa: PT012  # the block is the body under the lease
        async with held(bench.registry, NAME, await token_of(bench), seconds=SECONDS):
            await bench.registry.reset(NAME, lanes=2, reason="a test")
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 5)
            except asyncio.CancelledError:
                raise SourceUnavailableError("the driver's word for it") from None
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_renewals_that_fail_are_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    renew, calls, enough = bench.registry.renew, 0, asyncio.Event()

    async def flaky(pipeline: PipelineName, token: FencingToken, seconds: float) -> bool:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise DatabaseUnavailableError("down")
        enough.set()
        return await renew(pipeline, token, seconds)

    monkeypatch.setattr(bench.registry, "renew", flaky)
    async with asyncio.timeout(5), held(bench.registry, NAME, await token_of(bench), seconds=SECONDS):
        await enough.wait()


async def test_a_cancellation_from_outside_stays_one_and_the_lease_is_released(bench: Bench) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with held(bench.registry, NAME, await token_of(bench, 60), seconds=60):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await bench.registry.acquire(NAME, "other", 1) is not None


async def test_the_bodys_error_comes_out_although_the_release_fails(bench: Bench) -> None:
    with pytest.raises(SourceUnavailableError):  # noqa: PT012  # the block is the body under the lease
        async with held(bench.registry, NAME, await token_of(bench), seconds=60):
            bench.store.unavailable = "down"
            raise SourceUnavailableError("gone")
