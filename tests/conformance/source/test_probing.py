"""What a preflight and a sample ask of a source: the same answers from every adapter, within bounds."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.conformance.source.cluster import ClusterHarness
from tests.conformance.source.conftest import DuckDbHarness, Harness, MemoryHarness, RedshiftHarness, redshift_options

from qupersync_extractor.application.probing import SourceProbe
from qupersync_extractor.domain.pipeline import SourceTable
from qupersync_extractor.infrastructure.memory.probe import MemoryProbe
from qupersync_extractor.infrastructure.sources.duckdb_probe import DuckDbProbe
from qupersync_extractor.infrastructure.sources.redshift_probe import RedshiftProbe
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.contracts.types import LogicalType

ID = Column("id", LogicalType.parse("bigint"))
NAME = Column("name", LogicalType.parse("varchar"))
COUNT = Column("count", LogicalType.parse("integer"))
COLUMNS = (ID, NAME, COUNT)


@pytest.fixture
async def probe(warehouse: Harness) -> AsyncIterator[SourceProbe]:
    made: SourceProbe
    match warehouse:
        case MemoryHarness():
            made = MemoryProbe.beside(warehouse.memory)
        case DuckDbHarness():
            made = DuckDbProbe(warehouse.path)
        case RedshiftHarness():
            made = RedshiftProbe(redshift_options(warehouse.standin))
        case ClusterHarness():
            made = RedshiftProbe(warehouse.cluster.options)
        case _:
            raise AssertionError(warehouse)
    yield made
    await made.close()


def rows(*values: tuple[Any, Any, Any]) -> list[dict[str, Any]]:
    return [{"id": key, "name": name, "count": count} for key, name, count in values]


async def test_keys_that_stand_twice_are_found_and_counted(warehouse: Harness, probe: SourceProbe) -> None:
    given = rows((1, "a", 1), (1, "b", 2), (2, "c", 3), (2, "d", 3), (3, "e", None), (None, "f", 1), (None, "g", 1))
    table = await warehouse.create(COLUMNS, given)
    found = await probe.look_at_key(table, [ID], None)
    assert (found.rows, found.doubled, found.complete) == (5, 2, True)
    bounded = await probe.look_at_key(table, [ID], 100)
    assert (bounded.rows, bounded.doubled, bounded.complete) == (5, 2, True)


async def test_of_a_table_larger_than_the_bound_the_first_in_key_order_are_looked_at(
    warehouse: Harness, probe: SourceProbe
) -> None:
    table = await warehouse.create(COLUMNS, rows(*((n, "x", n) for n in reversed(range(1, 40))), (39, "again", 1)))
    first = await probe.look_at_key(table, [ID], 20)
    assert (first.rows, first.doubled, first.complete) == (20, 0, False)
    everything = await probe.look_at_key(table, [ID], None)
    assert (everything.rows, everything.doubled, everything.complete) == (40, 1, True)


async def test_composite_keys(warehouse: Harness, probe: SourceProbe) -> None:
    table = await warehouse.create(COLUMNS, rows((1, "a", 1), (1, "b", 1), (1, "b", 2), (2, None, 1)))
    found = await probe.look_at_key(table, [ID, NAME], 100)
    assert (found.rows, found.doubled) == (3, 1)


async def test_nulls_are_counted_within_the_bound(warehouse: Harness, probe: SourceProbe) -> None:
    table = await warehouse.create(COLUMNS, rows(*((n, None, n if n % 2 else None) for n in range(30))))
    found = await probe.look_for_nulls(table, ["name", "count", "id"], None)
    assert (found.rows, dict(found.nulls), found.complete) == (30, {"name": 30, "count": 15, "id": 0}, True)
    bounded = await probe.look_for_nulls(table, ["name"], 10)
    assert (bounded.rows, dict(bounded.nulls), bounded.complete) == (10, {"name": 10}, False)


async def test_an_empty_table(warehouse: Harness, probe: SourceProbe) -> None:
    table = await warehouse.create(COLUMNS)
    assert (await probe.look_at_key(table, [ID], 10)).rows == 0
    assert (await probe.look_for_nulls(table, ["id"], 10)).nulls == {"id": 0}
    found = await probe.look_at_cursor(table, COUNT, 10, crowd=1)
    assert (found.rows, found.largest, found.crowded, found.complete) == (0, 0, 0, True)
    assert (await probe.sample_keys(table, RowSchema(columns=(ID,), key=("id",)), 5)).num_rows == 0


async def test_rows_that_share_a_cursor_value(warehouse: Harness, probe: SourceProbe) -> None:
    shared = [(n, "x", 7) for n in range(6)] + [(n, "x", 9) for n in range(6, 9)] + [(9, "x", 1), (10, "x", None)]
    table = await warehouse.create(COLUMNS, rows(*shared))
    found = await probe.look_at_cursor(table, COUNT, None, crowd=3)
    assert (found.rows, found.largest, found.crowded, found.complete) == (10, 6, 6, True)
    newest = await probe.look_at_cursor(table, COUNT, 3, crowd=2)
    assert (newest.rows, newest.largest, newest.crowded, newest.complete) == (3, 3, 3, False)


async def test_a_sample_is_the_same_each_time_whatever_the_order_of_the_rows(
    warehouse: Harness, probe: SourceProbe
) -> None:
    values = [(n, f"n{n}", n) for n in range(200)]
    there = await warehouse.create(COLUMNS, rows(*values))
    back = await warehouse.create(COLUMNS, rows(*reversed(values)))
    for key in (RowSchema(columns=(ID,), key=("id",)), RowSchema(columns=(ID, NAME), key=("id", "name"))):
        first = await _keys(probe, there, key, 10)
        assert first == await _keys(probe, there, key, 10)
        assert first == await _keys(probe, back, key, 10)
        assert len(set(first)) == 10
        assert first[:4] == await _keys(probe, there, key, 4)
        assert max(int(one[0].text) for one in first) > 50, "it is spread over the table"


async def test_every_warehouse_samples_the_same_keys(warehouse: Harness, probe: SourceProbe) -> None:
    table = await warehouse.create(COLUMNS, rows(*((n, f"name {n}", n) for n in range(1, 101))))
    numbers = await _keys(probe, table, RowSchema(columns=(ID,), key=("id",)), 3)
    assert [key[0].text for key in numbers] == ["27", "63", "60"]
    texts = await _keys(probe, table, RowSchema(columns=(NAME,), key=("name",)), 3)
    assert [key[0].text for key in texts] == ["name 50", "name 3", "name 58"]


async def test_a_version_is_told(probe: SourceProbe) -> None:
    assert await probe.version()


async def _keys(probe: SourceProbe, table: SourceTable, key: RowSchema, limit: int) -> list[Any]:
    batch = await probe.sample_keys(table, key, limit)
    return [key_at(batch, key, index) for index in range(batch.num_rows)]
