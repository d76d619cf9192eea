"""The table `source_quarantine`: inside the page transaction, and as people and maintenance see it."""

import hashlib
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.application.quarantine import ID_DIGITS, QuarantinedRow, Resolution, WithheldRow
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import Row, plain
from qupersync_shared.contracts.parked import REASONS_MAX, VARYING, ReasonTold
from qupersync_shared.kernel.ids import EventId, PipelineName
from qupersync_shared.runtime.database import translated

UNRESOLVED_MAX: Final = 10_000
KEYS_MAX: Final = 200_000  # those of one pipeline, in memory while it is compared
_table: Final = tables.source_quarantine
_now: Final = sa.func.clock_timestamp()
_unresolved: Final = _table.c.resolved_at.is_(None)
_id: Final = sa.collate(
    _table.c.pipeline + "-" + sa.func.substr(sa.func.encode(_table.c.key_digest, "hex"), 1, ID_DIGITS), "C"
)


def _kind_of(reason: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """What `kind_of_reason` makes of it."""
    for pattern, mark in VARYING:
        reason = sa.func.regexp_replace(reason, pattern.format(edge=r"\y"), mark, "g")
    return reason


_kind: Final = _kind_of(_table.c.reason)


class SourceQuarantine:
    """The quarantine inside a unit of work, which gives `working`: its connection for one statement."""

    def __init__(self, working: Callable[[], AbstractContextManager[AsyncConnection]]) -> None:
        self._working = working

    async def add(self, rows: SequenceOf[WithheldRow]) -> None:
        if not rows:
            return
        statement = insert(_table)
        again = statement.on_conflict_do_update(
            index_elements=[_table.c.pipeline, _table.c.key_digest],
            set_={
                "reason": statement.excluded.reason,
                "event_id": statement.excluded.event_id,
                "times": _table.c.times + 1,
                "last_seen_at": _now,
                "resolved_at": None,
                "resolution": None,
            },
        )
        values = [
            {
                "pipeline": row.pipeline,
                "key_digest": _digest(row.key),
                "key": plain(row.key),
                "reason": plain(row.reason),
                "event_id": row.event_id,
            }
            for row in rows
        ]
        with self._working() as connection:
            await connection.execute(again, values)

    async def unresolved(self, pipeline: PipelineName) -> list[str]:
        with self._working() as connection:
            return list((await connection.execute(unresolved_statement(pipeline))).scalars())

    async def resolve(self, pipeline: PipelineName, settled: Mapping[str, Resolution]) -> None:
        for resolution in Resolution:
            digests = [_digest(key) for key, how in settled.items() if how is resolution]
            if not digests:
                continue
            listed = sa.literal(digests, ARRAY(BYTEA))
            chosen = (_table.c.pipeline == pipeline, _unresolved, _table.c.key_digest == sa.any_(listed))
            with self._working() as connection:
                await connection.execute(
                    sa.update(_table).where(*chosen).values(resolved_at=_now, resolution=resolution.value)
                )


def unresolved_statement(pipeline: PipelineName) -> sa.Select[Any]:
    """What reads the keys that wait, the ones withheld longest ago first: for every page, so by index."""
    waiting = sa.select(_table.c.key).where(_table.c.pipeline == pipeline, _unresolved)
    return waiting.order_by(_table.c.last_seen_at).limit(UNRESOLVED_MAX)


async def withheld_counts(connection: AsyncConnection, pipelines: SequenceOf[PipelineName]) -> dict[PipelineName, int]:
    """How many rows wait, of each of the pipelines that has any."""
    query = (
        sa.select(_table.c.pipeline, sa.func.count().label("rows"))
        .where(_table.c.pipeline.in_(pipelines), _unresolved)
        .group_by(_table.c.pipeline)
    )
    return {PipelineName(row.pipeline): int(row.rows) for row in await connection.execute(query)}


class PostgresWithheldRows:
    """The quarantine from outside the page transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def page(
        self,
        *,
        pipelines: SequenceOf[PipelineName],
        resolved: bool,
        after: str | None,
        limit: int,
        reason: str | None = None,
    ) -> tuple[list[QuarantinedRow], int]:
        chosen: list[sa.ColumnElement[bool]] = []
        if pipelines:
            chosen.append(_table.c.pipeline.in_(pipelines))
        if not resolved:
            chosen.append(_unresolved)
        if after is not None:
            chosen.append(_id > after)
        if reason is not None:
            chosen.append(_kind == reason)
        query = sa.select(_table, _id.label("row_id")).where(*chosen).order_by(_id).limit(limit)
        with translated():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(query)).all()
                total = (
                    await connection.execute(sa.select(sa.func.count()).select_from(_table).where(*chosen))
                ).scalar_one()
        return [_row_of(row) for row in rows], max(0, total - len(rows))

    async def reasons(self, pipeline: PipelineName) -> tuple[list[ReasonTold], int]:
        count = sa.func.count()
        query = (
            sa.select(
                _kind.label("reason"),
                sa.func.min(_table.c.reason).label("example"),
                count.label("count"),
                sa.func.min(_table.c.first_seen_at).label("first_seen"),
                sa.func.max(_table.c.last_seen_at).label("last_seen"),
                sa.func.sum(count).over().label("total"),
            )
            .where(_table.c.pipeline == pipeline, _unresolved)
            .group_by(sa.literal_column("1"))
            .order_by(count.desc(), sa.literal_column("1"))
            .limit(REASONS_MAX)
        )
        with translated():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(query)).mappings().all()
        return [ReasonTold.model_validate(dict(row)) for row in rows], int(rows[0]["total"]) if rows else 0

    async def counts(self, pipelines: SequenceOf[PipelineName]) -> dict[PipelineName, int]:
        with translated():
            async with self._engine.connect() as connection:
                return await withheld_counts(connection, pipelines)

    async def keys(self, pipeline: PipelineName) -> frozenset[str]:
        query = sa.select(_table.c.key).where(_table.c.pipeline == pipeline, _unresolved).limit(KEYS_MAX)
        with translated():
            async with self._engine.connect() as connection:
                return frozenset((await connection.execute(query)).scalars())

    async def find(self, ids: SequenceOf[str]) -> list[QuarantinedRow]:
        query = sa.select(_table, _id.label("row_id")).where(_id.in_(ids)).order_by(_id)
        with translated():
            async with self._engine.connect() as connection:
                return [_row_of(row) for row in await connection.execute(query)]

    async def discard(self, ids: SequenceOf[str]) -> list[str]:
        given_up = (
            sa.update(_table)
            .where(_id.in_(ids), _unresolved)
            .values(resolved_at=_now, resolution=Resolution.DISCARDED.value)
            .returning(_id)
        )
        with translated():
            async with self._engine.begin() as connection:
                return sorted((await connection.execute(given_up)).scalars())

    async def forget(self, *, older_than: timedelta) -> int:
        settled = sa.delete(_table).where(_table.c.resolved_at < _now - older_than)
        with translated():
            async with self._engine.begin() as connection:
                result: sa.CursorResult[Any] = await connection.execute(settled)
                return result.rowcount


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _row_of(row: Row) -> QuarantinedRow:
    return QuarantinedRow(
        id=row.row_id,
        pipeline=PipelineName(row.pipeline),
        key=row.key,
        reason=row.reason,
        event_id=EventId(row.event_id),
        times=row.times,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        resolved_at=row.resolved_at,
        resolution=Resolution(row.resolution) if row.resolution is not None else None,
    )
