"""A DuckDB file as a source: read-only, opened for each call, so that a replaced file is seen and a writer gets in."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import duckdb
import pyarrow as pa

from qupersync_extractor.application.ports import KeyList, ReadRequest, SourceClock
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.sources.duckdb_types import DuckDbDialect, logical_type, to_batch
from qupersync_extractor.infrastructure.sources.paging_sql import (
    Sql,
    describe_statement,
    duplicates_statement,
    highest_statement,
    nulls_statement,
    page_statement,
)
from qupersync_shared.contracts.schema import Column, arrow_field
from qupersync_shared.contracts.slots import scalar_at
from qupersync_shared.kernel.errors import QupersyncError, SourceUnavailableError, TerminalError, TransientError
from qupersync_shared.kernel.positions import Scalar

_T = TypeVar("_T")

_TERMINAL: Final = (
    duckdb.BinderException,
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.InvalidInputException,
    duckdb.InvalidTypeException,
    duckdb.TypeMismatchException,
    duckdb.NotImplementedException,
)


class DuckDbSource:
    """The port `Source` over one file. Calls follow each other on one thread; DuckDB itself uses all cores for each."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
        schema = pa.schema([arrow_field(column.name, column.type)])
        batch = to_batch(table, (column,), (column.name,), schema)
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
            return to_batch(_arrow(connection, statement), schema.columns, schema.key, schema.arrow())

        return await self._run(page, str(request.relation))

    async def close(self) -> None:
        self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _fetch(self, statement: Sql, what: str) -> pa.Table:
        return await self._run(lambda connection: _arrow(connection, statement), what)

    async def _run(self, task: Callable[[duckdb.DuckDBPyConnection], _T], what: str) -> _T:
        self._check_open()

        def opened() -> _T:
            with self._guarded(what), duckdb.connect(str(self._path), read_only=True) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                return task(connection)

        return await asyncio.get_running_loop().run_in_executor(self._executor, opened)

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise self._classified(error, what) from error

    def _classified(self, error: duckdb.Error, what: str) -> QupersyncError:
        words = " ".join(str(error).split())
        if isinstance(error, duckdb.CatalogException):
            return TransientError(
                f"{what} cannot be read from {self._path}: {words}", cure="Create it, or mend its name"
            )
        if isinstance(error, _TERMINAL):
            return TerminalError(f"{what} cannot be read from {self._path}: {words}", cure="Mend the query or the key")
        return SourceUnavailableError(
            f"{self._path} cannot be read: {words}",
            cure="Tried again with growing delay; it must exist, be readable, and not be open for writing elsewhere",
        )

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the source is closed")


def _arrow(connection: duckdb.DuckDBPyConnection, statement: Sql) -> pa.Table:
    return connection.sql(statement.text, params=list(statement.values)).to_arrow_table()
