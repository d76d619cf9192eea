"""One process writes a DuckDB file, or many read it: what others are told meanwhile, and that they go on."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.warehouse.rows import customer, event
from tests.integration.warehouse.holding import held

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.domain.pipeline import SourceTable
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_extractor.infrastructure.warehouse.customers import DuckDbCustomerRepository
from qupersync_extractor.infrastructure.warehouse.features import WarehouseFeatures
from qupersync_extractor.infrastructure.warehouse.staging import make_tables
from qupersync_extractor.infrastructure.warehouse.usage import DuckDbUsageRepository
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import SourceUnavailableError, TransientError

Call = Callable[[], Awaitable[Any]]
TABLE = SourceTable("raw", "customers")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    file = DuckDbFile(tmp_path / "warehouse.duckdb")
    await asyncio.to_thread(make_tables, file)
    await DuckDbCustomerRepository(file).save(customer("c1"))
    await DuckDbUsageRepository(file).save(event("e1"))
    return tmp_path / "warehouse.duckdb"


def reads(path: Path) -> dict[str, Call]:
    file = DuckDbFile(path)
    customers, usage, features = DuckDbCustomerRepository(file), DuckDbUsageRepository(file), WarehouseFeatures(file)
    batch = pa.record_batch({"customer_id": ["c1"]})
    return {
        "by id": lambda: customers.get_by_id("c1"),
        "active": customers.get_all_active,
        "sample": lambda: customers.get_sample(1),
        "events": lambda: usage.get_events_for_customer("c1", event("e1").timestamp),
        "count": lambda: usage.get_event_count_last_n_days("c1", 1),
        "features": lambda: features.features(["mrr"], batch),
        "source": lambda: whole(path),
    }


def writes(path: Path) -> dict[str, Call]:
    file = DuckDbFile(path)
    return {
        "customers": lambda: DuckDbCustomerRepository(file).save(customer("c2")),
        "usage": lambda: DuckDbUsageRepository(file).save(event("e2")),
    }


async def whole(path: Path) -> pa.RecordBatch:
    source = DuckDbSource(path)
    try:
        schema = RowSchema(columns=await source.describe(TABLE), key=("customer_id",))
        return await source.read(ReadRequest(relation=TABLE, schema=schema, range=KeyRange(after=None), limit=10))
    finally:
        await source.close()


async def test_others_may_read_while_we_read(path: Path) -> None:
    async with held(path, "reading"):
        for name, read in reads(path).items():
            assert await read(), name


@pytest.mark.parametrize("how", ["reading", "writing"])
async def test_whoever_meets_a_lock_is_told_so_and_succeeds_after_it(path: Path, how: str) -> None:
    calls = {**(reads(path) if how == "writing" else {}), **writes(path)}
    async with held(path, how):
        for name, call in calls.items():
            with pytest.raises(
                SourceUnavailableError, match=r"warehouse\.duckdb: it is held by another process"
            ) as caught:
                await call()
            assert "PID" in caught.value.message, name
            assert "one process writes a DuckDB file, or many read it" in caught.value.cure
    for call in calls.values():
        await call()
    assert await DuckDbCustomerRepository(DuckDbFile(path)).get_by_id("c2") == customer("c2")


async def test_two_connections_of_one_process_are_held_apart_too(path: Path) -> None:
    file = DuckDbFile(path)
    with file.reading("something"), pytest.raises(SourceUnavailableError, match="it is held by another"):
        await DuckDbCustomerRepository(file).save(customer("c2"))
    with file.writing("something"), pytest.raises(SourceUnavailableError, match="it is held by another"):
        await DuckDbCustomerRepository(file).get_by_id("c1")


async def test_a_missing_file_and_a_missing_table_may_come(tmp_path: Path) -> None:
    path = tmp_path / "absent.duckdb"
    customers = DuckDbCustomerRepository(DuckDbFile(path))
    with pytest.raises(SourceUnavailableError, match=r"absent\.duckdb"):
        await customers.get_by_id("c1")
    assert not path.exists()
    with DuckDbFile(path).writing("nothing"):
        pass
    with pytest.raises(TransientError, match=r"raw\.customers cannot be read"):
        await customers.get_by_id("c1")
    await asyncio.to_thread(make_tables, DuckDbFile(path))
    await asyncio.to_thread(make_tables, DuckDbFile(path))
    assert await customers.get_by_id("c1") is None
