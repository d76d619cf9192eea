"""The stack on a thread of its own, for callers without an event loop or with loops that come and go."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from qupersync_local.stack import LocalStack, StackOptions
from qupersync_local.standin.faults import FaultBook

_Value = TypeVar("_Value")
_START_SECONDS_MAX = 120.0
_CALL_SECONDS_MAX = 120.0


class ThreadedStack:
    """A `LocalStack` with synchronous methods. `stack` is the stack itself; its coroutines go through `call`."""

    def __init__(self, directory: Path | None = None, *, options: StackOptions | None = None) -> None:
        self._directory = directory
        self._options = options
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._stack: LocalStack | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._live, name="qupersync-local-stack", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the stack; returns when all of it accepts connections."""
        self._thread.start()
        if not self._ready.wait(_START_SECONDS_MAX):
            raise TimeoutError(f"the local stack did not start within {_START_SECONDS_MAX} s")
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """Stop everything and remove its directory."""
        if self._loop is not None and self._end is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def stack(self) -> LocalStack:
        assert self._stack is not None, "start the stack first"
        return self._stack

    @property
    def faults(self) -> FaultBook:
        """Faults of the stand-in and the record of its statements; may be used from any thread."""
        return self.stack.source.faults

    def describe(self) -> dict[str, Any]:
        return self.stack.describe()

    def call(self, what: Coroutine[Any, Any, _Value], *, timeout_seconds: float = _CALL_SECONDS_MAX) -> _Value:
        """Run a coroutine of the stack on its own loop: `threaded.call(threaded.stack.nats.restart())`."""
        assert self._loop is not None, "start the stack first"
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout_seconds)

    def execute_source(self, sql: str) -> None:
        """Run a script in the PostgreSQL behind the stand-in, as superuser: to make tables and load rows."""
        source = self.stack.source
        self.call(source.postgres.execute(sql, database=source.database))

    def create_database(self, name: str, *, owner: str, template: str = "template0") -> None:
        """A database in the server of outbox and target."""
        self.call(self.stack.postgres.create_database(name, owner=owner, template=template))

    def drop_database(self, name: str) -> None:
        """Drop a database of the server of outbox and target, whoever is connected."""
        self.call(self.stack.postgres.drop_database(name))

    def _live(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in start()
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        async with LocalStack.start(self._directory, options=self._options) as stack:
            self._stack = stack
            self._ready.set()
            await self._end.wait()
