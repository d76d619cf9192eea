"""Waiting, for a while, until rows or events that were sent again have come back, with a sign of life on a terminal."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from qupersync_shared.runtime.console import console

_POLL_SECONDS: Final = 0.3

Marks = Mapping[str, object]
"""What is known of each thing waited for: it has come back when this is no longer what it was."""


async def until_changed(look: Callable[[], Awaitable[Marks]], before: Marks, *, seconds: float, what: str) -> Marks:
    """The last look: when all marks differ from before, or `seconds` later; what is gone counts as changed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with _spinner(what):
        while True:
            marks = await look()
            if all(name not in marks or marks[name] != mark for name, mark in before.items()):
                return marks
            left = deadline - loop.time()
            if left <= 0:
                return marks
            await asyncio.sleep(min(_POLL_SECONDS, left))


@contextlib.contextmanager
def _spinner(what: str) -> Iterator[None]:
    out = console(stderr=True)
    if not out.is_terminal:
        yield
        return
    with out.status(f"waiting for {what}"):
        yield
