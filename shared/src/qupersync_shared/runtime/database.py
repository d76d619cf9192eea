"""PostgreSQL for both services: sessions that cannot hold a lane for ever, and one place that classifies errors."""

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from qupersync_shared.kernel.errors import DatabaseUnavailableError, QupersyncError, TerminalError

CONNECT_SECONDS: Final = 5.0
POOL_WAIT_SECONDS: Final = 10.0
RECYCLE_SECONDS: Final = 1800
_ANSWER_SECONDS: Final = 10.0  # how much later than the server's own statement timeout the client gives up
_DEAD_PEER_SECONDS: Final = 20

DATABASE_ERRORS: Final = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection answers that the server has just ended
    OSError,
    TimeoutError,
)
"""What the driver, SQLAlchemy and the network raise; anything else is a defect of ours and passes untranslated."""

# Parameters that libpq knows and asyncpg would send to the server as settings, which refuses the connection.
_LIBPQ_ONLY: Final = frozenset({
    "channel_binding", "connect_timeout", "fallback_application_name", "gssdelegation", "gssencmode", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts", "require_auth",
    "sslcompression", "sslsni", "tcp_user_timeout",
})  # fmt: skip

_CURES: Final = {
    "25006": "Point the DSN at the primary: this server only reads",
    "28000": "Check user, password and pg_hba.conf; the next attempt uses what is valid then",
    "28P01": "Check user and password; the next attempt uses what is valid then",
    "3D000": "Create the database, or mend its name in the DSN",
    "3F000": "Run `migrate`, or create the schema",
    "42501": "GRANT the missing right to this role: `qupersync check` shows the statement",
    "42703": "The table was changed by somebody else: run `migrate`, or restore the column",
    "42704": "Run `migrate`, or create what is missing",
    "42883": "Run `migrate`, or create what is missing",
    "42P01": "Run `migrate`, or create the table",
    "53100": "Make room on the server's disk",
    "53200": "Give the server more memory, or lower its load",
    "53300": "Raise max_connections, or lower `connections`",
    "55P03": "See pg_stat_activity for the session that holds the lock",
}
# Content is refused: two rows where one may be (21), a value (22), a constraint (23, 44), a limit of the engine (54), a
# trigger (P0), a statement that cannot be (0A, 42). All else is the server's state, which changes: nothing is parked
# because a database was ill.
_TERMINAL_CLASSES: Final = frozenset({"0A", "21", "22", "23", "42", "44", "54", "P0"})
_VALUE: Final = re.compile(r"\"[^\"]*\"|(?<=argument )\$\d+.*")  # rows' values do not belong in logs
_PASSING_STATES: Final = frozenset({"42501", "42703", "42704", "42883", "42P01"})


_END_FROZEN: Final = text(
    """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name LIKE 'qupersync%'
      AND pid <> pg_backend_pid() AND state = 'active' AND wait_event = 'ClientRead'
      AND query_start < clock_timestamp() - make_interval(secs => :seconds)
    """
)


def create_engine(
    dsn: str,
    *,
    application_name: str,
    connections: int,
    name: str = "",
    lock_timeout_seconds: float = 10,
    statement_timeout_seconds: float = 60,
    idle_in_transaction_seconds: float = 20,
    pool_wait_seconds: float = POOL_WAIT_SECONDS,
) -> AsyncEngine:
    """An engine of at most `connections` sessions in UTC that the server itself ends when they freeze or vanish.

    `idle_in_transaction_seconds` must lie below the lease or ack wait of what the sessions lock. 0 turns a limit off.
    With 0 `connections` nothing is pooled: each use connects anew, as short tools want it. A pooled connection is made
    anew after half an hour, or when it is found closed. Nothing is connected yet. `name` (outbox, target) is what
    errors of connecting call the database. ValueError when `dsn` is no PostgreSQL DSN.
    """
    options = _options(
        dsn,
        application_name=application_name,
        lock_timeout_seconds=lock_timeout_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
        idle_in_transaction_seconds=idle_in_transaction_seconds,
    )

    async def creator() -> asyncpg.Connection:
        return await _connect(options, name)

    pool: dict[str, Any] = {"poolclass": NullPool}
    if connections:
        pool = {
            "pool_size": connections,
            "max_overflow": 0,
            "pool_timeout": pool_wait_seconds,
            "pool_recycle": RECYCLE_SECONDS,
            "pool_use_lifo": True,
        }
    # The DSN stays out of the engine, and so out of every repr and log.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator, hide_parameters=True, **pool)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


async def connect(
    dsn: str,
    *,
    application_name: str,
    name: str = "",
    lock_timeout_seconds: float = 10,
    statement_timeout_seconds: float = 60,
    idle_in_transaction_seconds: float = 20,
) -> asyncpg.Connection:
    """One connection outside any pool, with the same limits; for LISTEN and for locks of a whole session."""
    options = _options(
        dsn,
        application_name=application_name,
        lock_timeout_seconds=lock_timeout_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
        idle_in_transaction_seconds=idle_in_transaction_seconds,
    )
    with translated():
        return await _connect(options, name)


async def raw_connection(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver's connection, proven to be inside the transaction of `connection`; RuntimeError otherwise.

    SQLAlchemy opens its transaction with the first statement: a COPY before it would commit by itself. Hold no row lock
    while a COPY runs: no timeout of the server ends a COPY whose client has frozen.
    """
    driver: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
    if not connection.in_transaction() or driver is None or not driver.is_in_transaction():
        raise RuntimeError("not inside a transaction: execute a statement on the connection first")
    return driver


async def end_frozen_sessions(connection: AsyncConnection, *, older_than_seconds: float = 60) -> int:
    """Ends this role's qupersync sessions in this database that froze while sending; how many there were.

    A client that stops in the middle of a COPY or of a long parameter keeps its locks: the server waits for the rest of
    the message, and no statement, lock or idle timeout ends that wait (measured on PostgreSQL 18). Call it after a lock
    timeout; beyond the statement timeout a session that still sends cannot be a living one.
    """
    with translated():
        ended = await connection.execute(_END_FROZEN, {"seconds": older_than_seconds})
        return len(ended.all())


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Whatever the database raises in the block leaves it as a QupersyncError."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise translate(error) from error


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's five characters for what went wrong, from under any wrapping; None if the server said nothing."""
    seen: BaseException | None = error
    while seen is not None:
        state = getattr(seen, "sqlstate", None)
        if isinstance(state, str):
            return state
        seen = seen.orig if isinstance(seen, DBAPIError) else seen.__cause__
    return None


def translate(error: BaseException) -> QupersyncError:
    """DatabaseUnavailableError or TerminalError for what a database raised; a QupersyncError as it is."""
    if isinstance(error, QupersyncError):
        return error
    cause = _cause(error)
    state = sqlstate(cause)
    match cause:
        case PoolTimeoutError():
            verdict: QupersyncError = DatabaseUnavailableError(
                "every database connection stayed busy",
                cure="Raise `connections`, or see what keeps the database slow",
            )
        case TimeoutError() | OSError():
            verdict = _unreachable(cause)
        case asyncpg.ClientConfigurationError():
            verdict = TerminalError("the DSN is malformed", cure="Write postgresql://user@host:5432/database")
        case asyncpg.InvalidCachedStatementError():
            verdict = DatabaseUnavailableError("a table changed under a prepared statement")
        case _ if state is not None:
            verdict = _refused(cause, state)
        case _ if isinstance(cause, DATABASE_ERRORS):
            verdict = DatabaseUnavailableError(f"the database connection failed: {_first_line(cause)}")
        case _:
            verdict = TerminalError(f"{type(error).__name__}: {error}")
    return verdict


def _refused(error: BaseException, state: str) -> QupersyncError:
    message = _first_line(error)
    if state.startswith("22"):
        message = _VALUE.sub("…", message)
    database = _connected_to(error)
    words = "the database connection was lost" if state.startswith("08") else "PostgreSQL refused"
    if database is not None:
        words = f"the {database} refused"
    terminal = state[:2] in _TERMINAL_CLASSES and state not in _PASSING_STATES
    kind = TerminalError if terminal else DatabaseUnavailableError
    return kind(f"{words}: {message} ({state})", cure=_CURES.get(state, ""))


def _cause(error: BaseException) -> BaseException:
    """The driver's error under SQLAlchemy's wrapping."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def _unreachable(error: TimeoutError | OSError) -> DatabaseUnavailableError:
    database = _connected_to(error) or "database"
    if isinstance(error, TimeoutError) and not str(error):
        return DatabaseUnavailableError(
            f"the {database} did not answer in time", cure="Check that the server is up and can be reached"
        )
    return DatabaseUnavailableError(
        f"the {database} cannot be reached: {_first_line(error)}", cure="Check host, port and that the server is up"
    )


class _Database(str):
    """A note on an error of connecting: which database it was, and where."""

    __slots__ = ()


def _connected_to(error: BaseException) -> str | None:
    """The database that the error kept from being connected to; None where a connection was there already."""
    return next((note for note in getattr(error, "__notes__", ()) if isinstance(note, _Database)), None)


def address(dsn: str) -> str:
    """Where the DSN leads, as errors may tell it: hosts, ports and database, without user, password and settings."""
    parts = urlsplit(dsn)
    hosts = parts.netloc.rpartition("@")[2] or next((v for k, v in parse_qsl(parts.query) if k == "host"), "localhost")
    return f"{hosts}{parts.path}"


def _first_line(error: BaseException) -> str:
    """The primary message alone: details and hints of the server hold rows' values."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def _options(
    dsn: str,
    *,
    application_name: str,
    lock_timeout_seconds: float,
    statement_timeout_seconds: float,
    idle_in_transaction_seconds: float,
) -> dict[str, Any]:
    return {
        "dsn": _plain_dsn(dsn),
        "timeout": CONNECT_SECONDS,
        "command_timeout": statement_timeout_seconds + _ANSWER_SECONDS if statement_timeout_seconds else None,
        "server_settings": {
            "application_name": application_name,
            "TimeZone": "UTC",
            "jit": "off",
            "default_transaction_isolation": "read committed",
            "lock_timeout": _milliseconds(lock_timeout_seconds),
            "statement_timeout": _milliseconds(statement_timeout_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(idle_in_transaction_seconds),
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": _milliseconds(_DEAD_PEER_SECONDS),
        },
    }


def _plain_dsn(dsn: str) -> str:
    """The DSN as asyncpg reads it: SQLAlchemy's driver name and libpq's private parameters left out."""
    parts = urlsplit(dsn)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in {"postgresql", "postgres"}:
        raise ValueError("not a PostgreSQL DSN: write postgresql://user@host:5432/database")
    query = [(name, value) for name, value in parse_qsl(parts.query, True) if name not in _LIBPQ_ONLY]
    return urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query)))


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


async def _connect(options: dict[str, Any], name: str) -> asyncpg.Connection:
    try:
        connection = await asyncpg.connect(**options)
    except DATABASE_ERRORS as error:
        error.add_note(_Database(f"{name} database at {address(options['dsn'])}".lstrip()))
        raise
    _notice_dead_peers(connection)
    return connection


def _notice_dead_peers(connection: asyncpg.Connection) -> None:
    """Lets the kernel end a connection whose server vanished without a word, also where we only wait (LISTEN)."""
    transport = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError, AttributeError):  # some systems lack some of them
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_SECONDS * 1000)


def _refuse_closed(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """The pool makes a new connection instead of handing out a closed one: a check without a round trip.

    `pool_pre_ping` would cost three. What this misses fails as transient, and whoever works here tries again.
    """
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError("the connection was closed while it was idle")


def affected(tag: str) -> int:
    """The number at the end of a command's tag, as in `INSERT 0 17`."""
    return int(tag.rpartition(" ")[2])
