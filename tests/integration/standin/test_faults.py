"""Each fault, as the driver sees it."""

import struct
import threading
import time
from typing import Any

import pytest
from redshift_connector.error import InterfaceError, ProgrammingError

from qupersync_local.standin import Fault, FaultBook, FaultKind, RedshiftStandin
from qupersync_local.standin import faults as order
from qupersync_local.standin.admin import AdminClient

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
NUMBERS = "SELECT n, CAST(n AS numeric(18,2)) AS amount FROM generate_series(1, 1000) AS n"
# All that the driver makes of a connection that is lost in the middle of something.
BROKEN = (InterfaceError, OSError, KeyError, struct.error)


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (order.serialization_failure("series"), "XX000", ("1023", "Serializable isolation violation on table")),
        (order.query_cancelled("series"), "57014", ("cancelled",)),
        (order.disk_full("series"), "XX000", ("Disk Full", "code:      1016")),
        (order.permission_denied("series"), "42501", ("permission denied for relation",)),
    ],
)
def test_errors(cursor: Any, faults: FaultBook, fault: Fault, code: str, words: tuple[str, ...]) -> None:
    number = faults.add(fault)
    with pytest.raises(ProgrammingError) as error:
        cursor.execute(NUMBERS)
    fields = error.value.args[0]
    assert fields["C"] == code
    assert all(word in fields["M"] + fields.get("D", "") for word in words)
    assert faults.fired(number) == 1
    cursor.execute(NUMBERS)  # the order is fulfilled, the prepared statement still good
    assert len(cursor.fetchall()) == 1000


def test_an_error_aborts_the_transaction(connect: Any, faults: FaultBook) -> None:
    connection = connect()
    cursor = connection.cursor()
    faults.add(order.serialization_failure("series"))
    with pytest.raises(ProgrammingError):
        cursor.execute(NUMBERS)
    with pytest.raises(ProgrammingError) as error:
        cursor.execute("SELECT 1")
    assert error.value.args[0]["C"] == "25P02"
    connection.rollback()
    cursor.execute("SELECT 1")


def test_skip_and_times(cursor: Any, faults: FaultBook) -> None:
    faults.add(order.query_cancelled("AS nth", skip=1, times=2))
    seen = []
    for _ in range(5):
        try:
            cursor.execute("SELECT 1 AS nth")
            seen.append("done")
        except ProgrammingError as error:
            seen.append(error.args[0]["C"])
    assert seen == ["done", "57014", "57014", "done", "done"]
    cursor.execute("SELECT 1 AS other")
    assert faults.executed("AS nth") == 5
    assert faults.executed("never") == 0


@pytest.mark.parametrize("protocol", [2, 0])
@pytest.mark.parametrize("after", [0, 1, 500, 5000])
def test_a_connection_that_breaks_in_a_frame(connect: Any, faults: FaultBook, protocol: int, after: int) -> None:
    connection = connect(client_protocol_version=protocol)
    cursor = connection.cursor()
    faults.add(order.drop_connection("series", after_rows=after))
    with pytest.raises(BROKEN):
        cursor.execute(NUMBERS)
    assert len(cursor._cached_rows) <= 1000
    if 0 < after < 1000:
        assert len(cursor._cached_rows) >= after - 1
    again = connect(client_protocol_version=protocol).cursor()
    again.execute(NUMBERS)
    assert len(again.fetchall()) == 1000


def test_a_stall_lasts_as_long_as_ordered(cursor: Any, faults: FaultBook) -> None:
    faults.add(order.stall("series", seconds=0.2, after_rows=10))
    began = time.monotonic()
    cursor.execute(NUMBERS)
    assert time.monotonic() - began >= 0.2
    assert [row[0] for row in cursor.fetchall()] == list(range(1, 1001))


def test_a_stall_ends_when_it_is_withdrawn(cursor: Any, faults: FaultBook) -> None:
    number = faults.add(order.stall("series", seconds=3600))
    thread = threading.Thread(target=cursor.execute, args=(NUMBERS,))
    thread.start()
    faults.wait_fired(number)
    assert thread.is_alive()
    faults.remove(number)
    thread.join(30)
    assert len(cursor.fetchall()) == 1000


def test_the_client_gives_up_on_a_stall(connect: Any, source: RedshiftStandin, faults: FaultBook) -> None:
    before = source.front.sessions
    connection = connect(timeout=1)
    faults.add(order.stall("series", seconds=3600, after_rows=3))
    with pytest.raises(BROKEN):
        connection.cursor().execute(NUMBERS)
    for part in (connection._sock, connection._usock):
        part.close()
    end = time.monotonic() + 20
    while source.front.sessions > before and time.monotonic() < end:
        time.sleep(0.01)
    assert source.front.sessions <= before


def test_an_idle_session_is_closed(connect: Any, faults: FaultBook) -> None:
    connection = connect()
    connection.autocommit = True
    cursor = connection.cursor()
    faults.add(order.close_idle("AS last"))
    cursor.execute("SELECT 1 AS last")
    assert list(cursor.fetchall()) == [[1]]
    connection._usock.settimeout(20)
    assert connection._usock.recv(1) == b""
    with pytest.raises(BROKEN):
        cursor.execute("SELECT 2")


def test_a_slow_first_connection(connect: Any, faults: FaultBook) -> None:
    faults.add(order.slow_connect(seconds=0.3))
    began = time.monotonic()
    connect()
    first = time.monotonic() - began
    assert first >= 0.3
    began = time.monotonic()
    connect()
    assert time.monotonic() - began < first


def test_connections_are_refused(connect: Any, faults: FaultBook) -> None:
    number = faults.add(order.refuse_connections())
    for _ in range(2):
        with pytest.raises(BROKEN):
            connect()
    assert faults.fired(number) == 2
    faults.remove(number)
    connect()


def test_a_credential_is_revoked_and_renewed(connect: Any, faults: FaultBook) -> None:
    number = faults.add(order.authentication_failure(pattern="sync"))
    with pytest.raises(InterfaceError) as error:
        connect()
    assert error.value.args[0]["C"] == "28000"
    faults.remove(number)
    connect(application_name="renewed")
    assert faults.connections()[-1]["application_name"] == "renewed"


def test_faults_are_ordered_from_another_process(cursor: Any, source: RedshiftStandin, faults: FaultBook) -> None:
    assert source.admin.path is not None
    with AdminClient(source.admin.path) as admin:
        number = admin.add(order.query_cancelled("AS remote"))
        with pytest.raises(ProgrammingError):
            cursor.execute("SELECT 1 AS remote")
        cursor.execute("SELECT 1 AS remote")
        assert admin.fired(number) == 1
        assert admin.executed("as remote") == 2
        assert admin.statements("remote") == ["SELECT 1 AS remote"] * 2
        admin.forget()
        admin.clear()
        assert admin.executed() == 0
        with pytest.raises(ValueError, match="needs a code"):
            admin._ask("add", fault={"kind": "error"})
        with pytest.raises(ValueError, match="unknown request"):
            admin._ask("explode")
    assert faults.ordered() == {}


def test_an_order_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        Fault(kind=FaultKind.DROP, after_rows=-1)
    with pytest.raises(TimeoutError):
        FaultBook().wait_fired(1, timeout_seconds=0.01)
