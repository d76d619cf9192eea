"""Work that is given up when the process is to stop."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from qupersync_shared.runtime.lifecycle import Stop

Answer = TypeVar("Answer")


class StoppedError(Exception):
    """The process is to stop: the run ends after the page it has just committed, or without the one it reads."""


async def unless_stopped(stop: Stop, reading: Awaitable[Answer]) -> Answer:
    """What was read; given up with StoppedError when the process is to stop, however long the source takes."""
    read = asyncio.ensure_future(reading)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((read, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not read.done():
            raise StoppedError
        return read.result()
    finally:
        await discard(stopped)
        await discard(read)


async def discard(ahead: asyncio.Future[Any] | None) -> None:
    """Ends what nobody waits for any more; nothing if it has ended."""
    if ahead is not None:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)
