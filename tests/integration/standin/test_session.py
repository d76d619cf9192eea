"""Logging in, encryption, sessions and statements as the driver has them with a cluster."""

import asyncio
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redshift_connector
from redshift_connector.error import Error, InterfaceError, ProgrammingError

from qupersync_local import demo_data
from qupersync_local.standin import FaultBook, RedshiftStandin, wire
from qupersync_local.standin.certificate import make_certificate, server_context
from qupersync_local.standin.front import Front
from qupersync_local.threaded import ThreadedStack

# The driver does not close its socket when a login is refused.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:ssl.:DeprecationWarning"),  # of the driver's making
]
ROWS = 100_000
BIG = "billing.big"


@pytest.fixture(scope="module")
def big(local_stack: ThreadedStack) -> Iterator[str]:
    async def seed() -> None:
        import asyncpg

        connection = await asyncpg.connect(local_stack.stack.source.admin_dsn)
        await demo_data.seed_cost_usage(connection, rows=ROWS, table=BIG)
        await connection.close()

    local_stack.call(seed())
    yield BIG
    local_stack.execute_source(f"DROP TABLE {BIG}")


def front(stack: ThreadedStack, **options: Any) -> Front:
    source = stack.stack.source
    made = Front(behind=source.postgres, book=FaultBook(), types=source.front.types, **options)
    stack.call(made.run())
    return made


def test_a_wrong_password_is_refused_as_redshift_does(connect: Any) -> None:
    with pytest.raises(InterfaceError) as error:
        connect(password="wrong")
    assert error.value.args[0]["C"] == "28000"


def test_an_unknown_user_and_an_unknown_database(connect: Any) -> None:
    with pytest.raises(InterfaceError) as error:
        connect(user="nobody_knows")
    assert error.value.args[0]["C"] == "28000"
    with pytest.raises(ProgrammingError) as absent:
        connect(database="nowhere")
    assert absent.value.args[0]["C"] == "3D000"


def test_without_a_certificate_encryption_is_refused(connect: Any) -> None:
    with pytest.raises(InterfaceError, match="Server refuses SSL"):
        connect(ssl=True, sslmode="verify-full", host="localhost")


def test_encryption_with_a_certificate(
    local_stack: ThreadedStack, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = local_stack.call(make_certificate(tmp_path))
    encrypted = front(local_stack, tls=server_context(certificate))
    try:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        cursor = connect(ssl=True, sslmode="verify-full", host="localhost", port=encrypted.port).cursor()
        cursor.execute("SELECT n FROM generate_series(1, 20000) AS n")
        assert sum(row[0] for row in cursor.fetchall()) == 200_010_000
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(InterfaceError):
            connect(ssl=True, sslmode="verify-full", host="localhost", port=encrypted.port)
    finally:
        local_stack.call(encrypted.stop())


def test_a_server_that_only_speaks_protocol_0(local_stack: ThreadedStack, connect: Any) -> None:
    plain = front(local_stack, protocol=0)
    try:
        connection = connect(port=plain.port)
        assert connection._client_protocol_version == 0
        cursor = connection.cursor()
        cursor.execute("SELECT CAST(-1.50 AS numeric(18,2))")
        assert [str(value) for (value,) in cursor.fetchall()] == ["-1.50"]
    finally:
        local_stack.call(plain.stop())


@pytest.mark.parametrize("protocol", [2, 0])
def test_a_hundred_thousand_rows(big: str, connect: Any, protocol: int) -> None:
    cursor = connect(client_protocol_version=protocol).cursor()
    cursor.execute(f"SELECT id, effective_cost, list_cost, tags, updated_at FROM {big} ORDER BY id")
    rows = cursor.fetchall()
    assert len(rows) == ROWS
    assert [row[0] for row in rows] == list(range(1, ROWS + 1))
    cursor.execute(
        f"SELECT CAST(sum(effective_cost) AS numeric(38,6)), CAST(sum(list_cost) AS numeric(38,6)) FROM {big}"
    )
    assert list(cursor.fetchall()) == [[sum(row[1] for row in rows), sum(row[2] or 0 for row in rows)]]


def test_twenty_connections_at_once(big: str, source: RedshiftStandin) -> None:
    found: list[int] = []
    failed: list[BaseException] = []

    def read(part: int) -> None:
        try:
            with redshift_connector.connect(**source.connection()) as connection:
                cursor = connection.cursor()
                for _ in range(3):
                    cursor.execute(f"SELECT id, effective_cost FROM {big} WHERE id %% 20 = %s", (part,))
                    found.append(len(cursor.fetchall()))
        except (Error, OSError, AssertionError) as error:
            failed.append(error)

    threads = [threading.Thread(target=read, args=(part,)) for part in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert found == [ROWS // 20] * 60


def test_a_statement_is_prepared_once_and_used_again(cursor: Any, faults: FaultBook) -> None:
    for value in (1, 2, 3):
        cursor.execute("SELECT %s::int AS again, CAST(%s AS numeric(18,2))", (value, value))
        assert list(cursor.fetchall()) == [[value, value]]
    assert faults.executed("AS again") == 3
    assert faults.statements("again") == ["SELECT $1::int AS again, CAST($2 AS numeric(18,2))"] * 3


def test_unnamed_statements(connect: Any) -> None:
    cursor = connect(max_prepared_statements=0).cursor()
    for value in (1, 2):
        cursor.execute("SELECT CAST(%s AS numeric(20,1))", (value,))
        assert list(cursor.fetchall()) == [[value]]


def test_transactions_and_autocommit(connect: Any, faults: FaultBook, local_stack: ThreadedStack) -> None:
    local_stack.execute_source("CREATE TABLE billing.moving AS SELECT 1 AS n")
    try:
        connection = connect()
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM billing.moving")
        local_stack.execute_source("INSERT INTO billing.moving VALUES (2)")
        cursor.execute("SELECT count(*) FROM billing.moving")
        assert list(cursor.fetchall()) == [[1]], "a transaction reads one snapshot"
        connection.rollback()
        cursor.execute("SELECT count(*) FROM billing.moving")
        assert list(cursor.fetchall()) == [[2]]
        connection.commit()
        assert faults.executed("^begin transaction") == 2
        connection.autocommit = True
        cursor.execute("SELECT 1")
        assert faults.executed("^begin transaction") == 2
    finally:
        local_stack.execute_source("DROP TABLE billing.moving")


def test_settings_of_redshift(run: Any, cursor: Any) -> None:
    for statement in (
        "SET query_group TO 'qupersync'",
        "SET SESSION query_group = 'qupersync'",
        "SET timezone TO 'UTC'",
        "SET statement_timeout TO 60000",
        "SET enable_result_cache_for_session TO off",
        "SET application_name TO 'qupersync'",
    ):
        cursor.execute(statement)
    assert run("SHOW query_group") == [["qupersync"]]
    assert run("SHOW statement_timeout") == [["1min"]]
    cursor.execute("RESET query_group")
    assert run("SHOW query_group") == [[""]]


def test_names_fold_to_lower_case_unless_told_otherwise(run: Any, cursor: Any) -> None:
    assert run('SELECT "N" FROM (SELECT 1 AS n) AS t') == [[1]]
    cursor.execute('SELECT 1 AS "MixedCase"')
    assert cursor.description[0][0] == "mixedcase"
    cursor.execute("SET enable_case_sensitive_identifier TO true")
    cursor.execute('SELECT 2 AS "MixedCase"')
    assert cursor.description[0][0] == "MixedCase"
    cursor.execute("RESET enable_case_sensitive_identifier")
    cursor.execute('SELECT 3 AS "MixedCase"')
    assert cursor.description[0][0] == "mixedcase"


def test_codes_of_errors_pass_through(cursor: Any) -> None:
    for statement, code in (
        ("SELECT * FROM billing.absent", "42P01"),
        ("SELECT absent FROM pg_class", "42703"),
        ("SELEC 1", "42601"),
        ("SELECT 1 / 0", "22012"),
        ("CREATE TABLE billing.mine (n int)", "42501"),
    ):
        with pytest.raises(ProgrammingError) as error:
            cursor.execute(statement)
        assert error.value.args[0]["C"] == code


def test_a_statement_that_takes_too_long_is_cancelled(cursor: Any) -> None:
    cursor.execute("SET statement_timeout TO 50")
    with pytest.raises(ProgrammingError) as error:
        cursor.execute("SELECT pg_sleep(30)")
    assert error.value.args[0]["C"] == "57014"


def test_cancel_from_outside(connect: Any, source: RedshiftStandin, faults: FaultBook) -> None:
    connection = connect()
    caught: list[BaseException] = []

    def sleep() -> None:
        try:
            connection.cursor().execute("SELECT pg_sleep(30)")
        except ProgrammingError as error:
            caught.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    faults.wait_executed("pg_sleep")
    while thread.is_alive():  # a request that comes before the statement runs is lost, as with any PostgreSQL
        with socket.create_connection((source.host, source.port)) as channel:
            channel.sendall(struct.pack("!ii", 16, wire.CANCEL_REQUEST) + connection._backend_key_data)
            assert channel.recv(1) == b""
        thread.join(0.2)
    assert [error.args[0]["C"] for error in caught] == ["57014"]


async def test_bytes_in_pieces(source: RedshiftStandin) -> None:
    """Nothing depends on where TCP cuts: a client that sends byte by byte."""
    reader, writer = await asyncio.open_connection(source.host, source.port)
    login = {"user": source.user, "database": source.database, "client_protocol_version": "2"}
    for byte in wire.startup_packet(login):
        writer.write(bytes([byte]))
        await writer.drain()
    kinds, rows = [], []
    while True:
        head = await reader.readexactly(5)
        body = await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
        kinds.append(head[:1])
        if head[:1] == b"R" and body[:4] == struct.pack("!i", 5):
            inner = hashlib.md5((source.password + source.user).encode()).hexdigest()
            answer = b"md5" + hashlib.md5(inner.encode() + body[4:]).hexdigest().encode() + b"\0"
            writer.write(wire.message(b"p", answer))
        if head[:1] == b"D":
            rows.append(body)
        if head[:1] == b"Z":
            if rows:
                break
            for byte in wire.message(b"Q", b"SELECT 7 AS n; SELECT 8 AS n\0"):
                writer.write(bytes([byte]))
                await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert rows == [b"\0\1\0\0\0\1" + digit for digit in (b"7", b"8")]
    assert kinds.count(b"T") == 2


def test_sessions_end_with_the_server_behind(local_stack: ThreadedStack) -> None:
    """A front of its own, so that other tests' sessions live on."""
    own = front(local_stack)
    source = local_stack.stack.source
    connection = redshift_connector.connect(**source.connection(port=own.port))
    assert own.sessions == 1
    local_stack.call(own.stop())
    assert own.sessions == 0
    with pytest.raises((InterfaceError, OSError)):
        connection.cursor().execute("SELECT 1")
    for part in (connection._sock, connection._usock):
        with contextlib.suppress(OSError):
            part.close()
