"""What a preflight and a sample ask of a DuckDB file."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import duckdb
import pyarrow as pa

from qupersync_extractor.application.probing import Layout
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_extractor.infrastructure.sources.duckdb_types import DuckDbDialect, to_batch
from qupersync_extractor.infrastructure.sources.numbered_looks import NumberedLooks
from qupersync_extractor.infrastructure.sources.paging_sql import Sql
from qupersync_extractor.infrastructure.sources.probing_sql import sample_statement
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType

_T = TypeVar("_T")


class DuckDbProbe(NumberedLooks, DuckDbSource):
    """The port `SourceProbe`: the source itself, with further questions."""

    dialect = DuckDbDialect()

    async def layout(self, relation: Relation) -> Layout | None:  # noqa: ARG002  # the port's signature
        return None

    async def version(self) -> str:
        return f"DuckDB {duckdb.__version__}"

    async def sample_keys(self, relation: Relation, key: RowSchema, limit: int) -> pa.RecordBatch:
        statement = sample_statement(relation, key, self.dialect, hashed_text, limit)
        table = await self._fetch(statement, str(relation))
        return to_batch(table, key)

    async def _run(self, task: Callable[[duckdb.DuckDBPyConnection], _T], what: str) -> _T:
        """A probe that is given up ends in the engine, too: the thread would hold the next one, and the process."""
        held: list[duckdb.DuckDBPyConnection] = []

        def tracked(connection: duckdb.DuckDBPyConnection) -> _T:
            held.append(connection)
            return task(connection)

        try:
            return await super()._run(tracked, what)
        except asyncio.CancelledError:
            for connection in held:
                connection.interrupt()
            raise

    async def _numbers(self, statement: Sql, relation: Relation) -> list[int]:
        table = await self._fetch(statement, str(relation))
        return [int(column[0].as_py()) for column in table.columns]


def hashed_text(expression: str, logical: LogicalType) -> str:
    """The canonical text of a key's value, as far as SQL can write it."""
    match logical.kind:
        case Kind.CHAR | Kind.VARCHAR:
            return f"rtrim(CAST({expression} AS VARCHAR), ' ')"
        case Kind.VARBYTE:
            return f"lower(hex({expression}))"
        case _:
            return f"CAST({expression} AS VARCHAR)"
