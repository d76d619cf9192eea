"""Connections of the unpatched driver to the stand-in of the session's stack."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redshift_connector
from redshift_connector.core import Connection
from redshift_connector.cursor import Cursor

from qupersync_local.standin import FaultBook, RedshiftStandin
from qupersync_local.threaded import ThreadedStack

Connect = Callable[..., Connection]


def discard(connection: Connection) -> None:
    """Close what is left of a connection that may be broken."""
    for part in (connection._sock, connection._usock):
        with contextlib.suppress(OSError, AttributeError):
            part.close()


@pytest.fixture(scope="session")
def source(local_stack: ThreadedStack) -> RedshiftStandin:
    return local_stack.stack.source


@pytest.fixture
def faults(source: RedshiftStandin) -> Iterator[FaultBook]:
    source.faults.clear()
    source.faults.forget()
    yield source.faults
    source.faults.clear()


@pytest.fixture
def connect(source: RedshiftStandin) -> Iterator[Connect]:
    made: list[Connection] = []

    def make(**changes: Any) -> Connection:
        connection = redshift_connector.connect(**source.connection(**changes))
        made.append(connection)
        return connection

    yield make
    for connection in made:
        discard(connection)
    gc.collect()  # here, where the driver's sockets of refused logins may be left unclosed


@pytest.fixture
def cursor(connect: Connect) -> Cursor:
    connection = connect()
    connection.autocommit = True
    return connection.cursor()


@pytest.fixture
def run(cursor: Cursor) -> Callable[..., list[list[Any]]]:
    def rows(sql: str, arguments: tuple[Any, ...] | None = None) -> list[list[Any]]:
        cursor.execute(sql, arguments)
        return list(cursor.fetchall())

    return rows
