"""The newest recorded run of each pipeline, for those who look at all of them at once."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from qupersync_extractor.application.runs import RunRecord
from qupersync_extractor.infrastructure.postgres.runs import run_of
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import PipelineName


async def newest_runs(connection: AsyncConnection, pipelines: Sequence[PipelineName]) -> dict[PipelineName, RunRecord]:
    """By pipeline, in the caller's transaction; one that never ran, or whose history was purged, is missing."""
    rows = await connection.execute(statement("newest_runs"), {"pipelines": list(pipelines)})
    return {run.pipeline: run for run in map(run_of, rows)}
