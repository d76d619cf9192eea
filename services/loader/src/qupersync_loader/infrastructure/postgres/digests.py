"""The port `TargetDigests` on PostgreSQL: sums of ranges by the key's own index, in short read-only transactions."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_loader.application.digests import KeyBounds, RowDigest
from qupersync_loader.domain.pipeline import Adopt, TargetPipeline
from qupersync_loader.infrastructure.postgres.digest_sql import Types, exact_text, row_digest
from qupersync_loader.infrastructure.postgres.key_text import key_text
from qupersync_loader.infrastructure.postgres.names import DELETED_AT, PLACE, SEQUENCE, SLOT, quote, quote_table
from qupersync_loader.infrastructure.postgres.quarantine import bound, columns, storable
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.infrastructure.postgres.statements import exact, parameter
from qupersync_shared.contracts.row_digests import PART_BITS, DigestedColumn, Sums, exact_digest, normal_text
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.verification import RowContent, Standing
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.positions import Key, Scalar, encode_key
from qupersync_shared.runtime.database import raw_connection, translated

RANGE_ROWS_MAX: Final = 200_000  # many more than the source has in a range: so many differ, whatever they are
_ROWS_AHEAD: Final = 10  # of rows that may be 16 MB each
_BEGIN: Final = text("SET TRANSACTION READ ONLY")
_SETTINGS: Final = "SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 0"
_WHOLE_FLOATS: Final = "SET LOCAL extra_float_digits = 1"
_DIGITS: Final = PART_BITS // 4


class PostgresDigests:
    """Reads with sessions of its own, so that no slot of the loader waits for a comparison."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def opened(
        self, pipeline: TargetPipeline, schema: RowSchema, columns: Sequence[DigestedColumn]
    ) -> AsyncIterator["OpenTable"]:
        with translated():
            async with self._engine.connect() as connection:
                await connection.execute(_BEGIN)
                driver = await raw_connection(connection)
                await driver.execute(_SETTINGS)
                standing = await driver.fetchrow(statement("verify_standing"), pipeline.group, pipeline.name)
                types = await _types(driver, pipeline)
                for one in columns:
                    if one.column.name not in types:
                        raise TerminalError(
                            f"there is no column {one.column.name!r}, which the source has",
                            cure="The loader adds it with the next event (schema: evolve), or add it by hand",
                        )
                yield OpenTable(
                    driver=driver,
                    pipeline=pipeline,
                    schema=schema,
                    columns=tuple(columns),
                    types=types,
                    standing=Standing(**dict(standing)) if standing is not None else Standing(),
                )
                await connection.rollback()

    async def close(self) -> None:
        await self._engine.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTable:
    """One target table inside one transaction."""

    driver: asyncpg.Connection
    pipeline: TargetPipeline
    schema: RowSchema
    columns: tuple[DigestedColumn, ...]
    types: Types
    standing: Standing

    async def sums(self, within: KeyBounds) -> Sums:
        condition, values = self._within(within)
        halves = [
            f"coalesce(sum(('x' || substr(d.digest, {start}, {_DIGITS}))::bit({PART_BITS})::bigint), 0)::text"
            for start in (1, 1 + _DIGITS)
        ]
        # LIMIT also keeps the digest from being computed once for each sum.
        found = f"{self._digests(condition)} LIMIT {RANGE_ROWS_MAX}"
        sql = f"SELECT count(*), {', '.join(halves)} FROM ({found}) AS d"  # noqa: S608  # quoted
        rows, first, second = await self.driver.fetchrow(sql, *values)
        return Sums(rows=rows, first=int(first), second=int(second))

    async def digests(self, within: KeyBounds, *, limit: int) -> list[RowDigest]:
        condition, values = self._within(within)
        order = ", ".join(exact("t", column) for column in self.schema.key_columns)
        sql = f"{self._digests(condition, keys=True)} ORDER BY {order} LIMIT {int(limit)}"
        return [self._row(record) for record in await self.driver.fetch(sql, *values)]

    async def digests_of(self, keys: Sequence[Key]) -> list[RowDigest]:
        held = [key for key in keys if storable(key)]
        condition = f"({self._own()}) IN (SELECT {self._listed()} FROM {self._arrays()})"  # noqa: S608  # quoted
        sql = self._digests(f" AND {condition}", keys=True)
        found = await self.driver.fetch(sql, *columns(held, len(self.schema.key)))
        return [self._row(record) for record in found]

    async def contents(self, keys: Sequence[Key]) -> AsyncGenerator[RowContent, None]:
        held = [key for key in keys if storable(key)]
        waiting = await self._waiting(keys)
        await self.driver.execute(_WHOLE_FLOATS)
        exactly = ", ".join(exact_text(one, self.types[one.column.name]) for one in self.columns)
        own, listed = self._own(), self._listed()
        sql = (
            f"SELECT k.{PLACE} AS place, {self._sequence()} AS sequence, {exactly} "  # noqa: S608
            f"FROM (SELECT {listed}, r.{PLACE} FROM {self._arrays()}) AS k ({self._names()}, {PLACE}) "
            f"JOIN {self._table} AS t ON ({own}) = ({self._keys_of('k')}) WHERE {self._ours()} ORDER BY k.{PLACE}"
        )
        texts = [encode_key(key) for key in held]
        absent = {encode_key(key) for key in keys}
        async for record in self.driver.cursor(sql, *columns(held, len(self.schema.key)), prefetch=_ROWS_AHEAD):
            key = texts[record["place"] - 1]
            absent.discard(key)
            yield RowContent(
                key=key,
                present=True,
                columns=tuple(
                    exact_digest(None if found is None else normal_text(found, one.column.type), one)
                    for found, one in zip(tuple(record)[2:], self.columns, strict=True)
                ),
                sequence=record["sequence"],
                quarantined=key in waiting,
            )
        for key in sorted(absent):
            yield RowContent(key=key, present=False, quarantined=key in waiting)

    async def _waiting(self, keys: Sequence[Key]) -> set[str]:
        digests = [hashlib.md5(encode_key(key).encode(), usedforsecurity=False).hexdigest() for key in keys]
        pipeline = self.pipeline
        found = await self.driver.fetch(statement("waiting_keys"), pipeline.group, pipeline.name, digests)
        return {record["key"] for record in found}

    # ------------------------------------------------------------------------------------------------ statements

    @property
    def _table(self) -> str:
        return quote_table(self.pipeline.schema, self.pipeline.table)

    def _digests(self, condition: str, *, keys: bool = False) -> str:
        selected = f"{row_digest(self.columns, self.types)} AS digest"
        if keys:
            texts = [key_text(f"t.{quote(c.name)}", c.type, self.types[c.name]) for c in self.schema.key_columns]
            selected = f"{selected}, {', '.join(texts)}"
        return f"SELECT {selected} FROM {self._table} AS t WHERE {self._ours()}{condition}"  # noqa: S608  # quoted

    def _ours(self) -> str:
        """Rows that the source is answerable for."""
        conditions = ["true"]
        if DELETED_AT in self.types:
            conditions.append(f"t.{DELETED_AT} IS NULL")
        if self.pipeline.adopt is Adopt.KEEP and SLOT in self.types:
            conditions.append(f"t.{SLOT} IS NOT NULL")
        return " AND ".join(conditions)

    def _within(self, within: KeyBounds) -> tuple[str, list[str]]:
        """Row comparison is a btree's own order."""
        condition = ""
        values: list[str] = []
        for key, operator in ((within.after, ">"), (within.upto, "<=")):
            texts = bound(key)
            if not texts:
                continue
            named = self.schema.key_columns[: len(texts)]
            given = [parameter(column, f"${len(values) + n}::text") for n, column in enumerate(named, 1)]
            own = ", ".join(exact("t", column) for column in named)
            condition += f" AND ({own}) {operator} ({', '.join(given)})"
            values += texts
        return condition, values

    def _own(self) -> str:
        return ", ".join(exact("t", column) for column in self.schema.key_columns)

    def _keys_of(self, alias: str) -> str:
        return ", ".join(exact(alias, column) for column in self.schema.key_columns)

    def _names(self) -> str:
        return ", ".join(quote(name) for name in self.schema.key)

    def _arrays(self) -> str:
        count = len(self.schema.key)
        arrays = ", ".join(f"${n}::text[]" for n in range(1, count + 1))
        names = ", ".join(f"c{n}" for n in range(count))
        return f"unnest({arrays}) WITH ORDINALITY AS r ({names}, {PLACE})"

    def _listed(self) -> str:
        return ", ".join(parameter(column, f"r.c{n}") for n, column in enumerate(self.schema.key_columns))

    def _sequence(self) -> str:
        return f"t.{SEQUENCE}" if SEQUENCE in self.types else "NULL::bigint"

    def _row(self, record: asyncpg.Record) -> RowDigest:
        digest, *texts = tuple(record)
        scalars = [
            Scalar(column.type.scalar, value)
            for column, value in zip(self.schema.key_columns, texts, strict=True)
            if column.type.scalar is not None
        ]
        return RowDigest(key=encode_key(tuple(scalars)), digest=digest)


async def _types(driver: asyncpg.Connection, pipeline: TargetPipeline) -> Types:
    relation = await driver.fetchrow(statement("relation"), pipeline.schema, pipeline.table)
    if relation is None:
        raise TerminalError("there is no such table", cure="The loader makes it with the first event")
    found = await driver.fetch(statement("columns"), relation["oid"])
    return {record["name"]: record["type"] for record in found}
