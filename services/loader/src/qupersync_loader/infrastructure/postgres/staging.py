"""Staging: an event's rows, copied in binary into a temporary table of their own shape on the session."""

import io
from collections import OrderedDict
from typing import Final

import asyncpg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

from qupersync_loader.infrastructure.postgres.infinity import with_infinity
from qupersync_loader.infrastructure.postgres.statements import Statements

TABLES_MAX: Final = 16  # every commit empties all of them


class StagingTables:
    """Which staging tables a session has; the least recently used goes beyond 16."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, statements: Statements) -> bool:
        return statements.staging_name in self._known

    async def make(self, driver: asyncpg.Connection, statements: Statements) -> None:
        """Makes the schema's table, outside any transaction, so that a rollback cannot take it away again."""
        name = statements.staging_name
        if name not in self._known:
            while len(self._known) >= TABLES_MAX:
                oldest = next(iter(self._known))
                await driver.execute(f'DROP TABLE IF EXISTS pg_temp."{oldest}"')
                del self._known[oldest]
            await driver.execute(statements.create_staging)
        self._known[name] = None
        self._known.move_to_end(name)


def encode(rows: pa.RecordBatch) -> bytes:
    """The rows in COPY's binary form; ValueError for values it cannot carry. Takes milliseconds: use a thread."""
    rows = with_infinity(rows)
    try:
        encoder = ArrowToPostgresBinaryEncoder(rows.schema)
        body: bytes = encoder.write_header() + encoder.write_batch(rows) + encoder.finish()
    except (RuntimeError, OverflowError, TypeError) as error:
        raise ValueError(f"the rows cannot be encoded: {error}") from error
    return body


async def copy(driver: asyncpg.Connection, statements: Statements, rows: pa.RecordBatch, body: bytes) -> None:
    """Copies encoded rows; the connection must be proven to be inside a transaction."""
    await driver.copy_to_table(
        statements.staging_name,
        schema_name="pg_temp",
        columns=rows.schema.names,
        source=io.BytesIO(body),
        format="binary",
    )
