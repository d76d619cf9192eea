"""What every source says of a relation: columns, clock, greatest values, counts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.conformance.source.reading import by_key, column, naive

from qupersync_extractor.domain.pipeline import SourceQuery, SourceTable
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import TerminalError, TransientError
from qupersync_shared.kernel.positions import Scalar, ScalarKind


async def test_every_type_is_described_in_the_source_s_order(warehouse: Any) -> None:
    columns = tuple(column(f"c{place}", name) for place, name in enumerate(warehouse.types))
    relation = await warehouse.create(columns)
    assert await warehouse.source.describe(relation) == columns


async def test_names_are_taken_as_they_are(warehouse: Any) -> None:
    columns = (column("select", "integer"), column('qu"ote', "integer"), column("per%cent?", "integer"))
    relation = await warehouse.create(columns, [{"select": 1, 'qu"ote': 2, "per%cent?": 3}])
    schema = RowSchema(columns=await warehouse.source.describe(relation), key=("select", "per%cent?"))
    assert schema.columns == columns
    assert await by_key(warehouse.source, relation, schema, 10) == [{"select": 1, 'qu"ote': 2, "per%cent?": 3}]


@pytest.mark.needs("sql")
async def test_a_query_is_a_relation(warehouse: Any) -> None:
    columns = (column("id", "integer"), column("name", "varchar"))
    relation = await warehouse.create(columns, [{"id": n, "name": "it's"} for n in range(5)])
    query = SourceQuery(
        f"SELECT id, CAST(id % 3 AS INTEGER) AS rest, name || ' 100%? \"' AS said FROM {relation} -- it's '?' all\n"
        "WHERE id > 1;\n"
    )
    schema = RowSchema(columns=await warehouse.source.describe(query), key=("id",))
    assert [c.type.name for c in schema.columns] == ["integer", "integer", "varchar"]
    expected = [{"id": n, "rest": n % 3, "said": "it's 100%? \""} for n in (2, 3, 4)]
    assert await by_key(warehouse.source, query, schema, 2) == expected


async def test_a_missing_table_may_appear_later(warehouse: Any) -> None:
    with pytest.raises(TransientError, match="absent"):
        await warehouse.source.describe(SourceTable("main", "absent"))


@pytest.mark.needs("sql")
async def test_a_query_that_cannot_be_is_terminal(warehouse: Any) -> None:
    relation = await warehouse.create((column("id", "integer"),))
    for sql in ("SELECT nothing_here FROM", f"SELECT missing FROM {relation}"):
        with pytest.raises(TerminalError):
            await warehouse.source.describe(SourceQuery(sql))


async def test_the_clock_is_in_utc_and_does_not_run_backwards(warehouse: Any) -> None:
    first = await warehouse.source.clock()
    second = await warehouse.source.clock()
    assert first.now.utcoffset() == timedelta(0)
    assert first.now <= second.now
    if warehouse.alone:
        assert first.oldest_open is None


@pytest.mark.needs("sql")
async def test_the_sql_clock_is_about_now(warehouse: Any) -> None:
    clock = await warehouse.source.clock()
    assert abs(clock.now - datetime.now(UTC)) < timedelta(seconds=30)


async def test_the_highest_value_is_canonical(warehouse: Any) -> None:
    columns = (
        column("id", "integer"),
        column("at", "timestamp"),
        column("zoned", "timestamptz"),
        column("day", "date"),
        column("price", "numeric(18,4)"),
    )
    moment = naive(2024, 2, 29, 23, 59, 59, 120000)
    rows: list[dict[str, Any]] = [
        {"id": 7, "at": moment, "zoned": moment.replace(tzinfo=UTC), "day": moment.date(), "price": None},
        {"id": -3, "at": None, "zoned": None, "day": None, "price": None},
        {
            "id": 2,
            "at": naive(1, 1, 1),
            "zoned": datetime(1999, 1, 1, tzinfo=UTC),
            "day": moment.date(),
            "price": None,
        },
    ]
    relation = await warehouse.create(columns, rows)
    found = [await warehouse.source.highest(relation, one) for one in columns]
    assert found == [
        Scalar(ScalarKind.INT, "7"),
        Scalar(ScalarKind.TIMESTAMP, "2024-02-29 23:59:59.120000"),
        Scalar(ScalarKind.TIMESTAMPTZ, "2024-02-29 23:59:59.120000Z"),
        Scalar(ScalarKind.DATE, "2024-02-29"),
        None,
    ]
    empty = await warehouse.create(columns)
    assert await warehouse.source.highest(empty, columns[0]) is None


async def test_nulls_are_counted(warehouse: Any) -> None:
    columns = (column("id", "integer"), column("a", "varchar"), column("b", "super"))
    relation = await warehouse.create(columns, [{"id": 1}, {"id": 2, "a": ""}, {"id": 3, "a": "x", "b": "[1]"}])
    assert await warehouse.source.count_nulls(relation, ["a", "b", "id"]) == {"a": 1, "b": 2, "id": 0}
    assert await warehouse.source.count_nulls(relation, []) == {}
    empty = await warehouse.create(columns)
    assert await warehouse.source.count_nulls(empty, ["a"]) == {"a": 0}


async def test_duplicate_keys_are_counted_once_each_and_nulls_are_no_keys(warehouse: Any) -> None:
    columns = (column("name", "varchar"), column("id", "integer"))
    pairs = [("a", 1), ("a", 1), ("a", 1), ("a", 2), ("b", 2), ("b", 2), (None, 3), (None, 3), ("c", None), ("c", None)]
    relation = await warehouse.create(columns, [{"name": name, "id": number} for name, number in pairs])
    assert await warehouse.source.count_duplicate_keys(relation, ["name", "id"]) == 2
    assert await warehouse.source.count_duplicate_keys(relation, ["id"]) == 3


@pytest.mark.needs("padded comparison")
async def test_trailing_blanks_make_no_other_key(warehouse: Any) -> None:
    columns = (column("name", "varchar"),)
    relation = await warehouse.create(columns, [{"name": "a"}, {"name": "a  "}, {"name": " a"}])
    assert await warehouse.source.count_duplicate_keys(relation, ["name"]) == 1
    schema = RowSchema(columns=columns, key=("name",))
    assert [row["name"] for row in await by_key(warehouse.source, relation, schema, 10)] == [" a", "a", "a"]


async def test_a_closed_source_says_so(warehouse: Any) -> None:
    relation = await warehouse.create((column("id", "integer"),))
    await warehouse.source.describe(relation)
    await warehouse.source.close()
    with pytest.raises(RuntimeError, match="closed"):
        await warehouse.source.describe(relation)
    with pytest.raises(RuntimeError, match="closed"):
        await warehouse.source.clock()
