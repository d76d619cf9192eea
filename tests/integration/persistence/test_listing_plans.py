"""Listings read one page by index, however long the history is; constraints are named by one convention."""

import json
import re
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.infrastructure.postgres.quarantine import unresolved_statement
from qupersync_extractor.infrastructure.postgres.runs import PostgresRuns, runs_statement
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.records import Query

PAGE = 50
_FILL = """
    INSERT INTO qupersync.run (id, pipeline, mode, cause, started_at, ended_at, error)
    SELECT gen_random_uuid(), 'p' || n % 100, 'incremental', 'schedule', now() - n * interval '1 second', now(),
           CASE WHEN n % 1000 = 0 THEN 'failed' END
    FROM generate_series(1, 100000) AS n
"""
_CONTROLS = """
    INSERT INTO qupersync.pipeline_control (pipeline, created_by, updated_by)
    SELECT 'p' || n, 'test', 'test' FROM generate_series(0, 99) AS n
"""
_WITHHELD = """
    INSERT INTO qupersync.source_quarantine (pipeline, key_digest, key, reason, event_id, last_seen_at)
    SELECT 'p' || n % 2, sha256(n::text::bytea), '{}', 'too large', gen_random_uuid(),
           now() + n * interval '1 second'
    FROM generate_series(1, 100000) AS n
"""
_CONSTRAINTS = """
    SELECT c.relname AS relation, o.conname AS name, o.contype::text AS kind
    FROM pg_constraint AS o JOIN pg_class AS c ON c.oid = o.conrelid
    WHERE o.connamespace = 'qupersync'::regnamespace AND o.contype IN ('p', 'u', 'c', 'f')
      AND NOT c.relispartition AND c.relname <> 'qupersync_extractor_version'
"""


def _touched(plan: dict[str, Any]) -> int:
    """How many rows of `run` the plan's scans looked at."""
    rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if plan.get("Relation Name") == "run" else 0
    return int(rows * plan.get("Actual Loops", 1)) + sum(_touched(part) for part in plan.get("Plans", []))


@pytest.mark.parametrize(
    "filters",
    [{}, {"pipeline": "p7"}, {"since": "2020-01-01T00:00:00+00:00"}, {"status": "failed"}, {"status": "running"}],
)
async def test_a_page_of_runs_touches_a_page_of_rows(engine: AsyncEngine, filters: dict[str, str]) -> None:
    async with engine.begin() as connection:
        for fill in (_FILL, _CONTROLS, "ANALYZE qupersync.run", "ANALYZE qupersync.pipeline_control"):
            await connection.execute(text(fill))
    runs = PostgresRuns(engine)
    first = Query(filters=filters, limit=PAGE)
    cursor = (await runs.page(first)).next_cursor
    for _ in range(3):
        cursor = (await runs.page(Query(filters=filters, limit=PAGE, cursor=cursor))).next_cursor
    for query in (first, Query(filters=filters, limit=PAGE, cursor=cursor)):
        compiled = runs_statement(query).compile(
            dialect=postgresql.dialect(),
            compile_kwargs={"literal_binds": True},  # type: ignore[no-untyped-call]
        )
        async with engine.connect() as connection:
            found = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}")
            (plan,) = found.scalar_one()
        assert _touched(plan["Plan"]) <= 2 * (PAGE + 1), plan


async def test_a_page_asks_for_withheld_rows_in_the_order_of_an_index(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for fill in (_WITHHELD, "ANALYZE qupersync.source_quarantine"):
            await connection.execute(text(fill))
    compiled = unresolved_statement(PipelineName("p1")).compile(
        dialect=postgresql.dialect(),
        compile_kwargs={"literal_binds": True},  # type: ignore[no-untyped-call]
    )
    async with engine.connect() as connection:
        found = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}")
        shown = json.dumps(found.scalar_one())
    assert "source_quarantine_unresolved_idx" in shown, shown
    assert '"Sort"' not in shown, shown


async def test_constraints_are_named_by_one_convention(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        found = (await connection.execute(text(_CONSTRAINTS))).all()
    endings = {"p": "pkey", "u": "key", "c": "check", "f": "fkey"}
    assert len(found) > 20
    for row in found:
        assert re.fullmatch(rf"{row.relation}_(?:\w+_)?{endings[row.kind]}", row.name), row
