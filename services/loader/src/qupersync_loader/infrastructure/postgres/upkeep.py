"""Parked content between events: asked for again, resolved with its lanes, and in the end forgotten."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from qupersync_loader.application.ports import DueReread
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName, SnapshotId

_ROWS_MAX: Final = 4_000
_Place = tuple[str, int, SnapshotId]


async def due_rereads(connection: AsyncConnection, pipelines: Sequence[TargetPipeline]) -> list[DueReread]:
    """Keys that nobody asked for since their lane's last snapshot ended, lane by lane."""
    found: dict[_Place, dict[int, str]] = {}
    group = _group(pipelines)
    rows = await connection.execute(
        text(statement("due_rereads")),
        {"group_name": group, "pipelines": [pipeline.name for pipeline in pipelines], "rows_max": _ROWS_MAX},
    )
    for row in rows.mappings():
        place = (row["pipeline"], row["lane"], SnapshotId(row["snapshot_id"]))
        found.setdefault(place, {})[row["id"]] = row["key"]
    return [
        DueReread(group=group, pipeline=PipelineName(name), lane=Lane(lane), snapshot=snapshot, rows=keys)
        for (name, lane, snapshot), keys in found.items()
    ]


async def saw_asked(connection: AsyncConnection, due: DueReread) -> None:
    await connection.execute(text(statement("saw_asked")), {"snapshot_id": due.snapshot, "ids": list(due.rows)})


async def tidy(connection: AsyncConnection, pipelines: Sequence[TargetPipeline], *, keep_days: int) -> None:
    """Some thousands of rows at a time: what is left over goes the next time."""
    group = _group(pipelines)
    said_again = [pipeline.name for pipeline in pipelines if pipeline.deletes is not DeletePolicy.KEEP]
    await connection.execute(text(statement("letters_of_left_lanes")), {"group_name": group, "pipelines": said_again})
    for name in ("forget_quarantined", "forget_letters"):
        await connection.execute(text(statement(name)), {"group_name": group, "days": keep_days})


def _group(pipelines: Sequence[TargetPipeline]) -> GroupName:
    """The one loader group that a process serves."""
    (group,) = {pipeline.group for pipeline in pipelines}
    return group
