"""What the lanes of a loader group have applied, and what waits for a person, as the target has it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_loader.application.ports import Parked, PipelineState
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.runtime.database import translated


async def states(engine: AsyncEngine, group: GroupName) -> Mapping[PipelineName, PipelineState]:
    """Where all pipelines of the group stand; DatabaseUnavailableError where the target does not answer."""
    with translated():
        async with engine.connect() as connection:
            lanes = (await connection.execute(text(statement("states")), {"group_name": group})).mappings().all()
            parked = (await connection.execute(text(statement("parked")), {"group_name": group})).mappings().all()
    return _states_of(group, lanes, parked)


def _states_of(group: GroupName, lanes: Any, parked: Any) -> dict[PipelineName, PipelineState]:
    """The rows of `states.sql` and `parked.sql`, pipeline by pipeline."""
    waiting: dict[str, dict[int, Parked]] = {}
    for row in parked:
        of_lane = Parked(quarantined=int(row["quarantined"]), dead_letters=int(row["dead_letters"]))
        waiting.setdefault(row["pipeline"], {})[row["lane"]] = of_lane
    found: dict[PipelineName, PipelineState] = {}
    for row in lanes:
        name = PipelineName(row["pipeline"])
        known = found.get(name)
        watermarks = dict(known.watermarks) if known is not None else {}
        of_pipeline = waiting.get(name, {})
        if row["lane"] is not None:
            watermarks[Lane(row["lane"])] = _progress(group, row, of_pipeline.get(row["lane"], Parked()))
        found[name] = PipelineState(
            log=row["pipeline_log"],
            lanes=row["pipeline_lanes"],
            watermarks=watermarks,
            parked=Parked(
                quarantined=sum(each.quarantined for each in of_pipeline.values()),
                dead_letters=sum(each.dead_letters for each in of_pipeline.values()),
            ),
        )
    return found


def _progress(group: GroupName, row: Any, parked: Parked) -> LaneProgress:
    same = ("pipeline", "lane", "lanes", "log", "sequence", "event_id", "building", "snapshot_whole", "honest_time")
    return LaneProgress(
        group=group,
        quarantined=parked.quarantined,
        dead_letters=parked.dead_letters,
        **{name: row[name] for name in (*same, "applied_at", "altered")},
    )
