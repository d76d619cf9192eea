"""Requests that act once, on PostgreSQL; each call is a transaction of its own."""

from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.idempotency import (
    GIVEN_UP,
    KEPT,
    Another,
    Answer,
    Answered,
    Claim,
    Claimed,
    UnderWay,
)
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_shared.runtime.database import translated

_table: Final = tables.idempotency
_now: Final = sa.func.clock_timestamp()


class PostgresRequests:
    """The table `idempotency`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def claim(self, key: str, *, by: str, digest: bytes) -> Claim:
        values = {"key": key, "by": by, "request_digest": digest}
        # One statement takes it, whether it is new, given up by a process that died, or a day old.
        free = sa.or_(
            _table.c.made_at < _now - KEPT,
            sa.and_(_table.c.status.is_(None), _table.c.made_at < _now - GIVEN_UP, _table.c.request_digest == digest),
        )
        taken = (
            insert(_table)
            .values(values)
            .on_conflict_do_update(
                index_elements=[_table.c.by, _table.c.key],
                set_={"request_digest": digest, "status": None, "answer": None, "made_at": _now},
                where=free,
            )
            .returning(_table.c.key)
        )
        with translated():
            async with self._engine.begin() as connection:
                if (await connection.execute(taken)).one_or_none() is not None:
                    return Claimed()
                known = (await connection.execute(sa.select(_table).where(*_is(key, by)))).one_or_none()
        if known is None:
            return UnderWay()  # it was released this very moment
        if known.request_digest != digest:
            return Another()
        if known.status is None:
            return UnderWay()
        return Answered(Answer(status=known.status, content=known.answer))

    async def answer(self, key: str, *, by: str, answer: Answer) -> None:
        values = {"status": answer.status, "answer": dict(answer.content)}
        await self._execute(sa.update(_table).where(*_is(key, by)).values(values))

    async def release(self, key: str, *, by: str) -> None:
        await self._execute(sa.delete(_table).where(*_is(key, by), _table.c.status.is_(None)))

    async def forget(self, *, older_than: timedelta = KEPT) -> int:
        return await self._execute(sa.delete(_table).where(_table.c.made_at < _now - older_than))

    async def _execute(self, query: sa.Update | sa.Delete) -> int:
        with translated():
            async with self._engine.begin() as connection:
                return (await connection.execute(query)).rowcount


def _is(key: str, by: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _table.c.key == key, _table.c.by == by
