"""Processes that may die at any await: every call of a port passes a gate, and a dead process passes none."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from types import TracebackType
from typing import Any, Self


class KilledError(BaseException):
    """SIGKILL: nothing of the process runs any more, its `finally` blocks included (as far as they call a port)."""


class Process:
    """One process's life. Other tasks run at its gates, before and after each call of a port."""

    def __init__(self, random: Random, *, chance: float) -> None:
        self._random = random
        self._chance = chance
        self._dead = False

    async def gate(self) -> None:
        if not self._dead:
            for _ in range(self._random.choice((0, 0, 1, 3))):
                await asyncio.sleep(0)
            self._dead = self._random.random() < self._chance
        if self._dead:
            raise KilledError

    def port(self, adapter: object) -> Any:
        return _Port(self, adapter)

    def unit_of_work(self, factory: Any) -> Any:
        return lambda: _UnitOfWork(self, factory())

    def session(self, session: object) -> Any:
        return _Session(self, session)


class _Port:
    """An adapter behind the gates of a process."""

    def __init__(self, process: Process, adapter: object) -> None:
        self._process = process
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._adapter, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def gated(*args: Any, **kwargs: Any) -> Any:
            await self._process.gate()
            result = await method(*args, **kwargs)
            await self._process.gate()
            return result

        return gated


class _UnitOfWork(_Port):
    """A transaction: whatever becomes of the process, the server ends it."""

    def __getattr__(self, name: str) -> Any:
        part = super().__getattr__(name)
        return part if name == "commit" else _Port(self._process, part)

    async def __aenter__(self) -> Self:
        await self._process.gate()
        await self._adapter.__aenter__()  # type: ignore[attr-defined]  # it is a unit of work
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._adapter.__aexit__(kind, error, trace)  # type: ignore[attr-defined]


class _Session(_Port):
    @asynccontextmanager
    async def work(self, lane: int) -> AsyncIterator[Any]:
        await self._process.gate()
        async with self._adapter.work(lane) as work:  # type: ignore[attr-defined]  # it is a target session
            yield _Port(self._process, work)
