"""Functions, spellings and refusals of Redshift."""
# ruff: noqa: DTZ001 - Redshift's TIMESTAMP has no zone

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redshift_connector.error import ProgrammingError

from qupersync_local.standin.sql_text import Accepted, Refusal, for_postgres

pytestmark = pytest.mark.integration


def test_clocks(run: Any) -> None:
    ((get, sys, whole),) = run("SELECT GETDATE(), SYSDATE, GETDATE() = DATE_TRUNC('second', GETDATE())")
    now = datetime.now(UTC).replace(tzinfo=None)
    assert whole
    assert abs(now - get) < timedelta(seconds=30)
    assert abs(now - sys) < timedelta(seconds=30)


def test_sysdate_is_the_start_of_the_transaction(connect: Any) -> None:
    cursor = connect().cursor()
    cursor.execute("SELECT SYSDATE, pg_sleep(0.01)")
    ((first, _),) = cursor.fetchall()
    cursor.execute("SELECT sysdate")
    assert list(cursor.fetchall()) == [[first]]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("LEN('größe')", 5),
        ("LEN(CAST('ab' AS char(10)))", 2),
        ("NVL(NULL, NULL, 3)", 3),
        ("nvl ( 'a', 'b' )", "a"),
        ("DATEADD(day, -3, CAST('2024-03-01' AS timestamp))", datetime(2024, 2, 27)),
        ("DATEADD('month', 1, CAST('2024-01-31' AS date))", datetime(2024, 2, 29)),
        ("dateadd(qtr, 1, CAST('2024-01-31 10:00' AS timestamp))", datetime(2024, 4, 30, 10)),
        ("DATEADD(ms, 1500, CAST('2024-01-01' AS timestamp))", datetime(2024, 1, 1, 0, 0, 1, 500_000)),
        ("DATEDIFF(day, CAST('2024-02-28 23:59' AS timestamp), CAST('2024-03-01 00:01' AS timestamp))", 2),
        ("DATEDIFF(hour, CAST('2024-01-01 00:59' AS timestamp), CAST('2024-01-01 01:01' AS timestamp))", 1),
        ("DATEDIFF(year, CAST('2023-12-31' AS date), CAST('2024-01-01' AS date))", 1),
        ("DATEDIFF(week, CAST('2024-01-06' AS date), CAST('2024-01-07' AS date))", 1),
        ("DATEDIFF(quarter, CAST('2023-10-01' AS date), CAST('2024-03-31' AS date))", 1),
        ("DATEDIFF(second, CAST('2024-01-01 00:00:05' AS timestamp), CAST('2024-01-01' AS timestamp))", -5),
        ("CONVERT_TIMEZONE('Europe/Berlin', CAST('2024-07-01 12:00' AS timestamp))", datetime(2024, 7, 1, 14)),
        ("JSON_SERIALIZE(JSON_PARSE('{\"a\":1}'))", '{"a":1}'),
        ("FROM_VARBYTE(TO_VARBYTE('c3a4', 'hex'), 'utf8')", "ä"),
        ("'SYSDATE' || '; NVL(' -- SYSDATE", "SYSDATE; NVL("),
    ],
)
def test_functions(run: Any, expression: str, value: object) -> None:
    assert run(f"SELECT {expression}") == [[value]]


def test_names_and_comments_are_left_alone(run: Any) -> None:
    assert run("SELECT t.sysdate /* NVL(1,2) SYSDATE */ FROM (SELECT 5 AS sysdate) AS t") == [[5]]
    assert run("SELECT $$SYSDATE$$, E'it\\'s SYSDATE'") == [["SYSDATE", "it's SYSDATE"]]


@pytest.mark.parametrize(
    "condition",
    [
        "(a, b) > (1, 2)",
        "(t.a, t.b) >= (%s, %s)",
        "ROW(a, b) < ROW(1, 2)",
        "(a,b)<=(SELECT 1, 2) AND (a, b) < (3, (4 + 5))",
        "a = 1 AND ((a), (b)) > (1, 2)",
    ],
)
def test_row_values_are_not_compared_by_order(cursor: Any, condition: str) -> None:
    arguments = (1, 2) if "%s" in condition else None
    with pytest.raises(ProgrammingError) as error:
        cursor.execute(f"SELECT 1 FROM (SELECT 1 AS a, 2 AS b) AS t WHERE {condition}", arguments)
    assert error.value.args[0]["C"] == "0A000"
    cursor.execute("SELECT 1")
    assert list(cursor.fetchall()) == [[1]]


@pytest.mark.parametrize(
    "condition",
    [
        "a >= 1 AND (a > 1 OR (a = 1 AND b > 1))",
        "(a, b) = (1, 2)",
        "(a, b) IN ((1, 2), (3, 4))",
        "coalesce(a, b) > (0)",
        "greatest(a, b) >= least(a, b)",
        "'(a, b) > (1, 2)' <> ''",
    ],
)
def test_what_is_no_such_comparison_runs(run: Any, condition: str) -> None:
    assert run(f"SELECT 1 FROM (SELECT 1 AS a, 2 AS b) AS t WHERE {condition}") == [[1]]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT DISTINCT ON (a) a FROM (SELECT 1 AS a) AS t",
        "SELECT count(*) FILTER (WHERE true)",
        "SELECT 1 FROM pg_class AS c, LATERAL (SELECT c.oid) AS t",
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "DELETE FROM t RETURNING 1",
    ],
)
def test_other_words_that_redshift_does_not_know(cursor: Any, statement: str) -> None:
    with pytest.raises(ProgrammingError) as error:
        cursor.execute(statement)
    assert error.value.args[0]["C"] == "42601"


def test_a_refusal_aborts_the_transaction(connect: Any) -> None:
    connection = connect()
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    with pytest.raises(ProgrammingError):
        cursor.execute("SELECT 1 WHERE (1, 2) > (1, 1)")
    with pytest.raises(ProgrammingError) as error:
        cursor.execute("SELECT 2")
    assert error.value.args[0]["C"] == "25P02"
    connection.rollback()
    cursor.execute("SELECT 3")
    assert list(cursor.fetchall()) == [[3]]


def test_text_that_needs_nothing_stays_as_it_is() -> None:
    for text in (
        "",
        "SELECT 'a''b', \"c\" -- d\n/* e */ FROM f WHERE g::int >= $1 AND h <> 'ü';",
        "'unfinished",
        "/* open",
    ):
        assert for_postgres(text, case_sensitive=False) == Accepted(text=text)
    assert isinstance(for_postgres("SELECT (a,b)<(1,2)", case_sensitive=False), Refusal)
