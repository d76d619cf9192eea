"""Usage events in a DuckDB file. Reading connections are read-only and last for one call."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

import duckdb
import pyarrow as pa

from qupersync_extractor.domain.warehouse.repositories import check_days, in_utc
from qupersync_extractor.domain.warehouse.usage_event import UsageEvent
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.warehouse.sql import statement
from qupersync_extractor.infrastructure.warehouse.staging import check_exact, staged

TABLE = "raw.usage_events"
_SINCE = (
    'WHERE customer_id::VARCHAR = ? AND "timestamp"::TIMESTAMP >= ?::TIMESTAMP '
    'ORDER BY "timestamp"::TIMESTAMP, event_id::VARCHAR'
)
_NEWEST = 'SELECT max("timestamp"::TIMESTAMP) FROM raw.usage_events'
_T = TypeVar("_T")


class DuckDbUsageRepository:
    """The port `UsageRepository` over `raw.usage_events`."""

    def __init__(self, file: DuckDbFile) -> None:
        self._file = file

    async def get_events_for_customer(self, customer_id: str, since: datetime) -> list[UsageEvent]:
        def events(connection: duckdb.DuckDBPyConnection) -> list[UsageEvent]:
            found = connection.sql(statement("usage_rows") + _SINCE, params=[customer_id, in_utc(since)])
            return [UsageEvent.from_row(row) for row in found.to_arrow_table().to_pylist()]

        return await self._read(events)

    async def get_event_count_last_n_days(self, customer_id: str, days: int, *, as_of: datetime | None = None) -> int:
        check_days(days)
        values = {"customer_id": customer_id, "days": days, "as_of": None if as_of is None else in_utc(as_of)}

        def count(connection: duckdb.DuckDBPyConnection) -> int:
            counted = connection.execute(statement("usage_count"), values).fetchone()
            return 0 if counted is None else int(counted[0])

        return await self._read(count)

    async def get_newest_time(self) -> datetime | None:
        def newest(connection: duckdb.DuckDBPyConnection) -> datetime | None:
            found = connection.execute(_NEWEST).fetchone()
            return None if found is None else found[0]

        return await self._read(newest)

    async def save(self, event: UsageEvent) -> None:
        await self.save_all([event])

    async def save_all(self, events: Sequence[UsageEvent]) -> None:
        rows = staged(UsageEvent, {event.event_id: event for event in events}.values())
        if rows.num_rows:
            await asyncio.to_thread(self._save, rows)

    async def _read(self, task: Callable[[duckdb.DuckDBPyConnection], _T]) -> _T:
        def opened() -> _T:
            with self._file.reading(TABLE) as connection:
                return task(connection)

        return await asyncio.to_thread(opened)

    def _save(self, rows: pa.Table) -> None:
        with self._file.writing(TABLE) as connection:
            connection.register("staged", rows)
            connection.execute(statement("save_events"))
            check_exact(
                connection,
                "events_rounded",
                table=f"{TABLE} of {self._file}",
                what="timestamp or score",
                cure="Make the columns TIMESTAMP and DOUBLE, as the warehouse makes them",
            )
