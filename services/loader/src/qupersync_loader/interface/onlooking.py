"""Who watches long work: a terminal with a bar, a log with a line now and then, or a script with JSON."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.application.rebuild.telling import InPhase, Told
from qupersync_loader.interface.rebuild_words import document, lines, reading_document, reading_line
from qupersync_shared.runtime.console import console, print_json_line, print_plain

_BAR_SECONDS: Final = 0.2
_JSON_SECONDS: Final = 1.0
_PLAIN_SECONDS: Final = 10.0


class Onlooker:
    """Shows what is told, and from time to time how far reading is. `as_json`: one document a line on stdout."""

    def __init__(self, tally: Tally, *, as_json: bool) -> None:
        self.as_json = as_json
        self._tally = tally
        self._began = time.monotonic()
        self._seen = 0
        self._bar = not as_json and sys.stdout.isatty()

    def tell(self, told: Told) -> None:
        """Something happened."""
        if isinstance(told, InPhase) and not self._bar:
            self._sample()
        self._say(lines(told), document(told))

    def end(self, words: Sequence[str], told: dict[str, Any]) -> None:
        """The last thing to be said, either way."""
        self._say(words, told)

    def _say(self, words: Sequence[str], told: dict[str, Any]) -> None:
        """Lines for people, or the document. The work goes on when nobody reads any more, as behind `| head`."""
        try:
            if self.as_json:
                print_json_line(told)
                return
            for line in words:
                print_plain(console(), line)
            sys.stdout.flush()
        except (BrokenPipeError, SystemExit):  # the latter is what rich makes of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Shows how far reading is as long as the block runs."""
        task = asyncio.create_task(self._draw() if self._bar else self._now_and_then())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            if not self._bar:
                self._sample()

    async def _now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_JSON_SECONDS if self.as_json else _PLAIN_SECONDS)
            self._sample()

    def _sample(self) -> None:
        if self._tally.events == self._seen and not self._tally.troubles:
            return
        self._seen = self._tally.events
        seconds = time.monotonic() - self._began
        self._say([reading_line(self._tally, seconds)], reading_document(self._tally, seconds))

    async def _draw(self) -> None:
        shown = Progress(
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console(),
            transient=True,
        )
        with shown:
            task = shown.add_task("", total=None)
            while True:
                self._redraw(shown, task)
                await asyncio.sleep(_BAR_SECONDS)

    def _redraw(self, shown: Progress, task: TaskID) -> None:
        tally = self._tally
        total = tally.events + tally.events_left
        words = reading_line(tally, time.monotonic() - self._began).replace("[", "\\[")
        shown.update(task, completed=tally.events, total=total or None, description=words)


async def unless_stopped(stopped: Callable[[], Any], work: asyncio.Task[Any]) -> bool:
    """Waits for the work, which is cancelled when `stopped` returns first; whether it came to its own end."""
    wish = asyncio.ensure_future(stopped())
    try:
        await asyncio.wait({wish, work}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
    finally:
        wish.cancel()
        if not work.done():
            work.cancel()
    return not work.cancelled()
