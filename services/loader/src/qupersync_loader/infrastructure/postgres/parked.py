"""Parked content of one loader group as an operator sees it: listed, shown, and given up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.database import translated


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row of the quarantine."""

    id: int
    pipeline: str
    key: str
    content: str
    reason: str
    times: int
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None
    resolution: str | None
    slot: int
    event_id: UUID
    log: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter without its payload of so many bytes."""

    id: int
    event_id: UUID
    pipeline: str
    lane: int
    lanes: int
    log: int
    sequence: int
    headers: Mapping[str, str]
    bytes: int
    reason: str
    parked_at: datetime
    resolved_at: datetime | None
    resolution: str | None


class ParkedContent:
    """Quarantine and dead letters of one loader group. DatabaseUnavailableError where the target cannot answer."""

    def __init__(self, engine: AsyncEngine, group: GroupName) -> None:
        self._engine = engine
        self._group = group

    async def rows(
        self, *, pipelines: Sequence[str], resolved: bool, after: int, limit: int
    ) -> tuple[list[RefusedRow], int]:
        """Rows behind the row `after`, and how many follow them."""
        found, more = await self._page("quarantined_rows", "count_quarantined", pipelines, resolved, after, limit)
        return [RefusedRow(**row) for row in found], more

    async def named_rows(self, ids: Sequence[int]) -> list[RefusedRow]:
        return [RefusedRow(**row) for row in await self._fetch("named_rows", ids=list(ids))]

    async def discard_rows(self, ids: Sequence[int], *, by: str) -> list[int]:
        return [row["id"] for row in await self._fetch("discard_rows", ids=list(ids), by=by)]

    async def letters(
        self, *, pipelines: Sequence[str], resolved: bool, after: int, limit: int
    ) -> tuple[list[Letter], int]:
        """Dead letters behind the letter `after`, and how many follow them."""
        found, more = await self._page("letters", "count_letters", pipelines, resolved, after, limit)
        return [_letter(row) for row in found], more

    async def named_letters(self, ids: Sequence[int]) -> list[Letter]:
        return [_letter(row) for row in await self._fetch("named_letters", ids=list(ids))]

    async def payload(self, id_: int) -> bytes:
        """The payload of a letter that is there."""
        (row,) = await self._fetch("letter_payload", id=id_)
        return bytes(row["payload"])

    async def discard_letters(self, ids: Sequence[int], *, by: str) -> list[int]:
        return [row["id"] for row in await self._fetch("discard_letters", ids=list(ids), by=by)]

    async def _page(
        self, rows: str, count: str, pipelines: Sequence[str], resolved: bool, after: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        asked = {"pipelines": list(pipelines), "resolved": resolved}
        found = await self._fetch(rows, **asked, after=after, rows_max=limit) if limit else []
        if limit and len(found) < limit:
            return found, 0
        (counted,) = await self._fetch(count, **asked, after=found[-1]["id"] if found else after)
        return found, int(counted["count"])

    async def _fetch(self, name: str, **values: Any) -> list[dict[str, Any]]:
        with translated():
            async with self._engine.begin() as connection:
                found = await connection.execute(text(statement(name)), {"group_name": self._group, **values})
                return [dict(row) for row in found.mappings()]


def _letter(row: Mapping[str, Any]) -> Letter:
    return Letter(**{**row, "headers": json.loads(row["headers"])})
