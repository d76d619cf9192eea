"""Processes that go on only when the schedule says so: every call of a port passes a gate, before and sometimes after.

A process may stand at a gate for as long as the schedule likes (SIGSTOP), go on by so many gates, be cancelled there,
or be killed: a dead process passes no gate, so its `finally` blocks change nothing either. Transactions of a process
that stands still are ended by the server, as `idle_in_transaction_session_timeout` does.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

from tests.properties.protocol.loop import StepLoop

from qupersync_shared.kernel.errors import DatabaseUnavailableError

IDLE_SECONDS: Final = 10.0
_MANY: Final = 1_000
# Calls after whose effect a process may die, or be cancelled, before it learns of it.
_UNSURE: Final = frozenset({"commit", "publish", "advance", "ack", "acquire"})


class KilledError(BaseException):
    """SIGKILL."""


class Process:
    """One process at a time: `kill` ends its life, and the next `begin` starts another one."""

    def __init__(self, loop: StepLoop, name: str) -> None:
        self.name = name
        self.loop = loop
        self.life = _Life(loop)
        self._task: asyncio.Task[Any] | None = None

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def begin(self, work: Callable[["_Life"], Coroutine[Any, Any, None]]) -> None:
        """New work of an idle process; it stands at its first gate."""
        self._task = self.loop.begin(work(self.life))

    def step(self, gates: int | None, *, pick: int = 0) -> None:
        """Goes on by so many gates, or (None) to just before its next effect; `pick`: which of its tasks goes first."""
        self.life.pass_gates(gates, pick)

    def finish(self) -> None:
        """Goes on to the end of its work, unless it waits for another process."""
        self.life.open = True
        self.life.pass_gates(0, 0)
        self.life.open = False

    def cancel(self) -> None:
        """Its work is cancelled where it stands; what it does about that passes gates as before."""
        if self._task is not None:
            self._task.cancel()
            self.loop.settle()

    def kill(self) -> None:
        self.life.end()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self.loop.settle()
        self.life = _Life(self.loop)
        self._task = None

    def defect(self) -> BaseException | None:
        """What came out of work that ended, other than an end by the schedule."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        error = self._task.exception()
        return None if isinstance(error, KilledError) else error


class _Life:
    """The gates of one life of a process, its open transactions, and what it remembers (`memory`)."""

    def __init__(self, loop: StepLoop) -> None:
        self.open = False
        self.memory: dict[str, Any] = {}
        self.transactions: list[_Transaction] = []
        self._loop = loop
        self._dead = False
        self._budget = 0
        self._careful = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def gate(self, *, effect: bool = False) -> None:
        if self._dead:
            raise KilledError
        if self.open:
            return
        if effect and self._careful:
            self._budget = 0
        if self._budget:
            self._budget -= 1
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def pass_gates(self, gates: int | None, pick: int) -> None:
        self._careful = gates is None
        self._budget = _MANY if gates is None else gates
        self._waiting.rotate(-pick)
        while self._waiting and (self._budget or self.open):
            turn = self._waiting.popleft()
            if not turn.done():
                self._budget -= not self.open
                turn.set_result(None)
                self._loop.settle()
        self._budget = 0

    def end(self) -> None:
        self._dead = True
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(KilledError())
        self._loop.settle()

    def now(self) -> float:
        return self._loop.time()

    # ---------------------------------------------------------------------------------------------------------- ports

    def port(self, adapter: object) -> Any:
        return _Port(self, adapter)

    def unit_of_work(self, factory: Callable[[], Any], kept: Callable[[], None]) -> Callable[[], Any]:
        return lambda: _UnitOfWork(self, factory(), kept)

    def target(self, target: Any, kept: Callable[[], None]) -> Any:
        return _Target(self, target, kept)


class _Port:
    """An adapter behind the gates of a process."""

    def __init__(self, life: _Life, adapter: object) -> None:
        self._life = life
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._adapter, name)
        if not inspect.iscoroutinefunction(method):
            return method
        gate, unsure = self._life.gate, name in _UNSURE

        async def gated(*args: Any, **kwargs: Any) -> Any:
            await gate(effect=unsure)
            result = await method(*args, **kwargs)
            if unsure:
                await gate()
            return result

        self.__dict__[name] = gated
        return gated


class _Transaction:
    """What the server holds of a transaction; `end` lets go of its locks."""

    def __init__(self, life: _Life, end: Callable[[], object]) -> None:
        self._life = life
        self._end = end
        self._ended = False
        self._used = life.now()
        life.transactions.append(self)

    def expire(self, *, at_once: bool = False) -> None:
        """The server ends it if its client has been silent for too long."""
        if not self._ended and (at_once or self._life.now() - self._used >= IDLE_SECONDS):
            self._ended = True
            self._end()

    def over(self) -> None:
        self._life.transactions.remove(self)

    async def call(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, unsure: bool) -> Any:
        await self._life.gate(effect=unsure)
        self._check()
        self._used = self._life.now()
        result = await method(*args, **kwargs)
        self._check()
        self._used = self._life.now()
        if unsure:
            await self._life.gate()
        return result

    def _check(self) -> None:
        if self._ended:
            self._end()  # a lock that was waited for came after the end
            raise DatabaseUnavailableError("the server has ended an idle transaction")


class _Part:
    """A part of a transaction; after its `commit`, whoever wants to know is told that something was kept."""

    def __init__(self, transaction: _Transaction, part: object, kept: Callable[[], None]) -> None:
        self._transaction = transaction
        self._part = part
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if not inspect.iscoroutinefunction(method):
            return method
        transaction, kept = self._transaction, self._kept

        async def gated(*args: Any, **kwargs: Any) -> Any:
            return await transaction.call(method, args, kwargs, unsure=False)

        async def commit() -> None:
            async def keep() -> None:
                try:
                    await method()
                finally:
                    kept()

            await transaction.call(keep, (), {}, unsure=True)

        found = commit if name == "commit" else gated
        self.__dict__[name] = found
        return found


class _UnitOfWork:
    """The extractor's unit of work."""

    def __init__(self, life: _Life, work: Any, kept: Callable[[], None]) -> None:
        self._life = life
        self._work = work
        self._kept = kept

    async def __aenter__(self) -> Self:
        await self._life.gate(effect=True)
        await self._work.__aenter__()
        self._transaction = _Transaction(self._life, self._end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transaction.over()
        await self._work.__aexit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        if name == "commit":
            return _Part(self._transaction, self._work, self._kept).commit
        return _Part(self._transaction, getattr(self._work, name), self._kept)

    def _end(self) -> None:
        closing = self._work.__aexit__(None, None, None)
        try:
            closing.send(None)
        except StopIteration:
            return
        raise RuntimeError("a transaction's end waits for something")


class _Target:
    """The loader's target: sessions whose transactions the server may end."""

    def __init__(self, life: _Life, target: Any, kept: Callable[[], None]) -> None:
        self._life = life
        self._target = target
        self._kept = kept

    @asynccontextmanager
    async def session(self, pipeline: Any) -> AsyncIterator[Any]:
        async with self._target.session(pipeline) as session:
            yield _Session(self._life, session, self._kept)


class _Session(_Port):
    def __init__(self, life: _Life, session: Any, kept: Callable[[], None]) -> None:
        super().__init__(life, session)
        self._kept = kept

    @asynccontextmanager
    async def work(self, lane: Any) -> AsyncIterator[Any]:
        await self._life.gate(effect=True)
        async with self._adapter.work(lane) as work:  # type: ignore[attr-defined]  # it is a target session
            transaction = _Transaction(self._life, work.release)
            try:
                yield _Part(transaction, work, self._kept)
            finally:
                transaction.over()
