"""A target to load into, and sources to read from: the real adapters, each with a way to fill a table."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from tests.conformance.loader.conftest import postgres
from tests.integration.types.warehouses import DuckDbWarehouse, RedshiftWarehouse

from qupersync_local.threaded import ThreadedStack

__all__ = ["postgres"]


@pytest.fixture
async def duckdb_warehouse(tmp_path: Path) -> AsyncIterator[DuckDbWarehouse]:
    warehouse = DuckDbWarehouse(tmp_path / "types.duckdb")
    yield warehouse
    await warehouse.source.close()


@pytest.fixture
async def redshift_warehouse(local_stack: ThreadedStack) -> AsyncIterator[RedshiftWarehouse]:
    standin = local_stack.stack.source
    admin = await asyncpg.connect(standin.admin_dsn)
    try:
        warehouse = await RedshiftWarehouse.opened(standin, admin)
        try:
            yield warehouse
        finally:
            await warehouse.close()
    finally:
        await admin.close()
