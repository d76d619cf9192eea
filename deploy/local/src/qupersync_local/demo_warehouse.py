"""The demo's DuckDB file. DuckDB lets one process write or many read: every function here opens, writes and closes."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from qupersync_local.demo_customers import People, customer_id
from qupersync_local.demo_data import Changes
from qupersync_local.supervise import StackError
from qupersync_shared.kernel.errors import SourceUnavailableError

_BUSY_SECONDS_MAX = 30.0
_BUSY_PAUSE_SECONDS = 0.02
_NEW_EVENTS_FROM: Final = 1_000_000_000
_BLOCK: Final = 50_000
_NEW_EVENTS: Final = 50
_NEW_CUSTOMERS: Final = 3
_CHOSEN: Final = 20  # of them so many are changed, the others removed, and of the last the old events too
_CHANGED: Final = 15
_OLD_EVENTS_OF: Final = 2
_OLD: Final = timedelta(days=60)


def people_of(rows: int, *, until: datetime, seed: int) -> People:
    """A tenth as many customers as usage events, at least ten."""
    return People(count=customers_of(rows), events=rows, until=until, seed=seed)


def customers_of(rows: int) -> int:
    """How many customers go with `rows` usage events."""
    return max(10, rows // 10)


async def make_warehouse(path: Path, people: People) -> None:
    """A file with the customers and their events, saved by the repositories."""
    from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
    from qupersync_extractor.infrastructure.warehouse.customers import DuckDbCustomerRepository
    from qupersync_extractor.infrastructure.warehouse.staging import make_tables
    from qupersync_extractor.infrastructure.warehouse.usage import DuckDbUsageRepository

    file = DuckDbFile(path)
    await asyncio.to_thread(make_tables, file)
    customers, usage = DuckDbCustomerRepository(file), DuckDbUsageRepository(file)
    for first in range(1, people.count + 1, _BLOCK):
        some = await asyncio.to_thread(people.customers, first, min(_BLOCK, people.count + 1 - first))
        await customers.save_all(some)
    for first in range(1, people.events + 1, _BLOCK):
        done = await asyncio.to_thread(people.seeded_events, first, min(_BLOCK, people.events + 1 - first))
        await usage.save_all(done)


class WarehouseChurn:
    """Random changes, each in a transaction and an opening of the file; the same seed makes the same choices."""

    def __init__(self, path: Path, people: People) -> None:
        from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
        from qupersync_extractor.infrastructure.warehouse.customers import DuckDbCustomerRepository
        from qupersync_extractor.infrastructure.warehouse.usage import DuckDbUsageRepository

        self._path = path
        self._people = people
        self._customers = DuckDbCustomerRepository(DuckDbFile(path))
        self._usage = DuckDbUsageRepository(DuckDbFile(path))
        self._random = random.Random(people.seed)  # noqa: S311 - reproducible, not secret
        self._next_customer = people.count + 1
        self._next_event = _NEW_EVENTS_FROM

    async def step(self) -> Changes:
        """Some new events and customers, some customers changed, some rows of both tables gone."""
        some = [customer_id(self._random.randint(1, self._people.count)) for _ in range(_CHOSEN)]
        await _patiently(self._save_new_events)
        new = self._people.customers(self._next_customer, _NEW_CUSTOMERS)
        changed = await self._changed(some[:_CHANGED])
        await _patiently(lambda: self._customers.save_all([*new, *changed]))
        deleted = await asyncio.to_thread(self._delete, some[_CHANGED:])
        self._next_event += _NEW_EVENTS
        self._next_customer += _NEW_CUSTOMERS
        return Changes(inserted=_NEW_EVENTS + _NEW_CUSTOMERS, updated=len(changed), deleted=deleted)

    async def _save_new_events(self) -> None:
        # Anew for each try: an event must not be older than the lookback when it is committed.
        moments = [datetime.now(UTC).replace(tzinfo=None)] * _NEW_EVENTS
        await self._usage.save_all(self._people.new_events(self._next_event, moments))

    async def _changed(self, ids: list[str]) -> list[Any]:
        from qupersync_extractor.domain.warehouse import MRR

        found = [await _patiently(partial(self._customers.get_by_id, key)) for key in dict.fromkeys(ids)]
        return [replace(customer, mrr=MRR(customer.mrr + 1)) for customer in found if customer is not None]

    def _delete(self, ids: list[str]) -> int:
        with opened_for_writing(self._path) as connection:
            connection.execute("BEGIN")
            deleted = _count(
                connection, "DELETE FROM raw.customers WHERE customer_id IN (SELECT unnest($ids))", {"ids": ids}
            ) + _count(
                connection,
                'DELETE FROM raw.usage_events WHERE customer_id IN (SELECT unnest($ids)) AND "timestamp" < $at',
                {"ids": ids[-_OLD_EVENTS_OF:], "at": self._people.until - _OLD},
            )
            connection.execute("COMMIT")
        return deleted


async def _patiently(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """What `attempt` gives, tried again while others hold the file."""
    end = time.monotonic() + _BUSY_SECONDS_MAX
    while True:
        try:
            return await attempt()
        except SourceUnavailableError as error:
            if time.monotonic() > end:
                raise StackError(f"the warehouse was in use for {_BUSY_SECONDS_MAX:g} s: {error}") from error
            await asyncio.sleep(_BUSY_PAUSE_SECONDS)


@contextmanager
def opened_for_writing(path: Path) -> Iterator[Any]:
    """The file, as soon as no reader has it open."""
    import duckdb

    end = time.monotonic() + _BUSY_SECONDS_MAX
    while True:
        try:
            connection = duckdb.connect(str(path))
            break
        except duckdb.IOException as error:
            if time.monotonic() > end:
                raise StackError(f"{path} was in use for {_BUSY_SECONDS_MAX:g} s: {error}") from error
            time.sleep(_BUSY_PAUSE_SECONDS)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _count(connection: Any, sql: str, values: dict[str, object]) -> int:
    row = connection.execute(sql, values).fetchone()
    return int(row[0]) if row else 0
