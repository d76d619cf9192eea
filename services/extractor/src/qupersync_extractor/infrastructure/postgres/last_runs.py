"""The last run of each pipeline on PostgreSQL; each call is a transaction of its own."""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.application.appointments import LastRun
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.database import translated

_table: Final = tables.last_run


class PostgresLastRuns:
    """The table `last_run`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, pipelines: Sequence[PipelineName]) -> dict[PipelineName, LastRun]:
        with translated():
            async with self._engine.connect() as connection:
                return await last_runs(connection, pipelines)

    async def record(self, pipeline: PipelineName, run: LastRun) -> None:
        values = {"covers": run.covers, "ended_at": run.ended_at, "definition": run.definition}
        stored = insert(_table).values(pipeline=pipeline, **values)
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(stored.on_conflict_do_update(index_elements=[_table.c.pipeline], set_=values))


async def requested_runs(connection: AsyncConnection, pipelines: Sequence[PipelineName]) -> frozenset[PipelineName]:
    """Those of these pipelines that somebody asked a run of, and it has not been made; in the caller's transaction."""
    asked = tables.extraction.c
    rows = await connection.execute(sa.select(asked.pipeline).where(asked.pipeline.in_(pipelines), asked.run_requested))
    return frozenset(PipelineName(row.pipeline) for row in rows)


async def last_runs(connection: AsyncConnection, pipelines: Sequence[PipelineName]) -> dict[PipelineName, LastRun]:
    """The last run of each of these pipelines that had one, in the caller's transaction."""
    rows = await connection.execute(sa.select(_table).where(_table.c.pipeline.in_(pipelines)))
    return {
        PipelineName(row.pipeline): LastRun(covers=row.covers, ended_at=row.ended_at, definition=row.definition)
        for row in rows
    }
