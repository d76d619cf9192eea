"""DuckDB as a source: a file, opened read-only for each call, or whatever files a query reads."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from qupersync_extractor.application.ports import KeyList, ReadRequest, SourceClock
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.sources.duckdb_types import DuckDbDialect, logical_type, to_batch
from qupersync_extractor.infrastructure.sources.paging_sql import (
    Sql,
    describe_statement,
    duplicates_statement,
    highest_statement,
    nulls_statement,
    page_statement,
)
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import scalar_at
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.positions import Scalar

_T = TypeVar("_T")


class DuckDbSource:
    """The port `Source` over one file, or over none: then queries read Parquet, CSV and what else DuckDB can.

    Calls follow each other on one thread; DuckDB itself uses all cores for each.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = DuckDbFile(path)
        self._dialect = DuckDbDialect()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="duckdb")
        self._closed = False

    async def describe(self, relation: Relation) -> tuple[Column, ...]:
        def described(connection: duckdb.DuckDBPyConnection) -> tuple[Column, ...]:
            found = connection.sql(describe_statement(relation).text)
            return tuple(
                Column(name, logical_type(name, kind)) for name, kind in zip(found.columns, found.types, strict=True)
            )

        return await self._run(described, str(relation))

    async def clock(self) -> SourceClock:
        """The machine's time: the file has no server. Writers elsewhere are not visible."""
        self._check_open()
        return SourceClock(now=datetime.now(UTC), oldest_open=None)

    async def highest(self, relation: Relation, column: Column) -> Scalar | None:
        table = await self._fetch(highest_statement(relation, column, self._dialect), str(relation))
        batch = to_batch(table, RowSchema(columns=(column,), key=(column.name,)))
        return scalar_at(batch.column(0), column.type, 0)

    async def count_nulls(self, relation: Relation, columns: Sequence[str]) -> dict[str, int]:
        if not columns:
            return {}
        table = await self._fetch(nulls_statement(relation, columns), str(relation))
        return {name: int(column[0].as_py()) for name, column in zip(columns, table.columns, strict=True)}

    async def count_duplicate_keys(self, relation: Relation, key: Sequence[str]) -> int:
        described = {column.name: column for column in await self.describe(relation)}
        missing = [name for name in key if name not in described]
        if missing:
            raise TerminalError(f"{relation} has no column {missing[0]!r}", cure="Mend the key")
        statement = duplicates_statement(relation, [described[name] for name in key], self._dialect)
        table = await self._fetch(statement, str(relation))
        return int(table.column(0)[0].as_py())

    async def read(self, request: ReadRequest) -> pa.RecordBatch:
        schema = request.schema
        if request.limit < 1 or (isinstance(request.range, KeyList) and not request.range.keys):
            return pa.RecordBatch.from_pylist([], schema=schema.arrow())
        statement = page_statement(request, self._dialect)

        def page(connection: duckdb.DuckDBPyConnection) -> pa.RecordBatch:
            return to_batch(_arrow(connection, statement), schema, cursor=request.cursor)

        return await self._run(page, str(request.relation))

    async def answer(self, statement: Sql, relation: Relation) -> pa.Table:
        """A statement's whole result: what is no page, such as digests."""
        return await self._fetch(statement, str(relation))

    async def close(self) -> None:
        self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _fetch(self, statement: Sql, what: str) -> pa.Table:
        return await self._run(lambda connection: _arrow(connection, statement), what)

    async def _run(self, task: Callable[[duckdb.DuckDBPyConnection], _T], what: str) -> _T:
        self._check_open()

        def opened() -> _T:
            with self._file.reading(what) as connection:
                return task(connection)

        return await asyncio.get_running_loop().run_in_executor(self._executor, opened)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the source is closed")


def _arrow(connection: duckdb.DuckDBPyConnection, statement: Sql) -> pa.Table:
    return connection.sql(statement.text, params=list(statement.values)).to_arrow_table()
