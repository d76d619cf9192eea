"""Progress and leases of lanes on PostgreSQL; each call is a transaction of its own."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.domain.records import RelayCursor
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row, cursor_of
from qupersync_extractor.infrastructure.postgres.signals import OUTBOX_CHANNEL
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import Generation, Lane, Log, PipelineName, Sequence
from qupersync_shared.runtime.database import translated

_table: Final = tables.relay_cursor


class PostgresRelayCursors:
    """The table `relay_cursor`. Every write compares: with the owner, the log and the generation, or with the lease.

    Leases go through `control` if it is given: they must not wait behind every lane's records.
    """

    def __init__(self, engine: AsyncEngine, control: AsyncEngine | None = None) -> None:
        self._engine = engine
        self._control = control or engine

    async def claim(self, pipeline: PipelineName, owner: str, seconds: float) -> list[RelayCursor]:
        rows = await self._lease(statement("claim_lanes"), pipeline=pipeline, owner=owner, seconds=seconds)
        return sorted((cursor_of(row) for row in rows), key=lambda cursor: cursor.lane)

    async def renew(self, owner: str, seconds: float) -> None:
        await self._lease(statement("renew_lanes"), owner=owner, seconds=seconds)

    async def advance(self, cursor: RelayCursor, owner: str) -> bool:
        same = (
            _table.c.pipeline == cursor.pipeline,
            _table.c.lane == cursor.lane,
            _table.c.owner == owner,
            _table.c.log == cursor.log,
            _table.c.generation == cursor.generation,
        )
        stored = await self._run(
            sa.update(_table)
            .where(*same)
            .values(last_sequence=cursor.last_sequence, last_stream_sequence=cursor.last_stream_sequence)
            .returning(_table.c.lane)
        )
        return bool(stored)

    async def read(self, pipeline: PipelineName, lane: Lane) -> RelayCursor | None:
        rows = await self._run(sa.select(_table).where(_table.c.pipeline == pipeline, _table.c.lane == lane))
        return cursor_of(rows[0]) if rows else None

    async def rewind(
        self, pipeline: PipelineName, lane: Lane, log: Log, *, from_sequence: Sequence
    ) -> Generation | None:
        rows = await self._run(
            statement("rewind_lane"),
            pipeline=pipeline,
            lane=lane,
            log=log,
            from_sequence=from_sequence,
            channel=OUTBOX_CHANNEL,
        )
        return Generation(rows[0].generation) if rows else None

    async def release(self, owner: str, pipeline: PipelineName | None = None) -> None:
        await self._lease(statement("release_lanes"), owner=owner, pipeline=pipeline)

    async def _run(self, query: sa.Executable, **values: Any) -> list[Row]:
        return await _rows(self._engine, query, values)

    async def _lease(self, query: sa.Executable, **values: Any) -> list[Row]:
        return await _rows(self._control, query, values)


async def _rows(engine: AsyncEngine, query: sa.Executable, values: dict[str, Any]) -> list[Row]:
    with translated():
        async with engine.begin() as connection:
            result = await connection.execute(query, values)
            return list(result.all()) if result.returns_rows else []
