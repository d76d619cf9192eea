"""Pipelines, leases, troubles and requests on PostgreSQL; each call is a transaction of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.application.leasing import LEASE_MAX
from qupersync_extractor.application.ports import Asked, Registration, RunRequest
from qupersync_extractor.domain.extraction import Extraction, open_log, wish_snapshot
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import (
    REGISTRATION,
    Row,
    extraction_of,
    extraction_values,
    plain,
    registration_of,
)
from qupersync_extractor.infrastructure.postgres.signals import REQUEST_CHANNEL, PostgresSignals
from qupersync_shared.kernel.errors import DatabaseUnavailableError, TerminalError
from qupersync_shared.kernel.ids import FencingToken, Log, PipelineName
from qupersync_shared.runtime.database import DATABASE_ERRORS, end_frozen_sessions, sqlstate, translate, translated

_table: Final = tables.extraction
_now: Final = sa.func.clock_timestamp()
_NOTIFY: Final = sa.text("SELECT pg_notify(:channel, :payload)")
_LOCK_NOT_AVAILABLE: Final = "55P03"


class PostgresRegistry:
    """The table `extraction`, seen from outside the page transaction."""

    def __init__(self, engine: AsyncEngine, signals: PostgresSignals) -> None:
        self._engine = engine
        self._signals = signals

    async def register(self, pipeline: PipelineName, lanes: int) -> Registration:
        values = extraction_values(Extraction(pipeline=pipeline, lanes=lanes))
        async with self._transaction() as connection:
            await connection.execute(insert(_table).values(values).on_conflict_do_nothing())
            row = await _row(connection, pipeline)
        if row is None:
            raise DatabaseUnavailableError(f"{pipeline} was removed while it was registered")
        return registration_of(row)

    async def get(self, pipeline: PipelineName) -> Registration | None:
        async with self._transaction() as connection:
            row = await _row(connection, pipeline)
        return registration_of(row) if row is not None else None

    async def acquire(self, pipeline: PipelineName, owner: str, seconds: float) -> FencingToken | None:
        free = sa.or_(
            _table.c.owner.is_(None),
            _table.c.owner == owner,
            _table.c.lease_until <= _now,
            _table.c.lease_until > _now + LEASE_MAX,
        )
        statement = (
            sa.update(_table)
            .where(_table.c.pipeline == pipeline, free)
            .values(owner=owner, token=_greater_token(), lease_until=_later(seconds))
            .returning(_table.c.token)
        )
        try:
            async with self._engine.begin() as connection:
                token = (await connection.execute(statement)).scalar_one_or_none()
        except DATABASE_ERRORS as error:
            if sqlstate(error) == _LOCK_NOT_AVAILABLE:
                await self._end_frozen()
            raise translate(error) from error
        return FencingToken(token) if token is not None else None

    async def _end_frozen(self) -> None:
        """A page transaction that outlasts a lock timeout belongs to a process that may never wake."""
        async with self._transaction() as connection:
            await end_frozen_sessions(connection)

    async def renew(self, pipeline: PipelineName, token: FencingToken, seconds: float) -> bool:
        return await self._update_held(pipeline, token, lease_until=_later(seconds))

    async def release(self, pipeline: PipelineName, token: FencingToken) -> None:
        await self._update_held(pipeline, token, owner=None, lease_until=None)

    async def set_trouble(self, pipeline: PipelineName, reason: str | None) -> None:
        since = None if reason is None else sa.func.coalesce(_table.c.trouble_since, _now)
        trouble = None if reason is None else plain(reason)
        await self._update(pipeline, trouble=trouble, trouble_since=since)

    async def request_run(self, pipeline: PipelineName, mode: str | None) -> None:
        # A snapshot that was asked for is not taken back by a later, weaker request.
        stronger = sa.case(
            (_table.c.run_mode == "snapshot", "snapshot"), else_=sa.func.coalesce(mode, _table.c.run_mode)
        )
        async with self._transaction() as connection:
            await connection.execute(
                sa.update(_table)
                .where(_table.c.pipeline == pipeline)
                .values(run_requested=True, run_mode=stronger, run_ticket=_table.c.run_ticket + 1)
            )
            await connection.execute(_NOTIFY, {"channel": REQUEST_CHANNEL, "payload": pipeline})

    async def run_request(self, pipeline: PipelineName) -> RunRequest | None:
        query = sa.select(_table.c.run_mode, _table.c.run_ticket).where(
            _table.c.pipeline == pipeline, _table.c.run_requested
        )
        async with self._transaction() as connection:
            row = (await connection.execute(query)).one_or_none()
        return RunRequest(mode=row.run_mode, ticket=row.run_ticket) if row is not None else None

    async def run_made(self, pipeline: PipelineName, request: RunRequest) -> None:
        same = (_table.c.pipeline == pipeline, _table.c.run_ticket == request.ticket)
        async with self._transaction() as connection:
            await connection.execute(sa.update(_table).where(*same).values(run_requested=False, run_mode=None))

    async def asked_for(self) -> dict[PipelineName, Asked]:
        waiting = tables.reread_request
        rereads = sa.exists().where(waiting.c.pipeline == _table.c.pipeline, waiting.c.done_at.is_(None))
        control = tables.pipeline_control
        paused = sa.func.coalesce(control.c.paused, sa.false())
        query = (
            sa.select(_table.c.pipeline, _table.c.run_requested, rereads.label("rereads"), paused.label("paused"))
            .join_from(_table, control, control.c.pipeline == _table.c.pipeline, isouter=True)
            .where(sa.or_(_table.c.run_requested, rereads, paused))
        )
        async with self._transaction() as connection:
            rows = (await connection.execute(query)).all()
        return {
            PipelineName(row.pipeline): Asked(run=row.run_requested, rereads=row.rereads, paused=row.paused)
            for row in rows
        }

    async def wait_for_request(self, seconds: float) -> None:
        await self._signals.named(REQUEST_CHANNEL, seconds)

    async def wish_snapshot(self, pipeline: PipelineName, *, reason: str, restart: bool) -> bool:
        async with self._transaction() as connection:
            row = await _row(connection, pipeline, lock=True)
            if row is None:
                return False
            state = extraction_of(row)
            await _store(connection, wish_snapshot(state, reason=reason, restart=restart), before=state)
        return True

    async def report_fork(self, pipeline: PipelineName, log: Log) -> None:
        await self._update(pipeline, forked_log=sa.func.greatest(_table.c.forked_log, log))

    async def forked_log(self, pipeline: PipelineName) -> Log | None:
        async with self._transaction() as connection:
            query = sa.select(_table.c.forked_log).where(_table.c.pipeline == pipeline)
            forked = (await connection.execute(query)).scalar_one_or_none()
        return Log(forked) if forked is not None else None

    async def reset(self, pipeline: PipelineName, *, lanes: int, reason: str) -> Log:
        async with self._transaction() as connection:
            row = await _row(connection, pipeline, lock=True)
            if row is None:
                raise TerminalError(f"{pipeline} is not registered", cure="Start the extractor with it once")
            state = extraction_of(row)
            log = Log(max(state.log, row.forked_log or 0) + 1)
            await _store(connection, open_log(state, log=log, lanes=lanes, reason=reason), before=state)
            void = {"owner": None, "token": _greater_token(), "lease_until": None}
            await connection.execute(sa.update(_table).where(_table.c.pipeline == pipeline).values(void))
        return log

    async def _update(self, pipeline: PipelineName, **values: Any) -> None:
        async with self._transaction() as connection:
            await connection.execute(sa.update(_table).where(_table.c.pipeline == pipeline).values(values))

    async def _update_held(self, pipeline: PipelineName, token: FencingToken, **values: Any) -> bool:
        """Whether the token was still the lease's."""
        held = (_table.c.pipeline == pipeline, _table.c.token == token, _table.c.owner.is_not(None))
        async with self._transaction() as connection:
            changed = await connection.execute(sa.update(_table).where(*held).values(values).returning(_table.c.token))
            return changed.one_or_none() is not None

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with self._engine.begin() as connection:
                yield connection


def _greater_token() -> sa.ColumnElement[int]:
    """A token that no process has: greater than the row's, and than any that a restored row has forgotten.

    Counting alone would hand out a token again after the database was restored under a living process.
    """
    milliseconds = sa.cast(sa.extract("epoch", _now) * 1000, sa.BigInteger)
    return sa.func.greatest(_table.c.token + 1, milliseconds)


def _later(seconds: float) -> sa.ColumnElement[Any]:
    return _now + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


async def _row(connection: AsyncConnection, pipeline: PipelineName, *, lock: bool = False) -> Row | None:
    query = sa.select(*REGISTRATION).where(_table.c.pipeline == pipeline)
    return (await connection.execute(query.with_for_update() if lock else query)).one_or_none()


async def _store(connection: AsyncConnection, state: Extraction, *, before: Extraction) -> None:
    if state == before:
        return
    values = extraction_values(state) | {"updated_at": _now}
    await connection.execute(sa.update(_table).where(_table.c.pipeline == state.pipeline).values(values))
