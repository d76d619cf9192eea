"""Ends a process that exists in memory only, at a step of its own choosing."""

import asyncio


class BlownError(BaseException):
    """The process is gone: nothing it holds in memory counts any more, and nobody catches this."""


class Fuse:
    """Blows at its `at`-th step and at every later one; never without `at`."""

    def __init__(self, at: int | None = None) -> None:
        self.steps = 0
        self.at = at

    async def burn(self) -> None:
        """One step, at which others may go on."""
        await asyncio.sleep(0)
        self.steps += 1
        if self.at is not None and self.steps >= self.at:
            raise BlownError
