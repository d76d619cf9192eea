"""Every adapter of the warehouse's repositories and of its features."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from qupersync_extractor.application.scoring.ports import FeatureSource
from qupersync_extractor.domain.warehouse.repositories import CustomerRepository, UsageRepository
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.memory.warehouse import (
    MemoryCustomerRepository,
    MemoryUsageRepository,
    MemoryWarehouseFeatures,
)
from qupersync_extractor.infrastructure.warehouse.customers import DuckDbCustomerRepository
from qupersync_extractor.infrastructure.warehouse.features import WarehouseFeatures
from qupersync_extractor.infrastructure.warehouse.staging import make_tables
from qupersync_extractor.infrastructure.warehouse.usage import DuckDbUsageRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class Warehouse:
    customers: CustomerRepository
    usage: UsageRepository
    features: FeatureSource


def in_memory() -> Warehouse:
    customers, usage = MemoryCustomerRepository(), MemoryUsageRepository()
    return Warehouse(customers=customers, usage=usage, features=MemoryWarehouseFeatures(customers, usage))


def in_duckdb(path: Path) -> Warehouse:
    file = DuckDbFile(path)
    make_tables(file)
    return Warehouse(
        customers=DuckDbCustomerRepository(file), usage=DuckDbUsageRepository(file), features=WarehouseFeatures(file)
    )


@pytest.fixture(params=["memory", "duckdb"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    return in_memory() if request.param == "memory" else in_duckdb(tmp_path / "warehouse.duckdb")
