"""System views as a cluster would show them, row by row; and reads of whole entities."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pyarrow as pa

from qupersync_extractor.application.ports import CursorRange, KeyRange, ReadRequest, Source
from qupersync_extractor.domain.pipeline import SourceEntity
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import key_at, scalar_at
from qupersync_shared.kernel.positions import Position, Scalar, ScalarKind

# A day ago, so that nothing ages out of seven days while a test runs.
THEN = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1)
VIEWS = (
    *("sys_query_history", "sys_query_text", "sys_query_detail", "sys_vacuum_history", "sys_connection_log"),
    *("stl_vacuum", "stv_slices", "stv_node_storage_capacity", "stv_partitions"),
)
PIECE_BYTES = 200


def after(**parts: float) -> datetime:
    """A moment so much after THEN."""
    return THEN + timedelta(**parts)


class Seeds:
    """Writes rows into the tables that play system views."""

    def __init__(self, admin: asyncpg.Connection, views: Sequence[str] = VIEWS) -> None:
        self.admin = admin
        self._views = views

    async def clear(self) -> None:
        for view in self._views:
            await self.admin.execute(f"DELETE FROM pg_catalog.{view}")

    async def add(self, view: str, *rows: Mapping[str, Any]) -> None:
        for row in rows:
            names = ", ".join(f'"{name}"' for name in row)
            places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
            await self.admin.execute(f"INSERT INTO pg_catalog.{view} ({names}) VALUES ({places})", *row.values())

    async def query(self, query_id: int, **changes: Any) -> None:
        """A query that ended well; its fixed-width columns are padded as Redshift pads them."""
        row: dict[str, Any] = {
            "user_id": 101,
            "query_id": query_id,
            "session_id": 1000 + query_id,
            "username": "ana",
            "database_name": "dev",
            "query_type": "SELECT",
            "status": "success",
            "start_time": after(seconds=query_id),
            "end_time": after(seconds=query_id + 10),
            "execution_time": 2_500_000,
            "queue_time": 40,
            "compile_time": 30,
            "returned_rows": 7,
            "error_message": "",
            "query_text": f"SELECT {query_id}",
        }
        await self.add("sys_query_history", {**row, **changes})

    async def whole_text(self, query_id: int, text: str) -> None:
        """The text in pieces of at most 200 bytes that split no character, out of order."""
        rest, pieces = text, []
        while rest:
            piece = rest.encode()[:PIECE_BYTES].decode(errors="ignore")
            pieces.append(piece)
            rest = rest[len(piece) :]
        for sequence in reversed(range(len(pieces))):
            row = {"user_id": 101, "query_id": query_id, "sequence": sequence, "text": pieces[sequence]}
            await self.add("sys_query_text", row)

    async def vacuum(self, transaction_id: int, table_id: int, **changes: Any) -> None:
        row: dict[str, Any] = {
            "user_id": 101,
            "transaction_id": transaction_id,
            "table_id": table_id,
            "database_name": "dev",
            "schema_name": "public",
            "table_name": f"t{table_id}",
            "vacuum_type": "Full",
            "is_automatic": False,
            "status": "Complete",
            "start_time": after(minutes=transaction_id),
            "end_time": after(minutes=transaction_id, seconds=30),
            "record_time": after(minutes=transaction_id, seconds=31),
            "reclaimable_rows": 500,
            "reclaimed_blocks": 3,
        }
        await self.add("sys_vacuum_history", {**row, **changes})


async def schema_of(source: Source, name: str, key: Sequence[str]) -> RowSchema:
    return RowSchema(columns=await source.describe(SourceEntity(name)), key=tuple(key))


async def snapshot(source: Source, name: str, key: Sequence[str], *, page: int = 1000) -> list[dict[str, Any]]:
    """All rows, read in pages by key."""
    schema = await schema_of(source, name, key)
    rows: list[dict[str, Any]] = []
    after_key = None
    while True:
        batch = await source.read(
            ReadRequest(relation=SourceEntity(name), schema=schema, range=KeyRange(after=after_key), limit=page)
        )
        assert batch.schema.equals(schema.arrow(), check_metadata=True)
        rows += batch.to_pylist()
        if batch.num_rows < page:
            return rows
        after_key = key_at(batch, schema, batch.num_rows - 1)


async def incremental(
    source: Source, name: str, key: Sequence[str], cursor: str, *, page: int = 1000, upto: datetime | None = None
) -> list[dict[str, Any]]:
    """All rows, read in pages by cursor and key."""
    schema = await schema_of(source, name, key)
    column = schema.column(cursor)
    high = Scalar(ScalarKind.TIMESTAMP, (upto or after(days=2)).isoformat(sep=" ", timespec="microseconds"))
    rows: list[dict[str, Any]] = []
    position = None
    while True:
        wanted = CursorRange(cursor=cursor, after=position, upto=high)
        batch: pa.RecordBatch = await source.read(
            ReadRequest(relation=SourceEntity(name), schema=schema, range=wanted, limit=page)
        )
        rows += batch.to_pylist()
        if batch.num_rows < page:
            return rows
        last = batch.num_rows - 1
        value = scalar_at(batch.column(cursor), column.type, last)
        assert value is not None
        position = Position(cursor=value, key=key_at(batch, schema, last))
