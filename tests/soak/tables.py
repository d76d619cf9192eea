"""The pipelines of a run and their source tables: one shape of table, five ways to read it."""

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import asyncpg
from tests.soak.options import Options

from qupersync_local.compare import Comparison, compare_tables
from qupersync_local.compare_sides import PostgresSide, Side

NOW = "timezone('UTC', transaction_timestamp())"
BAD = "bad"
_TABLE = """
    CREATE TABLE {table} (
        id bigint NOT NULL, region varchar(20) NOT NULL, name varchar(100), amount numeric(18, 6),
        ratio double precision, tags super, day date, flag boolean, version bigint NOT NULL, updated_at timestamp
    )
"""
_ROWS = """
    INSERT INTO {table} (id, region, name, amount, ratio, tags, day, flag, version, updated_at)
    SELECT n, 'r' || n % 7, 'name ' || n || repeat(' ', (n % 3)::int), (n * 7919 % 1000003) / 1000.0,
           n / 7.0::double precision,
           CASE WHEN n % 5 <> 0 THEN ('{{"n": ' || n || ', "é": [1.50, null]}}')::super END,
           date '2024-01-01' + (abs(n) % 1000)::int, n % 2 = 0, {version}, {moment}
    FROM generate_series({first}::bigint, {last}::bigint) AS n
"""


class Kind(StrEnum):
    """How a pipeline reads its table."""

    CURSOR = "cursor"
    COMPOSITE = "composite key"
    INTEGER = "integer cursor"
    CURSORLESS = "no cursor"
    QUERY = "query"


# Mostly the ordinary kind, each of the others every few.
_ORDER = (Kind.CURSOR, Kind.COMPOSITE, Kind.INTEGER, Kind.CURSORLESS, Kind.QUERY)
_MANY = (*_ORDER, *[Kind.CURSOR] * 5)


@dataclass(slots=True, kw_only=True)
class SourceTable:
    """A source table, its pipeline and what the writers must remember of it."""

    name: str
    kind: Kind
    window: int
    newest: int = 0
    oldest: int = 0
    version: int = 0
    bad: set[int] = field(default_factory=set)

    @property
    def table(self) -> str:
        return f"billing.{self.name}"

    @property
    def target(self) -> str:
        return f"public.{self.name}"

    @property
    def key(self) -> list[str]:
        return ["region", "id"] if self.kind is Kind.COMPOSITE else ["id"]

    @property
    def query(self) -> str:
        return f"SELECT id, region, name, amount, tags, flag, updated_at FROM {self.table} WHERE flag"

    def pipeline(self, options: Options) -> dict[str, Any]:
        """Its section of the configuration."""
        relation = {"query": self.query} if self.kind is Kind.QUERY else {"from": self.table}
        match self.kind:
            case Kind.CURSORLESS:
                cursor: dict[str, Any] = {}
            case Kind.INTEGER:
                cursor = {"cursor": "version", "lookback_units": 50}
            case _:
                cursor = {"cursor": "updated_at"}
        return {**relation, "into": self.target, "key": self.key, **cursor, **options.pipeline_options}

    def side(self, dsn: str) -> Side:
        """What the target must equal."""
        if self.kind is Kind.QUERY:
            return PostgresSide(dsn=dsn, query=self.query)
        return PostgresSide(dsn=dsn, table=self.table)

    async def compare(self, source_dsn: str, target_dsn: str) -> Comparison:
        return await compare_tables(
            self.side(source_dsn), PostgresSide(dsn=target_dsn, table=self.target), key=self.key
        )

    async def create(self, connection: asyncpg.Connection, *, rows: int) -> None:
        await connection.execute(_TABLE.format(table=self.table))
        await self.insert(connection, rows, moment="timestamp '2024-01-01' + n / 50 * interval '1 second'")

    async def insert(self, connection: asyncpg.Connection, many: int, *, moment: str = NOW) -> None:
        """New rows above all others, with one cursor value: ties."""
        first, last = self.newest + 1, self.newest + many
        version = f"{self.version} + n - {first} + 1"
        await connection.execute(_ROWS.format(table=self.table, first=first, last=last, version=version, moment=moment))
        self.newest, self.version = last, self.version + many

    async def insert_below(self, connection: asyncpg.Connection, many: int) -> None:
        """New rows below all others, which no other transaction touches: they may be committed late."""
        first, last = self.oldest - many, self.oldest - 1
        self.oldest = first
        await connection.execute(_ROWS.format(table=self.table, first=first, last=last, version="0", moment=NOW))

    @property
    def has_moments(self) -> bool:
        """Whether a late commit is met: an integer cursor promises nothing about it."""
        return self.kind is not Kind.INTEGER

    @property
    def kept_from(self) -> int:
        """Rows are deleted as others come: a table that grew for ever would hide whatever else does."""
        return max(1, self.newest - self.window)

    def some(self, chance: random.Random, many: int) -> list[int]:
        return [chance.randint(self.kept_from, max(1, self.newest)) for _ in range(many)]

    async def delete(self, connection: asyncpg.Connection, some: list[int]) -> int:
        """These rows, those left behind by the window, and the older ones of those below."""
        tag = await connection.execute(
            f"DELETE FROM {self.table} WHERE id = ANY($1) OR id BETWEEN 1 AND $2 OR id BETWEEN $3 AND 0",
            some,
            self.kept_from - 1,
            self.oldest + self.window,
        )
        return int(tag.rpartition(" ")[2])


def tables_of(options: Options) -> list[SourceTable]:
    """One table a pipeline; names that sort as they are numbered."""
    order = _ORDER if options.pipelines <= 2 * len(_ORDER) else _MANY
    prefix = "plain" if options.unattended else "soak"
    return [
        SourceTable(name=f"{prefix}_{number:03}", kind=order[number % len(order)], window=2 * options.rows)
        for number in range(options.pipelines)
    ]
