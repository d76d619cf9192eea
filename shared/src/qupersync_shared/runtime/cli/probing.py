"""Probes: all at once, each bounded; one that fails or hangs is a result too, never silence and never green."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.cli.guard import abandon_threads
from qupersync_shared.runtime.logs import describe, mask

Answer = TypeVar("Answer")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe(Generic[Answer]):
    """Something to ask, by name."""

    name: str
    ask: Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed(Generic[Answer]):
    """What a probe answered, or why it did not."""

    name: str
    seconds: float
    answer: Answer | None = None
    failure: str | None = None
    cure: str = ""


async def ask_all(probes: Sequence[Probe[Answer]], *, seconds_max: float) -> list[Probed[Answer]]:
    """Every probe's result, in order, within about `seconds_max` whatever they do."""
    tasks = [asyncio.ensure_future(probe.ask()) for probe in probes]
    # Each does what it does before it waits for anybody: mostly imports, which hold the loop and are no server's fault.
    await asyncio.sleep(0)
    asked = zip(probes, tasks, strict=True)
    return list(await asyncio.gather(*(_answer(probe, task, seconds_max) for probe, task in asked)))


async def _answer(probe: Probe[Answer], task: asyncio.Future[Answer], seconds_max: float) -> Probed[Answer]:
    began = time.monotonic()
    # Not asyncio.timeout: a probe that swallows its cancellation, or cleans up slowly, must not hold the others.
    done, _ = await asyncio.wait({task}, timeout=seconds_max)
    seconds = round(time.monotonic() - began, 3)
    if not done:
        task.cancel()
        abandon_threads()
        return Probed(name=probe.name, seconds=seconds, failure=f"{probe.name}: no answer within {seconds_max:g} s")
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is not None:
        told, cure = (error.message, error.cure) if isinstance(error, QupersyncError) else (describe(error), "")
        return Probed(name=probe.name, seconds=seconds, failure=f"{probe.name}: {mask(told)}", cure=cure)
    return Probed(name=probe.name, seconds=seconds, answer=task.result())


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Like asyncio.run, but does not wait for threads that a given-up probe left in a driver."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
