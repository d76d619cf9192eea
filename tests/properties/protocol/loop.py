"""An event loop without sockets and threads whose time passes when it is told to: schedules repeat exactly."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class _NoFiles:
    """The selector of a loop that waits for nothing outside: when nothing is ready, the loop stops."""

    def __init__(self, loop: "StepLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None or timeout > 0:
            self._loop.stop()
        return []


class StepLoop(asyncio.BaseEventLoop):
    """`settle` runs every task until it waits for something that only the schedule can bring."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _NoFiles(self)
        self._elapsed = 0.0
        self.set_exception_handler(lambda _loop, _context: None)  # processes are killed all the time

    def time(self) -> float:
        return self._elapsed

    def pass_time(self, seconds: float) -> None:
        """Timers that are due by then fire, each once."""
        self._elapsed += seconds
        self.settle()

    def settle(self) -> None:
        self.run_forever()

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """The work goes as far as it can."""
        task = self.create_task(work)
        self.settle()
        return task

    def complete(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work that waits for nobody."""
        task = self.begin(work)
        if not task.done():
            task.cancel()
            self.settle()
            raise RuntimeError("the work waits for something")
        return task.result()

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""
