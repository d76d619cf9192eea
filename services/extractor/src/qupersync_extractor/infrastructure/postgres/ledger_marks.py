"""What the observer writes into the ledger, on PostgreSQL; each call is a transaction of its own."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.observing import Member, Stand
from qupersync_extractor.domain.whereabouts import Reached
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.ledger import groups_of
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import Log, PipelineName, Sequence
from qupersync_shared.runtime.database import translated

_reach: Final = tables.ledger_reach


class PostgresLedgerMarks:
    """The tables `ledger_mark` and `ledger_reach`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def mark_published(self, *, apart_seconds: float = 0.0) -> list[Stand]:
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(statement("by_index"))
                await connection.execute(statement("ledger_mark_published"), {"apart_seconds": apart_seconds})
                rows = (await connection.execute(statement("ledger_stands"))).all()
        return [
            Stand(
                pipeline=PipelineName(row.pipeline),
                log=Log(row.log),
                sequence=Sequence(row.sequence),
                groups=groups_of(row),
            )
            for row in rows
        ]

    async def mark_applied(self, seen: Mapping[Member, Reached]) -> None:
        values: dict[str, list[Any]] = {
            "pipelines": [pipeline for pipeline, _ in seen],
            "groups": [group for _, group in seen],
            "logs": [one.log for one in seen.values()],
            "sequences": [one.sequence for one in seen.values()],
            "ats": [one.at for one in seen.values()],
        }
        await self._run(statement("ledger_mark_applied"), values)

    async def take_back(self, member: Member, *, known: Reached, found: Reached) -> bool:
        values = {
            "pipeline": member[0],
            "group": member[1],
            "known_log": known.log,
            "known_sequence": known.sequence,
            "log": found.log,
            "sequence": found.sequence,
        }
        with translated():
            async with self._engine.begin() as connection:
                return bool((await connection.execute(statement("ledger_take_back"), values)).scalar_one())

    async def forget_group(self, member: Member) -> None:
        pipeline, group = member
        await self._run(sa.delete(_reach).where(_reach.c.pipeline == pipeline, _reach.c.loader_group == group))

    async def _run(self, query: sa.Executable, values: Mapping[str, Any] | None = None) -> None:
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(query, values or {})
