"""The port `ParkedContent` on PostgreSQL: parked content of one loader group, page by page and by kinds of reasons."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_loader.application.parked_content import StoredLetter
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.parked import REASONS_MAX, VARYING, ParkedEntry, ParkedKind, ReasonTold
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.database import translated

# Planned anew for what is asked: one plan for all would read a pipeline's whole quarantine to find one row of it.
_READING: Final = text(
    "SELECT set_config('transaction_read_only', 'on', true), set_config('plan_cache_mode', 'force_custom_plan', true)"
)
_PATTERNS: Final = ("quoted", "digest", "number")
_KINDS: Final[Mapping[str, str]] = {
    name: value
    for parameter, (pattern, mark) in zip(_PATTERNS, VARYING, strict=True)
    for name, value in ((parameter, pattern.format(edge=r"\y")), (f"{parameter}_mark", mark))
}
_TABLES: Final = {ParkedKind.QUARANTINE: "rows", ParkedKind.DEAD_LETTERS: "letters"}


class PostgresParked:
    """Quarantine and dead letters of one loader group."""

    def __init__(self, engine: AsyncEngine, group: GroupName) -> None:
        self._engine = engine
        self._group = group

    async def entries(
        self, pipeline: str, kind: ParkedKind, *, settled: bool, reason: str | None, before: int | None, limit: int
    ) -> list[ParkedEntry]:
        rows = await self._read(
            f"parked_{_TABLES[kind]}",
            pipeline=pipeline,
            settled=settled,
            kind=reason,
            before=before,
            rows_max=limit,
            **_KINDS,
        )
        return [_entry(row) for row in rows]

    async def reasons(self, pipeline: str, kind: ParkedKind) -> tuple[list[ReasonTold], int]:
        rows = await self._read(f"parked_{_TABLES[kind]}_reasons", pipeline=pipeline, rows_max=REASONS_MAX, **_KINDS)
        told = [
            ReasonTold(
                reason=row["kind"],
                example=row["example"],
                count=row["count"],
                first_seen=row["first_seen"],
                last_seen=row["last_seen"],
            )
            for row in rows
        ]
        return told, rows[0]["total"] if rows else 0

    async def entry(self, pipeline: str, kind: ParkedKind, id_: int) -> ParkedEntry | None:
        for row in await self._read(f"parked_{_TABLES[kind]}_one", pipeline=pipeline, id=id_):
            return _entry(row)
        return None

    async def chosen(
        self, pipeline: str, kind: ParkedKind, *, ids: Sequence[int], reason: str | None, after: int, limit: int
    ) -> dict[int, str]:
        rows = await self._read(
            f"parked_{_TABLES[kind]}_chosen",
            pipeline=pipeline,
            ids=list(ids),
            kind=reason,
            after=after,
            rows_max=limit,
            **_KINDS,
        )
        return {row["id"]: row.get("key", "") for row in rows}

    async def letter(self, id_: int) -> StoredLetter:
        (letter,) = await self._read("named_letters", ids=[id_])
        (stored,) = await self._read("letter_payload", id=id_)
        return StoredLetter(log=letter["log"], headers=json.loads(letter["headers"]), payload=bytes(stored["payload"]))

    async def discard(self, kind: ParkedKind, ids: Sequence[int], *, by: str) -> list[int]:
        with translated():
            async with self._engine.begin() as connection:
                values = {"group_name": self._group, "ids": list(ids), "by": by}
                found = await connection.execute(text(statement(f"discard_{_TABLES[kind]}")), values)
                return [row.id for row in found]

    async def _read(self, name: str, **values: Any) -> list[dict[str, Any]]:
        with translated():
            async with self._engine.connect() as connection:
                await connection.execute(_READING)
                found = await connection.execute(text(statement(name)), {"group_name": self._group, **values})
                return [dict(row) for row in found.mappings()]


def _entry(row: Mapping[str, Any]) -> ParkedEntry:
    return ParkedEntry.model_validate({**row, "id": str(row["id"])})
