"""Customers in a DuckDB file. Reading connections are read-only and last for one call."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from qupersync_extractor.domain.catalogue.entity import EntityRefusedError
from qupersync_extractor.domain.warehouse.customer import Customer
from qupersync_extractor.domain.warehouse.repositories import check_sample
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.warehouse.sql import statement
from qupersync_extractor.infrastructure.warehouse.staging import check_exact, staged

TABLE = "raw.customers"


class DuckDbCustomerRepository:
    """The port `CustomerRepository` over `raw.customers`."""

    def __init__(self, file: DuckDbFile) -> None:
        self._file = file

    async def get_by_id(self, customer_id: str) -> Customer | None:
        found = await self._read("WHERE customer_id::VARCHAR = ? ORDER BY signup_date DESC LIMIT 1", [customer_id])
        return found[0] if found else None

    async def get_all_active(self) -> list[Customer]:
        found = await self._read("WHERE churn_date IS NULL", [])
        # Not by the engine: it would order money by the column's own type, whatever that is.
        return sorted(found, key=lambda customer: (-customer.mrr, customer.customer_id))

    async def get_sample(self, size: int) -> list[Customer]:
        check_sample(size)
        smallest = "ORDER BY md5(customer_id::VARCHAR), customer_id::VARCHAR LIMIT ?"
        return sorted(await self._read(smallest, [size]), key=lambda customer: customer.customer_id)

    async def save(self, customer: Customer) -> None:
        await self.save_all([customer])

    async def save_all(self, customers: Sequence[Customer]) -> None:
        rows = staged(Customer, {customer.customer_id: customer for customer in customers}.values())
        if rows.num_rows:
            await asyncio.to_thread(self._save, rows)

    async def _read(self, which: str, values: list[Any]) -> list[Customer]:
        return await asyncio.to_thread(self._read_now, statement("customer_rows") + which, values)

    def _read_now(self, sql: str, values: list[Any]) -> list[Customer]:
        with self._file.reading(TABLE) as connection:
            rows = connection.sql(sql, params=values or None).to_arrow_table().to_pylist()
        return [Customer.from_row({**row, "mrr": _money(row["mrr"])}) for row in rows]

    def _save(self, rows: pa.Table) -> None:
        with self._file.writing(TABLE) as connection:
            connection.register("staged", rows)
            connection.execute(statement("save_customers"))
            check_exact(
                connection,
                "customers_rounded",
                table=f"{TABLE} of {self._file}",
                what="mrr",
                cure="Make the column DECIMAL(18, 4), as the warehouse makes it",
            )


def _money(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        raise EntityRefusedError(Customer.NAME, "mrr", "is no number", cure="Mend it in the warehouse") from None
