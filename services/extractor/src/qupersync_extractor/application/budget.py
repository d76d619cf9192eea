"""A process's memory for pages, shared by its pipelines: taken before a page is read, given back when it is done."""

import asyncio
import weakref
from collections import deque
from contextlib import suppress


class Reservation:
    """A part of the budget; given back once, by `release` or when nothing refers to it any more."""

    def __init__(self, budget: "ByteBudget", size: int) -> None:
        self._budget = budget
        self._held = [size]
        loop = asyncio.get_running_loop()
        self._finalizer = weakref.finalize(self, _give_back, loop, budget, self._held)
        self._finalizer.atexit = False

    @property
    def bytes(self) -> int:
        return self._held[0]

    def fit(self, size: int) -> None:
        """What turned out to be needed. More than was reserved is taken without waiting: it is there already."""
        if self._finalizer.alive:
            before, self._held[0] = self._held[0], size
            self._budget.change(size - before)

    def release(self) -> None:
        """Gives everything back; safe to call again."""
        if self._finalizer.detach() is not None:
            self._budget.change(-self._held[0])


def _give_back(loop: asyncio.AbstractEventLoop, budget: "ByteBudget", held: list[int]) -> None:
    # The garbage collector runs in any thread.
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(budget.change, -held[0])


class ByteBudget:
    """Reservations in the order they were asked for.

    One that is greater than the whole budget waits until it is alone, and then passes. Whoever holds a reservation must
    be able to end without another one, or all may wait for each other.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, size: int) -> Reservation:
        """The reservation, when it is this caller's turn and there is room."""
        if self._waiting or not self._fits(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (size, turn)
            self._waiting.append(entry)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.change(-size)  # its turn had come, and nobody would give it back
                with suppress(ValueError):
                    self._waiting.remove(entry)
                self._admit()
                raise
        else:
            self.used += size
        return Reservation(self, size)

    def change(self, difference: int) -> None:
        """What is in use has grown or shrunk."""
        self.used += difference
        self._admit()

    def _fits(self, size: int) -> bool:
        return self.used <= 0 or self.used + size <= self.bytes_max

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.used += size
                turn.set_result(None)
