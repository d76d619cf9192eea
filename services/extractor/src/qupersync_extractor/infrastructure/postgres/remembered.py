"""The table `remembered`; each call is a transaction of its own."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.application.remembering import JSON, KEYS_MAX, USED_EVERY_HOURS, Facts, checked
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.runtime.database import translated

_table: Final = tables.remembered
_now: Final = sa.func.clock_timestamp()
_stale: Final = _table.c.used_at < _now - timedelta(hours=USED_EVERY_HOURS)
_ROWS_AT_ONCE: Final = 1_000


class PostgresRemembered:
    """The table `remembered`."""

    def __init__(self, engine: AsyncEngine, *, keys_max: int = KEYS_MAX) -> None:
        self._engine = engine
        self._keys_max = keys_max

    async def recall(self, subject: str, keys: Collection[str]) -> dict[str, Facts]:
        if not keys:
            return {}
        # One array, however many keys: a statement takes no more than 32,767 parameters.
        asked = (_table.c.subject == subject, _table.c.key == sa.any_(sa.literal(sorted(set(keys)), ARRAY(sa.Text))))
        query = sa.select(_table.c.key, _table.c.facts, _stale.label("stale")).where(*asked).order_by(_table.c.key)
        with translated():
            async with self._engine.begin() as connection:
                rows = (await connection.execute(query)).all()
                if any(row.stale for row in rows):
                    await connection.execute(statement("recalled"), {"subject": subject, "keys": [r.key for r in rows]})
        return {row.key: row.facts for row in rows}

    async def remember(self, subject: str, facts: Mapping[str, Mapping[str, JSON]]) -> None:
        kept = checked(facts)
        if not kept:
            return
        rows = [{"subject": subject, "key": key, "facts": said} for key, said in kept.items()]
        with translated():
            async with self._engine.begin() as connection:
                added = 0
                for first in range(0, len(rows), _ROWS_AT_ONCE):
                    added += await _upsert(connection, rows[first : first + _ROWS_AT_ONCE])
                if added:
                    await self._trim(connection, subject)

    async def _trim(self, connection: AsyncConnection, subject: str) -> None:
        # One at a time, and the lock in a statement of its own: who counts must see what the one before took away.
        turn = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"qupersync.remembered {subject}", 0))
        await connection.execute(sa.select(turn))
        await connection.execute(statement("surplus_remembered"), {"subject": subject, "keys_max": self._keys_max})


async def _upsert(connection: AsyncConnection, rows: list[dict[str, Any]]) -> int:
    """How many of the rows are new. What is known already is not written again, but for its use once a day."""
    fresh = insert(_table).values(rows)
    written = fresh.on_conflict_do_update(
        index_elements=[_table.c.subject, _table.c.key],
        set_={"facts": fresh.excluded.facts, "used_at": _now},
        where=sa.or_(_table.c.facts.is_distinct_from(fresh.excluded.facts), _stale),
    )
    is_new: sa.ColumnElement[bool] = sa.literal_column("xmax = 0", sa.Boolean)
    return sum((await connection.execute(written.returning(is_new))).scalars())
