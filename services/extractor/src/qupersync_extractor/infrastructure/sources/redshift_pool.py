"""Threads with a session each, and the pool that hands them out: the driver blocks and is not thread-safe."""

import asyncio
import decimal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from qupersync_extractor.infrastructure.sources.redshift_connection import RedshiftOptions, Session

_T = TypeVar("_T")

_DECIMAL_DIGITS: Final = 38
_CLOSE_SECONDS_MAX: Final = 10.0


class _AbandonedError(Exception):
    """Nobody waits for the task any more."""


class _Worker:
    """A thread and its session, opened when first needed."""

    def __init__(self, options: RedshiftOptions, number: int) -> None:
        self._options = options
        self._executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=f"redshift-{number}", initializer=_prepare_thread
        )
        self.session: Session | None = None

    def submit(self, task: Callable[[Session], _T], abandoned: threading.Event) -> "Future[_T]":
        return self._executor.submit(self._call, task, abandoned)

    def abort(self) -> None:
        session = self.session
        if session is not None:
            session.abort()

    def shut(self) -> "Future[None]":
        """Aborts what runs and closes the session in its thread."""
        self.abort()
        closed = self._executor.submit(self._drop)
        self._executor.shutdown(wait=False)
        return closed

    def _call(self, task: Callable[[Session], _T], abandoned: threading.Event) -> _T:
        if self.session is not None and (self.session.broken or self.session.worn):
            self._drop()
        if self.session is None:
            self.session = Session.open(self._options)
        try:
            if abandoned.is_set():  # while it was connecting; from here on `abort` reaches the session
                raise _AbandonedError
            return task(self.session)
        finally:
            if self.session.broken:
                self._drop()

    def _drop(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.close()


class RedshiftPool:
    """At most `connections` sessions, the most recently used one first."""

    def __init__(self, options: RedshiftOptions) -> None:
        self._workers = [_Worker(options, number) for number in range(options.connections)]
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for worker in reversed(self._workers):
            self._idle.put_nowait(worker)
        self._closed = False

    def pids(self) -> list[int]:
        """The server's process ids of our sessions."""
        return [session.pid for session in [worker.session for worker in self._workers] if session is not None]

    async def run(self, task: Callable[[Session], _T]) -> _T:
        """The task's result, from a worker's thread. A cancelled task's connection is broken, and the worker stays."""
        if self._closed:
            raise RuntimeError("the source is closed")
        worker = await self._idle.get()
        if self._closed:
            self._idle.put_nowait(worker)
            raise RuntimeError("the source is closed")
        abandoned = threading.Event()
        waiting = asyncio.wrap_future(worker.submit(task, abandoned))
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            abandoned.set()
            worker.abort()
            waiting.add_done_callback(lambda done: self._release(worker, done))
            raise
        self._idle.put_nowait(worker)
        return waiting.result()

    async def close(self) -> None:
        """Breaks what runs and closes every session; safe to call again."""
        if self._closed:
            return
        self._closed = True
        closing = [asyncio.wrap_future(worker.shut()) for worker in self._workers]
        _, late = await asyncio.wait(closing, timeout=_CLOSE_SECONDS_MAX)
        for future in late:  # its thread is still connecting, and ends with that
            future.cancel()

    def _release(self, worker: _Worker, done: "asyncio.Future[Any]") -> None:
        if not done.cancelled():
            done.exception()  # nobody waits for it any more
        self._idle.put_nowait(worker)


def _prepare_thread() -> None:
    decimal.setcontext(decimal.Context(prec=_DECIMAL_DIGITS))  # the driver's NUMERICs are rounded to the context
