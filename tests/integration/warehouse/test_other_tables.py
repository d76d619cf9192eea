"""Warehouses whose tables somebody else has made: other types, more columns, rows that no entity can be."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from tests.conformance.warehouse.rows import NOW, customer, event

from qupersync_extractor.domain.catalogue.entity import EntityRefusedError
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.warehouse.customers import DuckDbCustomerRepository
from qupersync_extractor.infrastructure.warehouse.features import WarehouseFeatures
from qupersync_extractor.infrastructure.warehouse.staging import make_tables
from qupersync_extractor.infrastructure.warehouse.usage import DuckDbUsageRepository
from qupersync_shared.contracts.schema import arrow_field
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import TerminalError

OTHER = """
    CREATE SCHEMA raw;
    CREATE TABLE raw.customers (
        note VARCHAR DEFAULT 'new', churn_date TIMESTAMP, mrr {mrr}, customer_id {key}, industry VARCHAR,
        plan_tier VARCHAR, signup_date TIMESTAMP, PRIMARY KEY (customer_id));
    CREATE TABLE raw.usage_events (
        event_id UUID PRIMARY KEY, customer_id {key}, "timestamp" TIMESTAMPTZ, event_type ENUM ('login', 'export'),
        feature_adoption_score FLOAT)
"""
ONE = "00000000-0000-4000-8000-000000000001"
BY_ID = "SELECT note, mrr FROM raw.customers WHERE customer_id = 7"


def made(path: Path, *, key: str = "BIGINT", mrr: str = "DOUBLE") -> DuckDbFile:
    with duckdb.connect(str(path)) as connection:
        connection.execute(OTHER.format(key=key, mrr=mrr))
    return DuckDbFile(path)


async def test_tables_of_other_types_are_read_and_written(tmp_path: Path) -> None:
    file = made(tmp_path / "w.duckdb")
    customers, usage = DuckDbCustomerRepository(file), DuckDbUsageRepository(file)
    for amount in ("33.3300", "99.9"):
        kept = customer("7", mrr=Decimal(amount), churn_date=date(2026, 1, 1))
        await customers.save(kept)
        assert await customers.get_by_id("7") == kept
    await usage.save(event(ONE, "7"))
    assert await usage.get_events_for_customer("7", NOW) == [event(ONE, "7")]
    assert await usage.get_newest_time() == NOW
    assert await usage.get_event_count_last_n_days("7", 1) == 1
    with file.reading("all") as connection:
        assert connection.execute(BY_ID).fetchall() == [("new", 99.9)]
    found = await WarehouseFeatures(file).features(
        ["mrr", "events_last_30_days"], pa.record_batch({"customer_id": pa.array([8, 7], pa.int64())})
    )
    assert {name: array.to_pylist() for name, array in found.items()} == {
        "mrr": [None, 99.9],
        "events_last_30_days": [0.0, 1.0],
    }


async def test_a_uuid_is_found_in_the_form_it_travels_in(tmp_path: Path) -> None:
    file = made(tmp_path / "w.duckdb", key="UUID")
    await DuckDbCustomerRepository(file).save(customer(ONE))
    field = arrow_field("customer_id", LogicalType(Kind.UUID))
    values = pa.array([bytes.fromhex(ONE.replace("-", "")), None], pa.binary(16))
    batch = pa.record_batch([values], schema=pa.schema([field]))
    assert (await WarehouseFeatures(file).features(["mrr"], batch))["mrr"].to_pylist() == [100.0, None]


async def test_an_amount_that_the_table_would_round_is_not_saved(tmp_path: Path) -> None:
    customers = DuckDbCustomerRepository(made(tmp_path / "w.duckdb", mrr="DECIMAL(10, 2)"))
    await customers.save(customer("1", mrr=Decimal("1.25")))
    with pytest.raises(TerminalError, match="cannot hold the mrr of 1 rows exactly; nothing was saved"):
        await customers.save_all([customer("1", mrr=Decimal("1.255")), customer("2")])
    found = await customers.get_by_id("1")
    assert found is not None
    assert found.mrr == Decimal("1.25")
    assert await customers.get_by_id("2") is None


@pytest.mark.parametrize("column", ['"timestamp" TIMESTAMP_S', "feature_adoption_score FLOAT"])
async def test_an_event_that_the_table_would_round_is_not_saved(tmp_path: Path, column: str) -> None:
    path = tmp_path / "w.duckdb"
    file = DuckDbFile(path)
    make_tables(file)
    name, kind = column.rsplit(" ", 1)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"ALTER TABLE raw.usage_events ALTER {name} TYPE {kind}")
    usage = DuckDbUsageRepository(file)
    await usage.save(event("fits", score=0.5))
    odd = event("odd", ago=timedelta(microseconds=1), score=0.1)
    with pytest.raises(TerminalError, match="cannot hold the timestamp or score of 1 rows exactly; nothing was saved"):
        await usage.save_all([odd, event("with it", score=0.5)])
    found = await usage.get_events_for_customer("c1", NOW - timedelta(days=1))
    assert [one.event_id for one in found] == ["fits"]


async def test_an_id_that_the_table_cannot_hold_is_refused(tmp_path: Path) -> None:
    customers = DuckDbCustomerRepository(made(tmp_path / "w.duckdb"))
    with pytest.raises(TerminalError, match="not a number"):
        await customers.save(customer("not a number"))


async def test_a_row_that_no_customer_can_be_is_named_by_its_field_and_has_features_all_the_same(
    tmp_path: Path,
) -> None:
    file = made(tmp_path / "w.duckdb")
    with file.writing("rows") as connection:
        connection.execute("INSERT INTO raw.customers (customer_id, mrr, plan_tier) VALUES (1, -5, ' ')")
        connection.execute(f"INSERT INTO raw.usage_events VALUES ('{ONE}', 1, '2026-01-01', NULL, 'NaN')")
    with pytest.raises(EntityRefusedError, match=r"customers\.plan_tier|customers\.signup_date"):
        await DuckDbCustomerRepository(file).get_all_active()
    names = ["tenure_days", "mrr", "plan_tier_rank", "mean_feature_adoption_90_days", "events_last_90_days"]
    found = await WarehouseFeatures(file).features(names, pa.record_batch({"customer_id": pa.array([1], pa.int32())}))
    assert [array[0].as_py() for array in found.values()] == [None, -5.0, None, None, 1.0]


async def test_keys_that_stand_twice_do_not_multiply_rows(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(OTHER.format(key="VARCHAR", mrr="DOUBLE").replace(", PRIMARY KEY (customer_id)", ""))
        connection.execute(
            "INSERT INTO raw.customers (customer_id, mrr, signup_date, plan_tier) VALUES "
            "('a', 1, '2025-01-01', 'free'), ('a  ', 2, '2025-06-01', 'free'), ('b', 3, '2025-01-01', 'free')"
        )
    found = await WarehouseFeatures(DuckDbFile(path)).features(
        ["mrr"], pa.record_batch({"customer_id": ["a", "b", "a"]})
    )
    assert found["mrr"].to_pylist() == [2.0, 3.0, 2.0]


async def test_rows_without_a_customer_have_no_features(tmp_path: Path) -> None:
    features = WarehouseFeatures(DuckDbFile(tmp_path / "w.duckdb"))
    with pytest.raises(TerminalError, match="no column customer_id"):
        await features.features(["mrr"], pa.record_batch({"id": [1]}))
    with pytest.raises(TerminalError, match="no feature 'shoe_size'"):
        await features.features(["shoe_size"], pa.record_batch({"customer_id": ["a"]}))
