"""A file that is edited while a process goes on: whoever waits is told, once it has been left alone for a moment."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 2.0
_RESTLESS_LOOKS_MAX: Final = 15


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a file from another; links are followed, so that a link that was swapped shows, too."""

    device: int
    inode: int
    size: int
    modified_ns: int


def stamp_of(path: Path) -> Stamp | None:
    """The file's stamp; None where there is none to be had."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class WatchedFile:
    """Looks at the file every few seconds; `look_seconds` None looks at nothing, and waits for `ring` alone.

    Looking is all that works everywhere: files replaced by rename, links swapped by Kubernetes, network drives. What is
    different counts from the moment when this was made.
    """

    def __init__(self, path: Path, *, look_seconds: float | None = LOOK_SECONDS) -> None:
        self.path = path
        self._look_seconds = look_seconds
        self._known = stamp_of(path)
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Somebody says that the file is to be read: `changed` returns at once."""
        self._rung.set()

    async def changed(self) -> None:
        """Returns when the file has become another one and has stayed so for a look, or when it was rung for.

        A file that never rests is reported nevertheless, every fifteen looks.
        """
        while not self._rung.is_set():
            if await self._differs():
                await self._settle()
                break
        self._rung.clear()
        self._known = await asyncio.to_thread(stamp_of, self.path)

    async def _differs(self) -> bool:
        await self._wait()
        return self._look_seconds is not None and await asyncio.to_thread(stamp_of, self.path) != self._known

    async def _settle(self) -> None:
        for _ in range(_RESTLESS_LOOKS_MAX):
            before = await asyncio.to_thread(stamp_of, self.path)
            await self._wait()
            if self._rung.is_set() or await asyncio.to_thread(stamp_of, self.path) == before:
                return

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._look_seconds):
                await self._rung.wait()


@contextlib.contextmanager
def rung_by_hangup(watched: WatchedFile) -> Iterator[None]:
    """SIGHUP rings for the file while the block lasts; only in the main thread's event loop."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGHUP)
    loop.add_signal_handler(signal.SIGHUP, watched.ring)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, before)
