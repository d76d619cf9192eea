"""The ledger on PostgreSQL, as it is asked; each call is a transaction of its own."""

from collections.abc import Sequence as SequenceOf
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.application.ledger import LISTING, LedgerEntry, passed_times
from qupersync_extractor.domain.whereabouts import PageState, Reached, Standing, Whereabouts, never_run, whereabouts
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import GroupName, Log, PipelineName, RunId, Sequence
from qupersync_shared.runtime.database import translated
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.records.postgres import page_statement

BATCH_ROWS: Final = 5_000

_table: Final = tables.ledger_page
_mark: Final = tables.ledger_mark
_reach: Final = tables.ledger_reach
_extraction: Final = tables.extraction


class PostgresLedger:
    """The tables `ledger_page`, `ledger_mark` and `ledger_reach`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def pages(self, query: Query) -> Page[LedgerEntry]:
        wanted = pages_statement(query)
        with translated():
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="REPEATABLE READ")
                await connection.execute(statement("by_index"))
                found = (await connection.execute(wanted)).all()
                places = {
                    "pipelines": [row.pipeline for row in found],
                    "logs": [row.log for row in found],
                    "sequences": [row.sequence for row in found],
                }
                times = (await connection.execute(statement("ledger_times"), places)).all() if found else []
        return LISTING.page(query, [_entry(*pair) for pair in zip(found, times, strict=True)], getattr)

    async def whereabouts(self, pipelines: SequenceOf[PipelineName]) -> dict[PipelineName, Whereabouts]:
        with translated():
            async with self._engine.connect() as connection:
                await connection.execute(statement("by_index"))
                return await whereabouts_of(connection, pipelines)

    async def forget(self, *, older_than: timedelta) -> int:
        pages = await self._remove("old_ledger_pages", older_than)
        await self._remove("old_ledger_marks", older_than)
        return pages

    async def _remove(self, name: str, older_than: timedelta) -> int:
        """Some rows a transaction, so that none is long."""
        removed, batch = 0, BATCH_ROWS
        while batch == BATCH_ROWS:
            values = {"seconds": older_than.total_seconds(), "batch": BATCH_ROWS}
            with translated():
                async with self._engine.begin() as connection:
                    result: sa.CursorResult[Any] = await connection.execute(statement(name), values)
            batch = result.rowcount
            removed += batch
        return removed


async def whereabouts_of(
    connection: AsyncConnection, pipelines: SequenceOf[PipelineName]
) -> dict[PipelineName, Whereabouts]:
    """Where the pages of these pipelines are, as this connection's transaction sees them; one statement."""
    rows = await connection.execute(statement("ledger_standing"), {"pipelines": list(pipelines)})
    return {PipelineName(row.pipeline): _whereabouts(row) for row in rows}


def pages_statement(query: Query) -> sa.Select[Any]:
    """What reads a page, and one row more.

    Of pages that are not applied there are few, wherever they stand: they are looked up. Those that are applied are
    most of all pages: they are read from the newest on.
    """
    wanted = next((value for known, value in LISTING.conditions(query) if known.attribute == "state"), None)
    if wanted not in (None, PageState.APPLIED):
        waiting = statement("ledger_unapplied").columns(*_table.c, sa.column("state", sa.Text)).subquery("page")
        return page_statement(sa.select(*waiting.c), _columns(waiting), LISTING, query)
    pages = _table.alias("page")
    state = _state(pages)
    told = state if wanted is None else sa.literal(PageState.APPLIED.value)
    found = page_statement(sa.select(*pages.c, told.label("state")), _columns(pages, state=told), LISTING, query)
    # In these words the planner expects what is the case: that nearly every page is applied.
    others = [other.value for other in PageState if other is not PageState.APPLIED]
    return found if wanted is None else found.where(state.not_in(others))


def _columns(pages: sa.FromClause, **more: sa.ColumnElement[Any]) -> dict[str, sa.ColumnElement[Any]]:
    return {**dict(pages.c.items()), "run": pages.c.run_id, **more}


def _state(page: sa.FromClause) -> sa.ColumnElement[str]:
    """How far a page has come, by the marks of its log."""
    log = sa.select(_extraction.c.log).where(_extraction.c.pipeline == page.c.pipeline)
    over = page.c.log.is_distinct_from(log.correlate_except(_extraction).scalar_subquery())
    groups = sa.select(_reach.c.loader_group).where(_reach.c.pipeline == page.c.pipeline).correlate_except(_reach)
    passed = _passed(page, "applied", _reach.c.loader_group)
    # A group that came after the log was over lacks none of its pages.
    came_later = sa.and_(over, ~_passed(page, "applied", _reach.c.loader_group, beyond=sa.literal(0)))
    lacking = groups.where(~passed, ~came_later)
    return sa.case(
        (sa.and_(~lacking.exists(), groups.where(passed).exists()), PageState.APPLIED.value),
        (over, PageState.SUPERSEDED.value),
        (_passed(page, "published", sa.literal("")), PageState.PUBLISHED.value),
        else_=PageState.EXTRACTED.value,
    )


def _passed(
    page: sa.FromClause, hop: str, group: sa.ColumnElement[str], beyond: sa.ColumnElement[int] | None = None
) -> sa.Exists:
    """Whether there is a mark of the page's log that is not below the page, or `beyond`."""
    same = (_mark.c.pipeline == page.c.pipeline, _mark.c.log == page.c.log, _mark.c.hop == hop)
    place = page.c.sequence if beyond is None else beyond
    marked = sa.exists().where(*same, _mark.c.loader_group == group, _mark.c.sequence >= place)
    return marked.correlate_except(_mark)


def _entry(row: Row, times: Row) -> LedgerEntry:
    groups = dict(zip(map(GroupName, times.groups or ()), times.ats or (), strict=True))
    passed = passed_times(row.extracted_at, times.published_at, groups)
    state = PageState(row.state)
    return LedgerEntry(
        number=row.number,
        pipeline=PipelineName(row.pipeline),
        log=Log(row.log),
        sequence=Sequence(row.sequence),
        state=state,
        run=None if row.run_id is None else RunId(row.run_id),
        mode=row.mode,
        rows=row.rows,
        bytes=row.bytes,
        extracted_at=row.extracted_at,
        published_at=passed.published_at,
        applied=passed.applied,
        waits_for=passed.lacking if state.waits else (),
    )


def groups_of(row: Row) -> dict[GroupName, Reached]:
    """The loader groups of a row that holds their names, logs, sequences and moments."""
    reached = zip(row.groups or (), row.logs or (), row.sequences or (), row.ats or (), strict=True)
    return {
        GroupName(group): Reached(log=Log(log), sequence=Sequence(sequence), at=at)
        for group, log, sequence, at in reached
    }


def _whereabouts(row: Row) -> Whereabouts:
    name = PipelineName(row.pipeline)
    if row.log is None:
        return never_run(name, row.as_of)
    log = Log(row.log)
    return whereabouts(
        Standing(
            pipeline=name,
            as_of=row.as_of,
            extracted=Reached(log=log, sequence=Sequence(row.sequence), at=row.extracted_at),
            published=Reached(log=log, sequence=Sequence(row.published_sequence), at=row.published_at),
            groups=groups_of(row),
            next_at=row.next_at,
            trouble=row.trouble,
            paused=row.paused,
            snapshotting=row.snapshotting,
        )
    )
