"""The history of runs on PostgreSQL; each call is a transaction of its own."""

from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.runs import (
    INTERRUPTED,
    KEPT_MAX,
    LISTING,
    STREAK_RECORDS_MAX,
    RunCounts,
    RunRecord,
    RunSpan,
    RunStatus,
    prolonged,
)
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row, plain
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import Log, PipelineName, RunId, Sequence
from qupersync_shared.runtime.database import translated
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.records.postgres import page_statement

BATCH_ROWS: Final = 5_000

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
        self,
        run: RunId,
        pipeline: PipelineName,
        *,
        mode: str,
        cause: str,
        trace_id: str | None = None,
        seconds: float = 0.0,
        span: RunSpan | None = None,
    ) -> None:
        left = sa.update(_table).where(_table.c.pipeline == pipeline, _table.c.ended_at.is_(None))
        values = _begun(run, pipeline, mode, cause, seconds) | _span_values(span) | {"trace_id": trace_id}
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(left.values(ended_at=_now, error=INTERRUPTED))
                await connection.execute(sa.insert(_table).values(values))

    async def advance(self, run: RunId, *, counts: RunCounts, mode: str, span: RunSpan | None = None) -> None:
        await self._advance(run, {"mode": mode} | _counted(counts) | _span_values(span))

    async def end(
        self,
        run: RunId,
        *,
        counts: RunCounts,
        error: str | None = None,
        mode: str | None = None,
        span: RunSpan | None = None,
    ) -> None:
        ended = {"ended_at": _now, "error": None if error is None else plain(error)}
        known = {} if mode is None else {"mode": mode}
        await self._advance(run, ended | known | _counted(counts) | _span_values(span))

    async def fail(
        self, run: RunId, pipeline: PipelineName, *, mode: str, cause: str, error: str, seconds: float = 0.0
    ) -> None:
        told = plain(error)
        latest = (_table.c.started_at.desc(), _table.c.id.desc())
        newest = sa.select(_table).where(_table.c.pipeline == pipeline).order_by(*latest).limit(STREAK_RECORDS_MAX)
        with translated():
            async with self._engine.begin() as connection:
                found = prolonged([run_of(row) for row in await connection.execute(newest)], told)
                if found is None:
                    values = _begun(run, pipeline, mode, cause, seconds) | {"ended_at": _now, "error": told}
                    await connection.execute(sa.insert(_table).values(values))
                else:
                    again = {"ended_at": _now, "error": told, "attempts": _table.c.attempts + 1}
                    await connection.execute(sa.update(_table).where(_table.c.id == found).values(again))

    async def page(self, query: Query) -> Page[RunRecord]:
        wanted = runs_statement(query)
        with translated():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(wanted)).all()
        return LISTING.page(query, [run_of(row) for row in rows], getattr)

    async def forget(self, *, older_than: timedelta, newest: int = KEPT_MAX) -> int:
        border = _now - older_than
        ended = sa.select(_table.c.id).where(_table.c.started_at < border, _table.c.ended_at < border)
        some = ended.order_by(_table.c.started_at).limit(BATCH_ROWS).with_for_update(skip_locked=True)
        count, batch = 0, BATCH_ROWS
        while batch == BATCH_ROWS:  # some rows a transaction, so that none is long
            batch = await self._count(sa.delete(_table).where(_table.c.id.in_(some)))
            count += batch
        return count + await self._count(statement("surplus_runs").bindparams(newest=newest))

    async def _advance(self, run: RunId, values: dict[str, Any]) -> None:
        """Of a run that has not ended."""
        await self._count(sa.update(_table).where(_table.c.id == run, _table.c.ended_at.is_(None)).values(values))

    async def _count(self, query: sa.Executable) -> int:
        with translated():
            async with self._engine.begin() as connection:
                result: sa.CursorResult[Any] = await connection.execute(query)
                return result.rowcount


def runs_statement(query: Query) -> sa.Select[Any]:
    """What reads a page, and one row more; of removed pipelines only where pipeline or id is given."""
    wanted = page_statement(sa.select(_table), _COLUMNS, LISTING, query)
    # Said once more in the words of an index: of some kinds there are few among very many.
    match next((status for known, status in LISTING.conditions(query) if known.attribute == "status"), None):
        case RunStatus.FAILED:
            wanted = wanted.where(_table.c.error.is_not(None))
        case RunStatus.RUNNING:
            wanted = wanted.where(_table.c.ended_at.is_(None))
    if query.filters.get("pipeline") is not None or query.filters.get("id") is not None:
        return wanted
    removed = sa.exists().where(_control.c.pipeline == _table.c.pipeline, _control.c.deleted_at.is_not(None))
    return wanted.where(~removed)


def _begun(run: RunId, pipeline: PipelineName, mode: str, cause: str, seconds: float) -> dict[str, Any]:
    started_at = _now - timedelta(seconds=max(0.0, seconds))
    return {"id": run, "pipeline": pipeline, "mode": mode, "cause": plain(cause), "started_at": started_at}


def _counted(counts: RunCounts) -> dict[str, Any]:
    return {"pages": counts.pages, "rows": counts.rows, "bytes": counts.bytes}


def _span_values(span: RunSpan | None) -> dict[str, int]:
    return {} if span is None else {"log": span.log, "first_sequence": span.first, "last_sequence": span.last}


def run_of(row: Row) -> RunRecord:
    span = None
    if row.log is not None:
        span = RunSpan(log=Log(row.log), first=Sequence(row.first_sequence), last=Sequence(row.last_sequence))
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
        span=span,
        attempts=row.attempts,
    )
