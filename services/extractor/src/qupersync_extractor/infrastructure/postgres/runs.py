"""The history of runs on PostgreSQL; each call is a transaction of its own."""

from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.runs import INTERRUPTED, KEPT_MAX, LISTING, RunCounts, RunRecord, RunStatus
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row, plain
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import PipelineName, RunId
from qupersync_shared.runtime.database import translated
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.records.postgres import page_statement

_table: Final = tables.run
_control: Final = tables.pipeline_control
_COLUMNS: Final = {
    **{column.name: column for column in _table.c},
    "status": sa.case(
        (_table.c.ended_at.is_(None), RunStatus.RUNNING.value),
        (_table.c.error.is_(None), RunStatus.SUCCEEDED.value),
        else_=RunStatus.FAILED.value,
    ),
}
_now: Final = sa.func.clock_timestamp()


class PostgresRuns:
    """The table `run`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def start(
        self, run: RunId, pipeline: PipelineName, *, mode: str, cause: str, trace_id: str | None = None
    ) -> None:
        left = sa.update(_table).where(_table.c.pipeline == pipeline, _table.c.ended_at.is_(None))
        values = {"id": run, "pipeline": pipeline, "mode": mode, "cause": plain(cause), "trace_id": trace_id}
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(left.values(ended_at=_now, error=INTERRUPTED))
                await connection.execute(sa.insert(_table).values(values))

    async def end(self, run: RunId, *, counts: RunCounts, error: str | None = None) -> None:
        values = {
            "pages": counts.pages,
            "rows": counts.rows,
            "bytes": counts.bytes,
            "ended_at": _now,
            "error": None if error is None else plain(error),
        }
        await self._count(sa.update(_table).where(_table.c.id == run, _table.c.ended_at.is_(None)).values(values))

    async def page(self, query: Query) -> Page[RunRecord]:
        wanted = runs_statement(query)
        with translated():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(wanted)).all()
        return LISTING.page(query, [_run_of(row) for row in rows], getattr)

    async def forget(self, *, older_than: timedelta, newest: int = KEPT_MAX) -> int:
        old = (_table.c.ended_at.is_not(None), _table.c.started_at < _now - older_than)
        count = await self._count(sa.delete(_table).where(*old))
        return count + await self._count(statement("surplus_runs").bindparams(newest=newest))

    async def _count(self, query: sa.Executable) -> int:
        with translated():
            async with self._engine.begin() as connection:
                result: sa.CursorResult[Any] = await connection.execute(query)
                return result.rowcount


def runs_statement(query: Query) -> sa.Select[Any]:
    """What reads a page, and one row more; of removed pipelines only where their pipeline is named."""
    wanted = page_statement(sa.select(_table), _COLUMNS, LISTING, query)
    if query.filters.get("pipeline") is not None:
        return wanted
    removed = sa.exists().where(_control.c.pipeline == _table.c.pipeline, _control.c.deleted_at.is_not(None))
    return wanted.where(~removed)


def _run_of(row: Row) -> RunRecord:
    return RunRecord(
        id=RunId(row.id),
        pipeline=PipelineName(row.pipeline),
        mode=row.mode,
        cause=row.cause,
        started_at=row.started_at,
        counts=RunCounts(pages=row.pages, rows=row.rows, bytes=row.bytes),
        ended_at=row.ended_at,
        error=row.error,
        trace_id=row.trace_id,
    )
