"""Sessions of the real driver, each pinned to a thread of its own, and the pool that hands them out.

The driver is not thread-safe, blocks, and reads a whole result before `execute` returns. So every session lives in
one worker thread; whatever goes wrong on it, the session is thrown away: after a broken connection the driver would
still hand out the rows that came before.
"""

import asyncio
import contextlib
import decimal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import pyarrow as pa
import redshift_connector

from qupersync_extractor.infrastructure.sources.paging_sql import Sql
from qupersync_extractor.infrastructure.sources.redshift_errors import ErrorContext, classify
from qupersync_extractor.infrastructure.sources.redshift_sql import literal
from qupersync_extractor.infrastructure.sources.redshift_types import DescribedColumn
from qupersync_extractor.infrastructure.sources.redshift_values import Row, to_batch
from qupersync_shared.contracts.schema import RowSchema

_T = TypeVar("_T")

_DECIMAL_DIGITS: Final = 38
_IDLE_SECONDS_MAX: Final = 300.0
_TEXTS_MAX: Final = 500
_ANSWER_GRACE_SECONDS: Final = 60.0
_CLOSE_SECONDS_MAX: Final = 10.0
_BINARY_PROTOCOL: Final = (b"server_protocol_version", b"2")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedshiftOptions:
    """How to reach the cluster, and how patient to be."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str = "verify-full"
    connections: int = 4
    connect_timeout_seconds: float = 60.0
    statement_timeout_seconds: float = 900.0
    query_group: str = "qupersync"
    application_name: str = "qupersync"

    @property
    def place(self) -> str:
        return f"Redshift at {self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A whole result. A faster way to fetch replaces this class: readers use these three, and no rows elsewhere."""

    columns: tuple[DescribedColumn, ...]
    binary: bool
    rows: Sequence[Row]

    def to_batch(self, schema: RowSchema) -> pa.RecordBatch:
        """The rows in Arrow, by position: the columns are the schema's, in its order."""
        return to_batch(self.rows, schema)


class Session:
    """One connection, used by one thread. `broken` after any error: it must not be used again."""

    def __init__(self, connection: Any, context: ErrorContext) -> None:
        self._connection = connection
        self._context = context
        self._texts: set[str] = set()
        self._used_at = time.monotonic()
        self.broken = False
        self.pid = 0

    @classmethod
    def open(cls, options: RedshiftOptions) -> "Session":
        """A connection with qupersync's settings, proved by a first statement."""
        context = ErrorContext(user=options.user, place=options.place)
        try:
            connection = _connect(options)
        except Exception as error:
            raise classify(error, context) from error
        session = cls(connection, context)
        try:
            session._prepare(options)
        except BaseException:
            session.close()
            raise
        return session

    @property
    def worn(self) -> bool:
        """Whether to replace it: idle too long to be trusted, or full of statement texts, which the driver keeps."""
        return time.monotonic() - self._used_at > _IDLE_SECONDS_MAX or len(self._texts) >= _TEXTS_MAX

    def fetch(self, statement: Sql, context: ErrorContext) -> Fetched:
        """The result of one statement, in a transaction of its own that has ended when this returns."""
        with self._guarded(context):
            cursor = self._run(statement)
            fetched = Fetched(
                columns=_described(cursor),
                binary=_BINARY_PROTOCOL in self._connection.parameter_statuses,
                rows=cursor.fetchall(),
            )
            self._connection.commit()
        return fetched

    def close(self) -> None:
        """Closes the connection, whatever its state."""
        self.broken = True
        with contextlib.suppress(Exception):  # a broken connection refuses even this
            self._connection.close()

    def abort(self) -> None:
        """Breaks the connection from another thread, so that whoever reads from it stops waiting."""
        self.broken = True
        with contextlib.suppress(Exception):
            self._connection._usock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001  # the driver has no cancel

    def _run(self, statement: Sql) -> Any:
        self._texts.add(statement.text)
        cursor = self._connection.cursor()
        cursor.paramstyle = "qmark"
        # Never merge_socket_read: on a connection that breaks inside a frame it may take rows for the end of them.
        cursor.execute(statement.text, statement.values or None)
        return cursor

    def _prepare(self, options: RedshiftOptions) -> None:
        milliseconds = round(options.statement_timeout_seconds * 1000)
        settings = (
            "SET timezone TO 'UTC'",
            "SET datestyle TO 'ISO, MDY'",
            "SET statement_timeout TO " + str(milliseconds),
            "SET query_group TO " + literal(options.query_group),
        )
        with self._guarded(self._context):
            self._connection.autocommit = True
            for setting in settings:
                self._run(Sql(setting))
            self.pid = int(self._run(Sql("SELECT pg_backend_pid()")).fetchall()[0][0])
            self._connection.autocommit = False
            # The driver's `timeout` is the socket's: from here on a read may take as long as a statement.
            self._connection._usock.settimeout(  # noqa: SLF001  # there is no other way to have both time-outs
                options.statement_timeout_seconds + _ANSWER_GRACE_SECONDS
            )

    @contextlib.contextmanager
    def _guarded(self, context: ErrorContext) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.broken = True
            raise classify(error, context) from error
        except BaseException:
            self.broken = True
            raise
        self._used_at = time.monotonic()


class _Worker:
    """A thread and its session, opened when first needed."""

    def __init__(self, options: RedshiftOptions, number: int) -> None:
        self._options = options
        self._executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=f"redshift-{number}", initializer=_prepare_thread
        )
        self.session: Session | None = None

    def submit(self, task: Callable[[Session], _T]) -> "Future[_T]":
        return self._executor.submit(self._call, task)

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

    def _call(self, task: Callable[[Session], _T]) -> _T:
        if self.session is not None and (self.session.broken or self.session.worn):
            self._drop()
        if self.session is None:
            self.session = Session.open(self._options)
        try:
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
        future = worker.submit(task)
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            worker.abort()
            waiting.add_done_callback(lambda done: self._release(worker, done))
            raise
        self._idle.put_nowait(worker)
        return waiting.result()

    async def close(self) -> None:
        """Breaks what runs and closes every session."""
        self._closed = True
        closing = [asyncio.wrap_future(worker.shut()) for worker in self._workers]
        _, late = await asyncio.wait(closing, timeout=_CLOSE_SECONDS_MAX)
        for future in late:  # its thread is still connecting, and ends with that
            future.cancel()

    def _release(self, worker: _Worker, done: "asyncio.Future[Any]") -> None:
        if not done.cancelled():
            done.exception()  # nobody waits for it any more
        self._idle.put_nowait(worker)


def _connect(options: RedshiftOptions) -> Any:
    return redshift_connector.connect(
        host=options.host,
        port=options.port,
        database=options.database,
        user=options.user,
        password=options.password,
        ssl=options.sslmode != "disable",
        sslmode="verify-full" if options.sslmode == "disable" else options.sslmode,
        timeout=max(1, round(options.connect_timeout_seconds)),
        tcp_keepalive=True,
        tcp_keepalive_idle=60,
        tcp_keepalive_interval=15,
        tcp_keepalive_count=4,
        application_name=options.application_name,
        # Nothing is kept prepared: the driver would answer from a description that ALTER TABLE has made untrue.
        max_prepared_statements=0,
    )


def _described(cursor: Any) -> tuple[DescribedColumn, ...]:
    """The row description; `cursor.description` leaves out the type modifier."""
    return tuple(
        DescribedColumn(name=field["label"].decode(), oid=field["type_oid"], modifier=field["type_modifier"])
        for field in cursor.ps["row_desc"]
    )


def _prepare_thread() -> None:
    decimal.setcontext(decimal.Context(prec=_DECIMAL_DIGITS))  # the driver's NUMERICs are rounded to the context
