"""Every type arrives as the driver would decode it from a cluster, in both protocols."""
# ruff: noqa: DTZ001 - Redshift's TIMESTAMP has no zone

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from typing import Any

import pytest
from redshift_connector.error import ProgrammingError

from qupersync_local.threaded import ThreadedStack

# The driver does not close its socket when a login is refused.
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

TABLE = """
CREATE TABLE billing.every_type (
    key int, small smallint, whole int, large bigint, narrow numeric(18, 6), wide numeric(38, 10), coarse numeric(5, 0),
    single real, twice double precision, truth boolean, fixed char(5), varying varchar(40), day date, at timestamp,
    at_zone timestamptz, clock time, clock_zone timetz, tags super, bytes varbyte(16)
);
INSERT INTO billing.every_type VALUES
    (1, -32768, -2147483648, -9223372036854775808, -123456789012.345678,
     -1234567890123456789012345678.0123456789, -99999, 1.5, 0.1, true, 'ab', 'größe €', '2024-02-29',
     '2024-02-29 23:59:59.999999', '2024-02-29 12:00:00+02', '13:45:01.5',
     '10:00:00+02', '{"a":[1,2,{"b":null}]}', to_varbyte('c3a4', 'hex')),
    (2, 32767, 2147483647, 9223372036854775807, 999999999999.999999, 9999999999999999999999999999.9999999999, 0,
     -0.25, -1e300, false, '', '', '1970-01-01', '1970-01-01', '1970-01-01 00:00:00+00', '00:00:00', '23:59:59-01',
     '[]', to_varbyte('', 'hex')),
    (3, 0, 0, 0, 0.000001, 0, 1, 0, 0, true, 'x', 'x', '9999-12-31', '9999-12-31 23:59:59', '2038-01-19 03:14:08+00',
     '23:59:59', '00:00:00+00', '"text"', to_varbyte('x', 'utf8'));
INSERT INTO billing.every_type (key) VALUES (4);
"""

ROWS: list[list[Any]] = [
    [
        1, -32768, -2147483648, -9223372036854775808, Decimal("-123456789012.345678"),
        Decimal("-1234567890123456789012345678.0123456789"), Decimal(-99999), 1.5, 0.1, True, "ab   ", "größe €",
        date(2024, 2, 29), datetime(2024, 2, 29, 23, 59, 59, 999999), datetime(2024, 2, 29, 10, 0, tzinfo=UTC),
        time(13, 45, 1, 500000), time(8, 0, tzinfo=UTC), '{"a":[1,2,{"b":null}]}', "c3a4",
    ],
    [
        2, 32767, 2147483647, 9223372036854775807, Decimal("999999999999.999999"),
        Decimal("9999999999999999999999999999.9999999999"), Decimal(0), -0.25, -1e300, False, "     ", "",
        date(1970, 1, 1), datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC), time(0, 0), None, "[]", "",
    ],
    [
        3, 0, 0, 0, Decimal("0.000001"), Decimal("0E-10"), Decimal(1), 0.0, 0.0, True, "x    ", "x", date(9999, 12, 31),
        datetime(9999, 12, 31, 23, 59, 59), datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC), time(23, 59, 59),
        time(0, 0, tzinfo=UTC), '"text"', "78",
    ],
    [4, *[None] * 18],
]  # fmt: skip
TEXT_OF_BYTES = {"c3a4": "ä", "78": "x"}  # in the text protocol the driver decodes VARBYTE as UTF-8


@pytest.fixture(scope="module", autouse=True)
def table(local_stack: ThreadedStack) -> Iterator[None]:
    local_stack.execute_source(TABLE)
    yield
    local_stack.execute_source("DROP TABLE billing.every_type")


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with localcontext() as context:
        context.prec = 38
        yield


@pytest.mark.parametrize("protocol", [2, 1, 0])
def test_every_type_arrives_exactly(connect: Any, protocol: int) -> None:
    cursor = connect(client_protocol_version=protocol).cursor()
    # The driver cannot add a zone to a time near midnight: the second row's is left out.
    cursor.execute(
        "SELECT key, small, whole, large, narrow, wide, coarse, single, twice, truth, fixed, varying, day, at, "
        "at_zone, clock, CASE WHEN key <> 2 THEN clock_zone END, tags, bytes FROM billing.every_type ORDER BY key"
    )
    expected = ROWS if protocol == 2 else [[*row[:-1], TEXT_OF_BYTES.get(row[-1], row[-1])] for row in ROWS]
    found = list(cursor.fetchall())
    assert found == expected
    assert [type(value) for value in found[0]] == [type(value) for value in expected[0]]


def test_numerics_are_decoded_with_their_scale(run: Any) -> None:
    (row,) = run("SELECT CAST(1.5 AS numeric(18,3)), CAST(-1.5 AS numeric(38,3)), CAST(NULL AS numeric(38,3)), 7::int")
    assert [str(value) for value in row] == ["1.500", "-1.500", "None", "7"]


@pytest.mark.parametrize("digits", [1, 4, 5, 8, 17, 18, 19, 37, 38])
def test_numerics_of_every_length(run: Any, digits: int) -> None:
    number = int("9" * digits)
    for value in (number, -number, 10 ** (digits - 1), 1):
        for scale in {0, digits // 2, digits}:
            text = str(Decimal(value).scaleb(-scale))
            ((found,),) = run(f"SELECT CAST('{text}' AS numeric({digits},{scale}))")
            assert found == Decimal(text)


@pytest.mark.parametrize("expression", ["1.5 * 2", "sum(key)::numeric", "avg(key)", "CAST(1 AS numeric(39,0))"])
def test_a_numeric_without_precision_is_an_error_not_garbage(cursor: Any, expression: str) -> None:
    for _ in range(2):  # the driver gives the next statement the same name
        with pytest.raises(ProgrammingError) as error:
            cursor.execute(f"SELECT {expression} AS computed FROM billing.every_type")
        assert error.value.args[0]["C"] == "42804"
        assert "computed" in error.value.args[0]["M"]
    cursor.execute("SELECT 1")
    assert list(cursor.fetchall()) == [[1]]


def test_not_a_number_is_an_error(cursor: Any) -> None:
    with pytest.raises(ProgrammingError, match="NaN"):
        cursor.execute("SELECT CAST('NaN' AS numeric(18,3))")
    cursor.execute("SELECT 1")
    assert list(cursor.fetchall()) == [[1]]


@pytest.mark.parametrize(
    ("value", "cast"),
    [(5, "int"), (40_000, "int"), (2**40, "bigint"), ("text", "varchar(10)"), (1.25, "double precision"),
     (True, "boolean"), (None, "varchar(3)"), (date(2024, 5, 6), "date"), (datetime(2024, 5, 6, 7, 8, 9), "timestamp"),
     (datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC), "timestamptz"), (Decimal("12.340"), "numeric(18,3)")],
)  # fmt: skip
def test_bound_values_come_back(run: Any, value: object, cast: str) -> None:
    assert run(f"SELECT CAST(%s AS {cast})", (value,)) == [[value]]


def test_type_codes_are_those_of_redshift(cursor: Any) -> None:
    cursor.execute("SELECT tags, bytes, varying, wide FROM billing.every_type LIMIT 1")
    assert [column[1] for column in cursor.description] == [4000, 6551, 1043, 1700]


def test_the_server_says_it_is_redshift(connect: Any) -> None:
    connection = connect()
    assert str(connection._server_version) == "8.0.2"
    assert connection._client_protocol_version == 2
