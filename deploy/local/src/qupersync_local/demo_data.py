"""Tables and changes for the demo and for tests, made by SQL in the PostgreSQL behind the stand-in.

All functions take a connection of asyncpg as the tables' owner or as superuser. What they make depends on the
seed only, not on the time they run at: values come from hashes of row numbers.
"""

import random
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

import asyncpg

COST_USAGE = "billing.cost_usage"
QUERY_HISTORY = "ops.query_history"
SEEDED_FROM = datetime(2025, 1, 1)  # noqa: DTZ001 - Redshift's TIMESTAMP has no zone
ROWS_PER_INSTANT = 40


def _sql(name: str, table: str) -> str:
    """A statement of `demo_sql/` for `table`, which is a plain name or two joined by a dot."""
    return (files(__package__) / "demo_sql" / f"{name}.sql").read_text("utf-8").replace("{table}", _plain(table))


def _plain(table: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?", table):
        raise ValueError(f"{table!r} is not a plain table name: use lower-case letters, digits and underscores")
    return table


async def seed_cost_usage(
    connection: asyncpg.Connection,
    *,
    rows: int = 100_000,
    table: str = COST_USAGE,
    rows_per_instant: int = ROWS_PER_INSTANT,
    seed: int = 1,
) -> None:
    """Make and fill a cost table: ids from 1, runs of `rows_per_instant` equal `updated_at`, all in the past."""
    async with connection.transaction():
        await connection.execute(_sql("cost_usage_table", table))
        await connection.execute(_sql("cost_usage_rows", table), 1, rows, SEEDED_FROM, rows_per_instant, seed)
    await connection.execute(f"ANALYZE {table}")


async def seed_query_history(
    connection: asyncpg.Connection, *, rows: int = 10_000, table: str = QUERY_HISTORY, seed: int = 1
) -> None:
    """Make and fill a table of queries; `end_time` follows no order."""
    async with connection.transaction():
        await connection.execute(_sql("query_history_table", table))
        await connection.execute(_sql("query_history_rows", table), rows, SEEDED_FROM, seed)


async def seed_awkward(connection: asyncpg.Connection, *, rows: int = 1_000, seed: int = 1) -> tuple[str, str]:
    """Make two cost tables, one with duplicate keys, one with NULL cursors; returns their names."""
    duplicates, nulls = f"{COST_USAGE}_duplicates", f"{COST_USAGE}_null_cursors"
    for table in (duplicates, nulls):
        await seed_cost_usage(connection, rows=rows, table=table, seed=seed)
    await connection.execute(f"INSERT INTO {duplicates} SELECT * FROM {duplicates} WHERE id % 50 = 0")  # noqa: S608
    await connection.execute(f"UPDATE {nulls} SET updated_at = NULL WHERE id % 50 = 0")  # noqa: S608
    return duplicates, nulls


async def register_facts(connection: asyncpg.Connection, *, table: str = COST_USAGE, **facts: Any) -> None:
    """Tell the system views what only Redshift knows of a table: columns of standin_table_facts. Superuser only.

    Without facts: sorted by (updated_at, id), distributed by account.
    """
    chosen = facts or {
        "sortkeys": ["updated_at", "id"],
        "distkey": "account_id",
        "diststyle": "KEY(account_id)",
        "encoded": "Y",
        "unsorted": 0,
        "skew_rows": 1,
    }
    names, values = ", ".join(chosen), ", ".join(f"${place}" for place in range(2, len(chosen) + 2))
    await connection.execute(
        f"INSERT INTO pg_catalog.standin_table_facts (table_id, {names}) VALUES (to_regclass($1)::oid, {values}) "  # noqa: S608
        f"ON CONFLICT (table_id) DO UPDATE SET ({names}) = ROW ({', '.join(f'excluded.{name}' for name in chosen)})",
        table,
        *chosen.values(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How many rows a call of `Churn.step` inserted, updated and deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


class Churn:
    """Random changes in small transactions; the same seed on the same table makes the same changes.

    `updated_at` of what changes is the transaction's time at the server, as an application would write it, or grows
    from `starting_at` by a second each step, where a test must own the time.
    """

    def __init__(self, *, table: str = COST_USAGE, seed: int = 1, starting_at: datetime | None = None) -> None:
        self._table = _plain(table)
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._seed = seed
        self._instant = starting_at

    async def step(
        self, connection: asyncpg.Connection, *, inserts: int = 5, updates: int = 10, deletes: int = 0
    ) -> Changes:
        """One transaction. Rows to update and delete are the next ones at or after random ids."""
        async with connection.transaction():
            instant = await self._next_instant(connection)
            newest = int(await connection.fetchval(f"SELECT coalesce(max(id), 0) FROM {self._table}"))  # noqa: S608
            updated = await self._update(connection, self._pick(newest, updates), instant)
            deleted = await self._delete(connection, self._pick(newest, deletes))
            if inserts:
                await connection.execute(
                    _sql("cost_usage_rows", self._table), newest + 1, inserts, instant, inserts, self._seed
                )
        return Changes(inserted=inserts, updated=updated, deleted=deleted)

    async def _next_instant(self, connection: asyncpg.Connection) -> datetime:
        if self._instant is None:
            now: datetime = await connection.fetchval("SELECT (transaction_timestamp() AT TIME ZONE 'UTC')")
            return now
        self._instant += timedelta(seconds=1)
        return self._instant

    def _pick(self, newest: int, count: int) -> list[int]:
        return [self._random.randint(1, newest) for _ in range(count)] if newest else []

    async def _update(self, connection: asyncpg.Connection, ids: list[int], instant: datetime) -> int:
        if not ids:
            return 0
        cost = self._random.randint(-1_000_000, 20_000_000)
        tag = await connection.execute(
            f"UPDATE {self._table} SET effective_cost = ($2 / 1000000.0)::numeric(18, 6), "  # noqa: S608
            "is_estimated = NOT is_estimated, updated_at = $3 WHERE id = ANY($1::bigint[])",
            ids,
            cost,
            instant,
        )
        return int(tag.rpartition(" ")[2])

    async def _delete(self, connection: asyncpg.Connection, ids: list[int]) -> int:
        if not ids:
            return 0
        tag = await connection.execute(f"DELETE FROM {self._table} WHERE id = ANY($1::bigint[])", ids)  # noqa: S608
        return int(tag.rpartition(" ")[2])
