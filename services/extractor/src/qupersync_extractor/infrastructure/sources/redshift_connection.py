"""A session of the real driver: connecting, settings, one statement at a time, closing.

The driver reads a whole result before `execute` returns. Whatever goes wrong, the session is thrown away: after a
broken connection the driver would still hand out the rows that came before.
"""

import contextlib
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
import redshift_connector
from redshift_connector.core import Connection

from qupersync_extractor.infrastructure.sources import redshift_columns
from qupersync_extractor.infrastructure.sources.paging_sql import Sql
from qupersync_extractor.infrastructure.sources.redshift_errors import ErrorContext, classify
from qupersync_extractor.infrastructure.sources.redshift_frames import FrameReader, RawRows
from qupersync_extractor.infrastructure.sources.redshift_sql import literal
from qupersync_extractor.infrastructure.sources.redshift_types import DescribedColumn
from qupersync_extractor.infrastructure.sources.redshift_values import Row, to_batch
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import TerminalError

_IDLE_SECONDS_MAX: Final = 300.0
_TEXTS_MAX: Final = 500
_ANSWER_GRACE_SECONDS: Final = 60.0
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


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A whole result; its rows are decoded when they are asked for, as Python's values or in Arrow.

    `raw` are the rows as received; None where the driver has decoded them at once, into its cursor.
    """

    columns: tuple[DescribedColumn, ...]
    binary: bool
    _cursor: Any
    _raw: RawRows | None

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The rows as the driver decodes them; TerminalError for bytes that are no text."""
        if self._raw is None:
            return self._cursor.fetchall()  # type: ignore[no-any-return]
        connection, cached = self._cursor._c, self._cursor._cached_rows  # noqa: SLF001  # where the handler puts it
        rows: list[Row] = []
        for index in range(len(self._raw)):
            try:
                connection.handle_DATA_ROW(self._raw.body(index), self._cursor)
            except UnicodeDecodeError as error:
                raise TerminalError(
                    f"row {index + 1} of a page holds bytes that are not UTF-8: {error.reason}",
                    cure="Mend the value at the source, or leave the column out in a query",
                ) from error
            rows.append(cached.pop())
        return rows

    def to_batch(self, schema: RowSchema, *, cursor: str | None = None) -> pa.RecordBatch:
        """The rows in Arrow, by position: the columns are the schema's, in its order. `cursor` orders them, if set."""
        if self._raw is not None:
            try:
                return redshift_columns.to_batch(self._raw, self._cursor.ps["row_desc"], schema, cursor=cursor)
            except redshift_columns.UnknownFormError:
                pass  # the slow way may know it
        return to_batch(self.rows, schema, cursor=cursor)


class Session:
    """One connection, used by one thread. `broken` after any error: it must not be used again."""

    def __init__(self, connection: Any, context: ErrorContext) -> None:
        self._connection = connection
        self._context = context
        self._frames = FrameReader.install(connection)
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
            _close_half_open(error)
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

    def fetch(self, statement: Sql, context: ErrorContext, *, settings: Sequence[str] = ()) -> Fetched:
        """The result of one statement, in a transaction of its own that has ended when this returns.

        `settings` are statements before it: SET LOCAL.
        """
        with self._guarded(context):
            for setting in settings:
                self._run(Sql(setting))
            fetched = self._answer(statement)
            self._connection.commit()
        return fetched

    def _answer(self, statement: Sql) -> Fetched:
        cursor = self._run(statement)
        return Fetched(
            columns=_described(cursor),
            binary=_BINARY_PROTOCOL in self._connection.parameter_statuses,
            _cursor=cursor,
            _raw=self._frames.rows if self._frames is not None else None,
        )

    def close(self) -> None:
        """Closes the connection, whatever its state."""
        self.broken = True
        parts = (self._connection._sock, self._connection._usock)  # noqa: SLF001  # see `_close`
        with contextlib.suppress(Exception):  # a broken connection refuses even this
            self._connection.close()
        _close(*parts)

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
            self.pid = int(self._answer(Sql("SELECT pg_backend_pid()")).rows[0][0])
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


def _close(*parts: Any) -> None:
    """Closes file and socket: the driver forgets the first when the connection is broken, and it keeps the second."""
    for part in parts:
        with contextlib.suppress(Exception):
            part.close()


def _close_half_open(error: BaseException) -> None:
    """Closes the socket of a connection whose making failed: nobody but the traceback knows it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        made = frame.f_locals.get("self")
        if isinstance(made, Connection):
            _close(getattr(made, "_sock", None), getattr(made, "_usock", None))


def _described(cursor: Any) -> tuple[DescribedColumn, ...]:
    """The row description; `cursor.description` leaves out the type modifier."""
    return tuple(
        DescribedColumn(name=field["label"].decode(), oid=field["type_oid"], modifier=field["type_modifier"])
        for field in cursor.ps["row_desc"]
    )
