"""How database errors are classified, and what becomes of a DSN."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_shared.kernel.errors import (
    DatabaseUnavailableError,
    LeaseLostError,
    QupersyncError,
    TerminalError,
    TransientError,
)
from qupersync_shared.runtime.database import (
    connect,
    create_engine,
    raw_connection,
    sqlstate,
    translate,
    translated,
)

DSN = "postgresql://somebody:s3cret@db.example:5432/app"


def server_error(state: str, message: str = "it is so") -> asyncpg.PostgresError:
    """What asyncpg raises for an ErrorResponse with this state."""
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": message, "S": "ERROR", "V": "ERROR"})
    return error


def bare(error: BaseException) -> BaseException:
    return error


def wrapped(error: BaseException) -> BaseException:
    """As it comes out of SQLAlchemy: the dialect's error, caused by the driver's, inside a DBAPIError."""
    dialects = Exception(f"{type(error)}: {error}")
    dialects.__cause__ = error
    return DBAPIError("SELECT …", None, dialects)


WRAPPINGS = pytest.mark.parametrize("wrap", [bare, wrapped])
Wrap = Callable[[BaseException], BaseException]

PASSING = (
    "08000 08001 08003 08004 08006 08007 08P01 25006 25P02 25P03 25P04 28000 28P01 3D000 3F000 40001 40003 40P01 42501 "
    "42703 42704 42883 42P01 53000 53100 53200 53300 53400 55000 55006 55P03 57014 57P01 57P02 57P03 57P04 57P05 "
    "58000 58030 58P01 F0001 XX000 XX001 XX002 ZZ999"
)
TERMINAL = (
    "0A000 21000 22000 22001 22003 22007 22008 2200G 22021 22P02 22P05 23000 23502 23503 23505 23514 23P01 42601 "
    "42804 42846 42P07 44000 54000 54001 54011 P0001"
)


@WRAPPINGS
@pytest.mark.parametrize("state", PASSING.split())
def test_the_servers_troubles_pass(state: str, wrap: Wrap) -> None:
    error = wrap(server_error(state))
    assert isinstance(translate(error), DatabaseUnavailableError)
    assert sqlstate(error) == state


@WRAPPINGS
@pytest.mark.parametrize("state", TERMINAL.split())
def test_refused_content_does_not(state: str, wrap: Wrap) -> None:
    error = wrap(server_error(state))
    assert isinstance(translate(error), TerminalError)
    assert sqlstate(error) == state


@WRAPPINGS
@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "refused"),
        ConnectionResetError(104, "reset"),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.InvalidCachedStatementError("cached statement plan is invalid"),
        asyncpg.TargetServerAttributeNotMatched("none is primary"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_lost_connections_are_transient(error: BaseException, wrap: Wrap) -> None:
    found = translate(wrap(error))
    assert isinstance(found, DatabaseUnavailableError)
    assert found.message


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        ("postgresql://someone:top-secret@127.0.0.1:1/app?password=other-secret", "127.0.0.1:1/app"),
        ("postgresql:///app?host=/nowhere/top&password=other-secret", "/nowhere/top/app"),
    ],
)
async def test_errors_of_connecting_say_which_database_and_where(dsn: str, place: str) -> None:
    engine = create_engine(dsn, application_name="qupersync-test", connections=1, name="target")
    try:
        error = await _fails(engine)
    finally:
        await engine.dispose()
    assert isinstance(error, DatabaseUnavailableError)
    assert str(error).startswith(f"the target database at {place} cannot be reached: ")
    with pytest.raises(DatabaseUnavailableError, match=f"the database at {place} cannot be reached: ") as bare_one:
        await connect(dsn, application_name="qupersync-test")
    assert "secret" not in f"{error}{bare_one.value}"


def test_a_refusal_while_connecting_names_the_database_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(**_: Any) -> None:
        raise server_error("28P01", "password authentication failed")

    monkeypatch.setattr(asyncpg, "connect", refused)
    with pytest.raises(DatabaseUnavailableError, match=r"^the outbox database at db:5432/q refused: password"):
        asyncio.run(connect("postgresql://u:p@db:5432/q", application_name="qupersync-test", name="outbox"))


def test_a_busy_pool_is_transient() -> None:
    found = translate(PoolTimeoutError("QueuePool limit of size 1 overflow 0 reached"))
    assert isinstance(found, DatabaseUnavailableError)
    assert "connections" in found.cure


def test_a_malformed_dsn_is_not() -> None:
    assert isinstance(translate(asyncpg.ClientConfigurationError("invalid DSN")), TerminalError)


def test_our_own_errors_stay_as_they_are() -> None:
    error = LeaseLostError("another has it")
    assert translate(error) is error


@pytest.mark.parametrize("state", ["25006", "28P01", "28000", "3D000", "42501", "42P01", "53100", "53300"])
def test_what_an_operator_can_mend_has_a_cure(state: str) -> None:
    assert translate(server_error(state)).cure


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("22P02", 'invalid input syntax for type integer: "4111 1111"'),
        ("22003", 'value "41111111" is out of range for type integer'),
        ("22000", "invalid input for query argument $1: '41111111' ('str' object …)"),
        ("22000", "invalid input for query argument $3 in element #0 of executemany() sequence: '4111'"),
    ],
)
def test_values_of_rows_stay_out_of_messages(state: str, message: str) -> None:
    assert "4111" not in str(translate(server_error(state, message)))


def test_details_of_the_server_stay_out_of_messages() -> None:
    error = asyncpg.PostgresError.new(
        {"C": "23505", "M": "duplicate key value", "D": "Key (card)=(4111) already exists.", "S": "ERROR", "V": "ERROR"}
    )
    assert "4111" not in str(translate(error))
    assert "duplicate key value" in str(translate(error))


def test_defects_pass_through_the_translation() -> None:
    with pytest.raises(KeyError), translated():
        raise KeyError("defect")
    with pytest.raises(TransientError), translated():
        raise ConnectionResetError
    with pytest.raises(asyncio.CancelledError), translated():
        raise asyncio.CancelledError


@pytest.mark.parametrize("dsn", ["mysql://db/app", "db.example/app", "", "host=db dbname=app"])
def test_another_kind_of_dsn_is_refused(dsn: str) -> None:
    with pytest.raises(ValueError, match="PostgreSQL DSN"):
        create_engine(dsn, application_name="test", connections=1)


async def test_secrets_stay_out_of_the_engine(captured: dict[str, Any]) -> None:
    engine = create_engine(DSN, application_name="test", connections=1)
    assert "s3cret" not in repr(engine)
    assert "s3cret" not in str(engine.url)
    await _fails(engine)
    assert captured["dsn"] == DSN


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql+asyncpg://db/app", "postgresql://db/app"),
        ("postgres://db/app", "postgresql://db/app"),
        ("postgresql://db/app?sslmode=verify-full&connect_timeout=3", "postgresql://db/app?sslmode=verify-full"),
        ("postgresql://db/app?channel_binding=require&keepalives=1", "postgresql://db/app"),
        (
            "postgresql://u:p%40ss@db/app?options=-c%20work_mem%3D64MB",
            "postgresql://u:p%40ss@db/app?options=-c+work_mem%3D64MB",
        ),
    ],
)
async def test_a_dsn_is_read_as_libpq_would(captured: dict[str, Any], given: str, used: str) -> None:
    await _fails(create_engine(given, application_name="test", connections=1))
    assert captured["dsn"] == used


async def test_sessions_have_their_limits(captured: dict[str, Any]) -> None:
    await _fails(
        create_engine(
            DSN,
            application_name="qupersync-loader",
            connections=1,
            lock_timeout_seconds=0.25,
            statement_timeout_seconds=3,
            idle_in_transaction_seconds=4,
        )
    )
    settings = captured["server_settings"]
    assert settings["application_name"] == "qupersync-loader"
    assert settings["TimeZone"] == "UTC"
    assert settings["lock_timeout"] == "250"
    assert settings["statement_timeout"] == "3000"
    assert settings["idle_in_transaction_session_timeout"] == "4000"
    assert {"tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"} <= set(
        settings
    )
    assert captured["timeout"] == 5
    assert captured["command_timeout"] > 3


async def test_no_statement_limit_means_none_on_either_side(captured: dict[str, Any]) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await connect(DSN, application_name="test", statement_timeout_seconds=0)
    assert captured["command_timeout"] is None
    assert captured["server_settings"]["statement_timeout"] == "0"


async def test_a_connection_outside_a_transaction_is_not_for_copying() -> None:
    class Driver:
        inside = False

        def is_in_transaction(self) -> bool:
            return self.inside

    class Raw:
        driver_connection = Driver()

    class Connection:
        begun = False

        async def get_raw_connection(self) -> Raw:
            return Raw()

        def in_transaction(self) -> bool:
            return self.begun

    connection: Any = Connection()
    for begun, inside in ((False, False), (True, False), (False, True)):
        connection.begun, Raw.driver_connection.inside = begun, inside
        with pytest.raises(RuntimeError, match="not inside a transaction"):
            await raw_connection(connection)
    connection.begun = Raw.driver_connection.inside = True
    assert await raw_connection(connection) is Raw.driver_connection


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the driver is asked to connect with; it never does."""
    given: dict[str, Any] = {}

    async def refuse(**options: Any) -> None:
        given.update(options)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(asyncpg, "connect", refuse)
    return given


async def _fails(engine: AsyncEngine) -> QupersyncError:
    with pytest.raises(OSError) as raised:  # noqa: PT011  # of several kinds
        await engine.connect()
    await engine.dispose()
    return translate(raised.value)
