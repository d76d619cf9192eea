"""The table `reread_request`: inside the page transaction, and as askers and maintenance see it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.domain.rereads import Reread, RereadCounts, SpanOrder, WantedKeys, WantedSpan
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row, plain
from qupersync_extractor.infrastructure.postgres.signals import REQUEST_CHANNEL
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.database import translated

WAITING_AT_ONCE: Final = 20
WAITING_MAX: Final = 10_000
_table: Final = tables.reread_request
_now: Final = sa.func.clock_timestamp()
_waiting: Final = _table.c.done_at.is_(None)
# Of the one that ended last; NULL where it was read whole.
_last_refused: Final = sa.type_coerce(
    sa.func.array_agg(postgresql.aggregate_order_by(_table.c.refused, _table.c.done_at.desc(), _table.c.id)).filter(
        _table.c.done_at.is_not(None)
    ),
    postgresql.ARRAY(sa.Text),
)[1]
_NOTIFY: Final = sa.text("SELECT pg_notify(:channel, :payload)")
_KEYS: Final = "keys"


class RereadQueue:
    """The requests inside a unit of work, which gives `working`: its connection for one statement."""

    def __init__(self, working: Callable[[], AbstractContextManager[AsyncConnection]]) -> None:
        self._working = working

    async def waiting(self, pipeline: PipelineName) -> list[Reread]:
        query = (
            sa.select(_table)
            .where(_table.c.pipeline == pipeline, _waiting)
            .order_by(_table.c.requested_at, _table.c.id)
            .limit(WAITING_AT_ONCE)
        )
        with self._working() as connection:
            return [_reread_of(row) for row in await connection.execute(query)]

    async def save(self, rereads: Sequence[Reread]) -> None:
        for reread in rereads:
            values = {
                "keys_done": reread.keys_done,
                "reached": _plain(reread.reached),
                "refused": _plain(reread.refused),
                "keys_refused": reread.keys_refused,
                "done_at": _now if reread.done else None,
            }
            with self._working() as connection:
                await connection.execute(sa.update(_table).where(_table.c.id == reread.id).values(values))


async def reread_counts(
    connection: AsyncConnection, pipelines: Sequence[PipelineName]
) -> dict[PipelineName, RereadCounts]:
    """What waits and what was refused, of each of the pipelines that has any request."""
    query = (
        sa.select(
            _table.c.pipeline,
            sa.func.count().filter(_waiting).label("waiting"),
            sa.func.count().filter(_table.c.done_at.is_not(None), _table.c.refused.is_not(None)).label("refused"),
            sa.func.min(_table.c.requested_at).filter(_waiting).label("oldest"),
            _last_refused.label("unreadable"),
        )
        .where(_table.c.pipeline.in_(pipelines))
        .group_by(_table.c.pipeline)
    )
    return {
        PipelineName(row.pipeline): RereadCounts(
            waiting=row.waiting, refused=row.refused, oldest=row.oldest, unreadable=row.unreadable
        )
        for row in await connection.execute(query)
    }


class PostgresRereads:
    """The requests from outside the page transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def request(self, reread: Reread) -> bool:
        known = sa.select(tables.extraction.c.pipeline).where(tables.extraction.c.pipeline == reread.pipeline)
        waiting = sa.select(sa.func.count()).where(_table.c.pipeline == reread.pipeline, _waiting)
        with translated():
            async with self._engine.begin() as connection:
                if (await connection.execute(known)).first() is None:
                    return False
                if (await connection.execute(waiting)).scalar_one() >= WAITING_MAX:
                    raise TransientError(
                        f"{WAITING_MAX} rereads of {reread.pipeline} wait already",
                        cure="Ask again when the extractor has read some of them",
                    )
                await connection.execute(insert(_table).values(_values(reread)).on_conflict_do_nothing())
                await connection.execute(_NOTIFY, {"channel": REQUEST_CHANNEL, "payload": reread.pipeline})
        return True

    async def get(self, reread: UUID) -> Reread | None:
        with translated():
            async with self._engine.connect() as connection:
                row = (await connection.execute(sa.select(_table).where(_table.c.id == reread))).one_or_none()
        return _reread_of(row) if row is not None else None

    async def counts(self, pipeline: PipelineName) -> RereadCounts:
        with translated():
            async with self._engine.connect() as connection:
                return (await reread_counts(connection, [pipeline])).get(pipeline, RereadCounts())

    async def forget(self, *, older_than: timedelta) -> int:
        done = sa.delete(_table).where(_table.c.done_at < _now - older_than)
        with translated():
            async with self._engine.begin() as connection:
                result: sa.CursorResult[Any] = await connection.execute(done)
                return result.rowcount


def _values(reread: Reread) -> dict[str, Any]:
    wanted = reread.wanted
    span = wanted if isinstance(wanted, WantedSpan) else None
    return {
        "id": reread.id,
        "pipeline": reread.pipeline,
        "asker": plain(reread.group),
        "reason": plain(reread.reason),
        "wanted": span.by.value if span is not None else _KEYS,
        "keys": [plain(key) for key in wanted.keys] if isinstance(wanted, WantedKeys) else [],
        "span_after": _plain(span.after) if span is not None else None,
        "span_upto": _plain(span.upto) if span is not None else None,
        "redrives": list(reread.redrives),
    }


def _reread_of(row: Row) -> Reread:
    wanted: WantedKeys | WantedSpan
    if row.wanted == _KEYS:
        wanted = WantedKeys(keys=tuple(row.keys))
    else:
        wanted = WantedSpan(by=SpanOrder(row.wanted), after=row.span_after, upto=row.span_upto)
    return Reread(
        id=row.id,
        pipeline=PipelineName(row.pipeline),
        group=row.asker,
        reason=row.reason,
        wanted=wanted,
        redrives=tuple(row.redrives),
        keys_done=row.keys_done,
        reached=row.reached,
        refused=row.refused,
        keys_refused=row.keys_refused,
        done=row.done_at is not None,
    )


def _plain(text: str | None) -> str | None:
    return None if text is None else plain(text)
