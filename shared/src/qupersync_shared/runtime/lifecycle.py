"""How a process ends: in order at the first signal; at the second, or after a deadline, whatever it does."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from weakref import WeakSet

from qupersync_shared.runtime.logs import get_logger

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_FORCED_SECONDS: Final = 3.0

_log = get_logger(__name__)


class Stop:
    """The wish to end: `requested` turns true once and stays; whoever waits is woken."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._narrower: WeakSet[Stop] = WeakSet()

    def narrower(self) -> "Stop":
        """A stop of a part of the work: requested with this one, and by itself without this one."""
        part = Stop()
        if self.requested:
            part.request()
        self._narrower.add(part)
        return part

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def request(self) -> None:
        """Asks everybody who holds this to end; safe to repeat."""
        self._event.set()
        for part in list(self._narrower):
            part.request()

    async def wait(self, seconds: float | None = None) -> bool:
        """Returns at once when the stop is requested, else after `seconds`; whether it is requested."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return self.requested
        return True


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks, and returns when all of them are over, in whichever way."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def run_until_stopped(main: Callable[[Stop], Awaitable[int]], *, grace_seconds: float = 60.0) -> int:
    """Runs `main` in a new event loop and returns its exit code.

    SIGTERM and SIGINT request the `Stop`. A second signal, or `grace_seconds` after the first, cancels `main`, and
    three seconds later ends the process whatever its threads do (exit code 128 + signal); everything that matters is
    in transactions.
    """
    return asyncio.run(_supervise(main, grace_seconds))


async def _supervise(main: Callable[[Stop], Awaitable[int]], grace_seconds: float) -> int:
    loop = asyncio.get_running_loop()
    stop = Stop()
    task = asyncio.ensure_future(main(stop))
    first: list[signal.Signals] = []

    def force(number: signal.Signals, reason: str) -> None:
        if not task.done():
            _log.warning("process_ends_by_force", reason=reason)
            # Threads may hang in a driver; the interpreter would wait for them at exit.
            timer = threading.Timer(_FORCED_SECONDS, os._exit, (128 + number,))
            timer.daemon = True
            timer.start()
            task.cancel()

    def on_signal(number: signal.Signals) -> None:
        if first:
            force(first[0], "a second signal")
            return
        first.append(number)
        _log.info("process_stops", signal=number.name)
        stop.request()
        loop.call_later(grace_seconds, force, number, f"not ended after {grace_seconds:g} s")

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if first:
            return 128 + first[0]
        raise
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
