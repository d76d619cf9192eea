"""Rows that a target table had before us get their slots, so that snapshots can remove what the source lacks."""

from typing import Any, Final

import asyncpg
import pyarrow as pa

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import PLACE, SLOT, listed, quote, quote_table
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import canonical_keys, slots_of
from qupersync_shared.contracts.types import Kind
from qupersync_shared.kernel.errors import SchemaRefusedError

_CHUNK_ROWS: Final = 10_000
_SECONDS: Final = 1800.0  # one look at a great table outlasts the connection's own limit


async def compute_slots(driver: asyncpg.Connection, pipeline: TargetPipeline, schema: RowSchema) -> None:
    """Writes the slot of every row that has none, in chunks, inside the caller's transaction."""
    table = quote_table(pipeline.schema, pipeline.table)
    select = f"SELECT ctid::text AS {PLACE}, {listed(schema.key)} FROM {table} WHERE {quote(SLOT)} IS NULL"  # noqa: S608  # quoted
    update = (
        f"UPDATE {table} AS t SET {quote(SLOT)} = n.slot "  # noqa: S608  # quoted
        "FROM unnest($1::text[], $2::smallint[]) AS n (place, slot) WHERE t.ctid = n.place::tid"
    )
    # All tids are read before the first update: an updated row moves.
    rows = await driver.fetch(select, timeout=_SECONDS)
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[start : start + _CHUNK_ROWS]
        keys = _key_batch(chunk, schema, pipeline)
        slots = slots_of(canonical_keys(keys, schema))
        await driver.execute(update, [row[PLACE] for row in chunk], slots.tolist())


def _key_batch(rows: list[asyncpg.Record], schema: RowSchema, pipeline: TargetPipeline) -> pa.RecordBatch:
    arrays = []
    for column in schema.key_columns:
        values: list[Any] = [row[column.name] for row in rows]
        if column.type.kind is Kind.UUID:
            values = [None if value is None else value.bytes for value in values]
        try:
            arrays.append(pa.array(values, column.type.arrow))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise SchemaRefusedError(
                f"a key of {pipeline.target} is no {column.type.name}: column {column.name!r}",
                cure="Mend or remove such rows, or write `adopt: keep`",
            ) from error
    return pa.RecordBatch.from_arrays(arrays, names=list(schema.key))
