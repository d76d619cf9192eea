"""Waiting, for a while: until somebody takes a request, and until what was sent again has come back."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from qupersync_shared.runtime.console import console

_POLL_SECONDS: Final = 0.3
_AGAIN_SECONDS: Final = 1.0

Marks = Mapping[str, object]
"""What is known of each thing waited for: it has come back when this is no longer what it was."""


class Deadline:
    """When a wait of some seconds that begins now is over; None: there is no wait."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        """Seconds; None where there is no wait."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())


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


async def until_accepted(ask: Callable[[], Awaitable[bool]], *, seconds: float | None) -> bool:
    """Whether the request was accepted: it is made again for so long, or, None, once more after a second.

    Who is just starting answers soon.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (_AGAIN_SECONDS if seconds is None else seconds)
    while not await ask():
        left = deadline - loop.time()
        if left <= 0:
            return False
        await asyncio.sleep(min(_AGAIN_SECONDS, left))
    return True


@contextlib.contextmanager
def _spinner(what: str) -> Iterator[None]:
    out = console(stderr=True)
    if not out.is_terminal:
        yield
        return
    with out.status(f"waiting for {what}"):
        yield
