"""What people did, on PostgreSQL; each call of `PostgresActions` is a transaction of its own."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.actions import LISTING, Action, ActionKind
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row, plain
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.runtime.database import translated
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.records.postgres import page_statement

_table: Final = tables.action
_COLUMNS: Final = {column.name: column for column in _table.c}
_now: Final = sa.func.clock_timestamp()


class PostgresActions:
    """The table `action`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(
        self,
        action: ActionKind,
        *,
        by: str,
        pipeline: PipelineName | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(
                    action_recorded(action, by=by, pipeline=pipeline, reason=reason, details=details)
                )

    async def page(self, query: Query) -> Page[Action]:
        wanted = actions_statement(query)
        with translated():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(wanted)).all()
        return LISTING.page(query, [_action_of(row) for row in rows], getattr)

    async def forget(self, *, older_than: timedelta) -> int:
        old = sa.delete(_table).where(_table.c["at"] < _now - older_than)
        with translated():
            async with self._engine.begin() as connection:
                return (await connection.execute(old)).rowcount


def action_recorded(
    action: ActionKind,
    *,
    by: str,
    pipeline: PipelineName | None = None,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> sa.Insert:
    """What keeps one deed, in whatever transaction it is part of."""
    return sa.insert(_table).values(
        id=uuid7(),
        pipeline=pipeline,
        action=action.value,
        by=plain(by),
        reason=None if reason is None else plain(reason),
        details=dict(details or {}),
    )


def actions_statement(query: Query) -> sa.Select[Any]:
    """What reads a page, and one row more."""
    return page_statement(sa.select(_table), _COLUMNS, LISTING, query)


def _action_of(row: Row) -> Action:
    return Action(
        id=row.id,
        action=ActionKind(row.action),
        by=row.by,
        at=row.at,
        pipeline=None if row.pipeline is None else PipelineName(row.pipeline),
        reason=row.reason,
        details=row.details,
    )
