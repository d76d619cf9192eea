"""Redshift as a source, through redshift-connector."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

from qupersync_extractor.application.ports import KeyList, ReadRequest, SourceClock
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.sources.paging_sql import (
    Sql,
    describe_statement,
    duplicates_statement,
    highest_statement,
    nulls_statement,
    page_statement,
)
from qupersync_extractor.infrastructure.sources.redshift_connection import Fetched, RedshiftOptions, Session
from qupersync_extractor.infrastructure.sources.redshift_errors import ErrorContext
from qupersync_extractor.infrastructure.sources.redshift_pool import RedshiftPool
from qupersync_extractor.infrastructure.sources.redshift_sql import AS_TEXT, CLOCK, CLOCK_ALONE, RedshiftDialect
from qupersync_extractor.infrastructure.sources.redshift_types import DescribedColumn, logical_type
from qupersync_extractor.infrastructure.sources.redshift_values import to_batch
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import scalar_at
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import SourceUnavailableError, TerminalError, TransientError
from qupersync_shared.kernel.positions import Scalar

_ASK_AGAIN_SECONDS: Final = 900.0
_ANY_TYPE: Final = LogicalType(Kind.VARCHAR)  # Redshift compares every key as it is


class RedshiftSource:
    """The port `Source` over a pool of sessions; connections are opened when first needed."""

    def __init__(self, options: RedshiftOptions) -> None:
        self._options = options
        self._pool = RedshiftPool(options)
        self._casts: dict[Relation, frozenset[str]] = {}
        self._transactions_hidden_until = 0.0

    async def describe(self, relation: Relation) -> tuple[Column, ...]:
        context = self._context(relation)
        fetched = await self._pool.run(lambda session: session.fetch(describe_statement(relation), context))
        columns = tuple(Column(found.name, _travels(fetched, found)) for found in fetched.columns)
        self._casts[relation] = frozenset(found.name for found in fetched.columns if found.needs_cast)
        return columns

    async def clock(self) -> SourceClock:
        """SYSDATE of a transaction that has just begun, and the oldest other transaction where one may see it."""
        if time.monotonic() < self._transactions_hidden_until:
            return await self._ask_clock(CLOCK_ALONE)
        try:
            return await self._ask_clock(CLOCK, "," + ",".join(map(str, self._pool.pids())) + ",")
        except SourceUnavailableError:
            raise
        except (TransientError, TerminalError):
            clock = await self._ask_clock(CLOCK_ALONE)
        # Not visible to this user, or not as documented: the safety lag alone has to do until asked again.
        self._transactions_hidden_until = time.monotonic() + _ASK_AGAIN_SECONDS
        return clock

    async def highest(self, relation: Relation, column: Column) -> Scalar | None:
        statement = highest_statement(relation, column, await self._dialect(relation))
        fetched = await self._fetch(statement, relation)
        found = to_batch(fetched.rows, RowSchema(columns=(column,), key=(column.name,)))
        return scalar_at(found.column(0), column.type, 0)

    async def count_nulls(self, relation: Relation, columns: Sequence[str]) -> dict[str, int]:
        if not columns:
            return {}
        fetched = await self._fetch(nulls_statement(relation, columns), relation)
        return {name: int(count) for name, count in zip(columns, fetched.rows[0], strict=True)}

    async def count_duplicate_keys(self, relation: Relation, key: Sequence[str]) -> int:
        columns = [Column(name, _ANY_TYPE) for name in key]
        fetched = await self._fetch(duplicates_statement(relation, columns, RedshiftDialect()), relation)
        return int(fetched.rows[0][0])

    async def read(self, request: ReadRequest) -> pa.RecordBatch:
        if request.limit < 1 or (isinstance(request.range, KeyList) and not request.range.keys):
            return pa.RecordBatch.from_pylist([], schema=request.schema.arrow())
        dialect = await self._dialect(request.relation)
        statement = page_statement(request, dialect)
        context = self._context(request.relation)

        def page(session: Session) -> pa.RecordBatch:
            fetched = session.fetch(statement, context)
            _check(fetched, request.schema, request.relation)
            return fetched.to_batch(request.schema, cursor=request.cursor)

        return await self._pool.run(page)

    async def casts(self, relation: Relation) -> frozenset[str]:
        """The columns that are readable only by a CAST to text."""
        if relation not in self._casts:
            await self.describe(relation)
        return self._casts[relation]

    async def answer(self, statement: Sql, relation: Relation, *, settings: Sequence[str] = ()) -> Fetched:
        """A statement's whole result, under settings of its own transaction: what is no page, such as digests."""
        context = self._context(relation)
        return await self._pool.run(lambda session: session.fetch(statement, context, settings=settings))

    async def close(self) -> None:
        await self._pool.close()

    async def _dialect(self, relation: Relation) -> RedshiftDialect:
        return RedshiftDialect(await self.casts(relation))

    async def _fetch(self, statement: Sql, relation: Relation) -> Fetched:
        context = self._context(relation)
        return await self._pool.run(lambda session: session.fetch(statement, context))

    async def _ask_clock(self, text: str, *values: str) -> SourceClock:
        context = self._context(None)
        fetched = await self._pool.run(lambda session: session.fetch(Sql(text, values), context))
        now, *oldest = (None if value is None else _moment(value) for value in fetched.rows[0])
        if now is None:
            raise TransientError(f"{self._options.place} did not tell its time")
        return SourceClock(now=now, oldest_open=oldest[0] if oldest else None)

    def _context(self, relation: Relation | None) -> ErrorContext:
        return ErrorContext(user=self._options.user, place=self._options.place, relation=relation)


def _travels(fetched: Fetched, found: DescribedColumn) -> LogicalType:
    """The column's logical type; TerminalError where the driver would spoil its values."""
    logical = logical_type(found)
    if logical.kind is Kind.VARBYTE and not fetched.binary:
        raise TerminalError(
            f"column {found.name!r} is VARBYTE, which the driver takes for UTF-8 text on a server without protocol 2",
            cure="Select FROM_VARBYTE(…, 'hex') in a query",
        )
    return logical


def _check(fetched: Fetched, schema: RowSchema, relation: Relation) -> None:
    """The columns as they arrived against the schema they were asked by: a table may change between the two."""
    for found, column in zip(fetched.columns, schema.columns, strict=True):
        if column.type.kind in AS_TEXT:
            continue  # it was cast to text, whatever it is: its values will tell
        now = _travels(fetched, found)
        if now != column.type:
            raise TransientError(
                f"column {column.name!r} of {relation} was {column.type.name} and is {now.name} now",
                cure="The next run reads the new schema",
            )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
