"""The demo's DuckDB file. DuckDB lets one process write or many read: every function here opens, writes and closes."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from qupersync_local.demo_data import SEEDED_FROM, Changes
from qupersync_local.supervise import StackError

_BUSY_SECONDS_MAX = 30.0
_BUSY_PAUSE_SECONDS = 0.02
_NEW_EVENTS_FROM = 1_000_000_000


def make_warehouse(path: Path, *, rows: int, seed: int) -> None:
    """A file with `rows` usage events and a tenth as many customers."""
    customers = customers_of(rows)
    with opened_for_writing(path) as connection:
        connection.execute(_sql("warehouse_tables"))
        connection.execute(
            _sql("warehouse_customers"), {"first": 1, "rows": customers, "at": SEEDED_FROM, "seed": seed}
        )
        connection.execute(
            _sql("warehouse_events"),
            {"first": 1, "rows": rows, "at": SEEDED_FROM, "customers": customers, "seed": seed},
        )


def customers_of(rows: int) -> int:
    """How many customers go with `rows` usage events."""
    return max(10, rows // 10)


class WarehouseChurn:
    """Random changes, one transaction and one opening of the file a step; the same seed makes the same choices."""

    def __init__(self, path: Path, *, rows: int, seed: int) -> None:
        self._path = path
        self._customers = customers_of(rows)
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._next_customer = self._customers + 1
        self._next_event = _NEW_EVENTS_FROM

    def step(self) -> Changes:
        """Some new events and customers, some customers changed, some rows of both tables gone."""
        now = datetime.now(UTC)
        some = [self._random.randint(1, self._customers) for _ in range(20)]
        with opened_for_writing(self._path) as connection:
            connection.execute("BEGIN")
            connection.execute(
                _sql("warehouse_events"),
                {
                    "first": self._next_event,
                    "rows": 50,
                    "at": now.replace(tzinfo=None),
                    "customers": self._customers,
                    "seed": self._seed,
                },
            )
            connection.execute(
                _sql("warehouse_customers"), {"first": self._next_customer, "rows": 3, "at": now, "seed": self._seed}
            )
            updated = _count(
                connection,
                "UPDATE raw.customers SET credit_limit = credit_limit + 1, is_active = NOT is_active, updated_at = $at "
                "WHERE customer_id IN (SELECT unnest($some))",
                {"at": now, "some": some[:15]},
            )
            deleted = _count(
                connection, "DELETE FROM raw.customers WHERE customer_id IN (SELECT unnest($some))", {"some": some[15:]}
            ) + _count(
                connection,
                "DELETE FROM raw.usage_events WHERE customer_id IN (SELECT unnest($some)) AND occurred_at < $at",
                {"some": some[18:], "at": SEEDED_FROM.replace(year=SEEDED_FROM.year + 1)},
            )
            connection.execute("COMMIT")
        self._next_event += 50
        self._next_customer += 3
        return Changes(inserted=53, updated=updated, deleted=deleted)


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


def _sql(name: str) -> str:
    return (files(__package__) / "demo_sql" / f"{name}.sql").read_text("utf-8")
