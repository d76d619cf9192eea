"""The port `SeenRebuilds`: the table `qupersync_rebuild`, and how far shadows and live tables are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_loader.application.rebuild.told import LaneMark, RebuildSeen
from qupersync_loader.application.shadows import Phase
from qupersync_loader.infrastructure.postgres.names import quote_table
from qupersync_loader.infrastructure.postgres.rebuild.naming import claim_key_of, shadow_group
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.rebuilds import REBUILDS_MAX
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.database import translated

_READ_ONLY: Final = text("SET TRANSACTION READ ONLY")

Marks = Mapping[tuple[str, str], Mapping[int, LaneMark]]


class ListedRebuilds:
    """The rebuilds of one loader group."""

    def __init__(self, engine: AsyncEngine, group: GroupName) -> None:
        self._engine = engine
        self._group = group

    async def seen(self, *, ended: int) -> Sequence[RebuildSeen]:
        with translated():
            async with self._engine.connect() as connection:
                await connection.execute(_READ_ONLY)
                values = {"group_name": self._group, "open_max": REBUILDS_MAX, "ended_max": ended}
                rows = await _fetch(connection, "rebuilds", values)
                under_way = [row["pipeline"] for row in rows if row["ended_at"] is None]
                marks = await self._marks(connection, under_way)
                running = await self._running(connection, under_way)
        return [self._of(row, marks, running) for row in rows]

    async def _marks(self, connection: AsyncConnection, pipelines: Sequence[str]) -> Marks:
        marks: dict[tuple[str, str], dict[int, LaneMark]] = defaultdict(dict)
        if pipelines:
            values = {"live": self._group, "shadow": shadow_group(self._group), "pipelines": list(pipelines)}
            for row in await _fetch(connection, "rebuild_lanes", values):
                marks[row["pipeline"], row["group_name"]][row["lane"]] = LaneMark(
                    log=row["log"], sequence=row["sequence"], snapshot_first=row["snapshot_first"]
                )
        return marks

    async def _running(self, connection: AsyncConnection, pipelines: Sequence[str]) -> frozenset[str]:
        """The pipelines whose rebuild some process has claimed: the claim ends with its connection."""
        claims = {claim_key_of(self._group, name): name for name in pipelines}
        if not claims:
            return frozenset()
        rows = await _fetch(connection, "rebuild_claims", {"claims": list(claims)})
        return frozenset(claims[row["claim"]] for row in rows)

    def _of(self, row: Mapping[str, Any], marks: Marks, running: frozenset[str]) -> RebuildSeen:
        name, under_way = row["pipeline"], row["ended_at"] is None
        return RebuildSeen(
            id=row["id"],
            pipeline=name,
            table=quote_table(row["shadow_schema"], row["shadow_table"]),
            phase=Phase(row["phase"]),
            rows=row["rows"] or max(0, row["estimated_rows"] or 0),
            detail=row["detail"],
            who=row["who"],
            began_at=row["started_at"],
            noted_at=row["noted_at"],
            now=row["now"],
            ended_at=row["ended_at"],
            running=under_way and name in running,
            live=marks.get((name, self._group), {}) if under_way else {},
            shadow=marks.get((name, shadow_group(self._group)), {}) if under_way else {},
        )


async def _fetch(connection: AsyncConnection, name: str, values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [dict(row) for row in (await connection.execute(text(statement(name)), values)).mappings()]
