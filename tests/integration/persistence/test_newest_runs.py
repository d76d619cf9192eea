"""The newest run of every pipeline is read by index, however long the histories are."""

import json
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.infrastructure.postgres.newest_runs import newest_runs
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.ids import PipelineName

PIPELINES = 100
NAMES = [PipelineName(f"p{number}") for number in range(PIPELINES)]
_FILL = """
    INSERT INTO qupersync.run (id, pipeline, mode, cause, started_at, ended_at, error)
    SELECT gen_random_uuid(), 'p' || n % 100, 'incremental', 'due', now() - n * interval '1 second', now(),
           CASE WHEN n < 100 THEN 'newest' END
    FROM generate_series(0, 49999) AS n
"""


def _rows_read(plan: dict[str, Any]) -> float:
    """How many rows of `run` the plan's scans looked at."""
    read = 0.0
    if plan.get("Relation Name") == "run":
        read = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return read + sum(map(_rows_read, plan.get("Plans", [])))


async def test_the_newest_run_of_every_pipeline_costs_one_row_each(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(_FILL))
        await connection.execute(text("ANALYZE qupersync.run"))
    names = [*NAMES, PipelineName("never_ran")]
    async with engine.connect() as connection:
        found = await newest_runs(connection, names)
        explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement('newest_runs').text}")
        shown = (await connection.execute(explained, {"pipelines": names})).scalar_one()
    assert {name: run.error for name, run in found.items()} == dict.fromkeys(NAMES, "newest")
    (plan,) = json.loads(shown) if isinstance(shown, str) else shown
    assert _rows_read(plan["Plan"]) <= 2 * PIPELINES, plan
