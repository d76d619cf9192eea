"""The ledger answers by index, however many pages it holds: plans over many pages of many pipelines."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.infrastructure.postgres.ledger import PostgresLedger, pages_statement
from qupersync_extractor.infrastructure.postgres.schema import migrate_outbox
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_local.stack import OUTBOX_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.database import connect, create_engine
from qupersync_shared.runtime.records import Query

PAGE = 50
PIPELINES = [PipelineName(f"p{number}") for number in range(100)]
RUN = "00000000-0000-7000-8000-000000000007"
# 600 pages of each of 100 pipelines in two logs, marked two by two; the last ones wait for one hop or the other. One
# loader group came after the first log was over.
_FILL = (
    """
    INSERT INTO qupersync.extraction (pipeline, lanes, log, sequence, lane_ids)
    SELECT 'p' || n, 4, 2, 400, '{}' FROM generate_series(0, 99) AS n
    """,
    """
    INSERT INTO qupersync.ledger_page (pipeline, log, sequence, run_id, mode, rows, bytes, extracted_at)
    SELECT 'p' || n % 100, 1 + (n / 100 >= 200)::int, 1 + n / 100 - 200 * (n / 100 >= 200)::int,
           CASE WHEN n / 100 BETWEEN 300 AND 399 AND n % 100 = 7 THEN '00000000-0000-7000-8000-000000000007'::uuid
                WHEN n % 3 = 0 THEN gen_random_uuid() END,
           CASE WHEN n % 3 > 0 THEN 'heartbeat' WHEN n % 7000 = 0 THEN 'reread' ELSE 'incremental' END,
           3, 100, clock_timestamp() - (60000 - n) * interval '1 second'
    FROM generate_series(0, 59999) AS n
    """,
    """
    INSERT INTO qupersync.relay_cursor (pipeline, lane, log, last_sequence, last_stream_sequence, generation)
    SELECT 'p' || n, lane, 2, 398, 398, 0 FROM generate_series(0, 99) AS n, generate_series(0, 3) AS lane
    """,
    """
    INSERT INTO qupersync.ledger_reach (pipeline, loader_group, log, sequence, reached_at)
    SELECT 'p' || n, name, 2, 396, clock_timestamp()
    FROM generate_series(0, 99) AS n, unnest('{main,reports,late}'::text[]) AS name
    """,
    """
    INSERT INTO qupersync.ledger_mark (pipeline, log, hop, loader_group, sequence, reached_at)
    SELECT p.pipeline, p.log, hop.name, hop.loader_group, p.sequence, p.extracted_at + interval '1 second'
    FROM qupersync.ledger_page AS p, (VALUES ('published', ''), ('applied', 'main'), ('applied', 'reports'))
         AS hop (name, loader_group)
    WHERE p.sequence % 2 = 0
      AND p.sequence <= CASE WHEN p.log = 1 THEN 198 WHEN hop.name = 'published' THEN 398 ELSE 396 END
    """,
    """
    INSERT INTO qupersync.ledger_mark (pipeline, log, hop, loader_group, sequence)
    SELECT 'p' || n, 2, 'applied', 'late', 396 FROM generate_series(0, 99) AS n
    """,
    "ANALYZE",
)


async def _fill(dsn: str) -> None:
    await migrate_outbox(dsn)
    connection = await connect(dsn, application_name="qupersync-test")
    try:
        for fill in _FILL:
            await connection.execute(fill, timeout=120)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def ledger_dsn(local_stack: ThreadedStack) -> Iterator[str]:
    """A great ledger; nothing in these tests changes it."""
    local_stack.create_database("ledger_plans", owner=OUTBOX_ROLE)
    dsn = local_stack.stack.dsn(OUTBOX_ROLE, "ledger_plans")
    local_stack.call(_fill(dsn))
    yield dsn
    local_stack.drop_database("ledger_plans")


@pytest.fixture
async def ledger(ledger_dsn: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(ledger_dsn, application_name="qupersync-test", connections=2)
    yield engine
    await engine.dispose()


def _looked_at(plan: dict[str, Any]) -> int:
    """How many pages of the ledger the plan's scans looked at."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "ledger_page" in _relation(plan) else 0
    return int(own * plan["Actual Loops"]) + sum(_looked_at(part) for part in plan.get("Plans", []))


def _relation(plan: dict[str, Any]) -> str:
    return str(plan.get("Relation Name", plan.get("Index Name", "")))


async def _buffers(engine: AsyncEngine, sql: str) -> tuple[int, dict[str, Any]]:
    """How many buffers a statement touches, and its plan."""
    async with engine.connect() as connection:
        await connection.execute(statement("by_index"))
        found = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
        (told,) = found.scalar_one()
    plan = told["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], plan


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"pipeline": "p7"},
        {"pipeline": "p7", "log": 2},
        {"state": "applied"},
        {"state": "published"},
        {"state": "extracted"},
        {"state": "superseded"},
        {"pipeline": "p7", "state": "applied"},
        {"pipeline": "p7", "state": "published"},
        {"mode": "heartbeat"},
        {"mode": "reread"},
        {"run": RUN},
        {"since": "2020-01-01T00:00:00+00:00"},
        {"before": "2100-01-01T00:00:00+00:00"},
    ],
    ids=str,
)
async def test_a_page_of_the_ledger_touches_few_buffers(ledger: AsyncEngine, filters: dict[str, Any]) -> None:
    pages = PostgresLedger(ledger)
    first = Query(filters=filters, limit=PAGE)
    found = await pages.pages(first)
    queries = [first]
    for _ in range(2):
        if found.next_cursor is not None:
            queries.append(Query(filters=filters, limit=PAGE, cursor=found.next_cursor))
            found = await pages.pages(queries[-1])
    for query in (queries[0], queries[-1]):
        compiled = pages_statement(query).compile(
            dialect=postgresql.dialect(),
            compile_kwargs={"literal_binds": True},  # type: ignore[no-untyped-call]
        )
        touched, plan = await _buffers(ledger, str(compiled))
        assert touched < 8_000, plan
        assert _looked_at(plan) < 2_000, plan  # of 60,000


async def test_where_all_pipelines_are_is_a_few_index_entries_each(ledger: AsyncEngine) -> None:
    found = await PostgresLedger(ledger).whereabouts(PIPELINES)
    one = found[PipelineName("p7")]
    assert (one.extracted.sequence, one.published.sequence, one.waiting.sequence, one.pages_waiting) == (
        400,
        398,
        397,
        4,
    )  # type: ignore[union-attr]
    assert one.published.at is not None
    assert one.waiting.since is not None
    compiled = str(statement("ledger_standing")).replace(":pipelines", f"'{{{','.join(PIPELINES)}}}'")
    touched, plan = await _buffers(ledger, compiled)
    assert touched < 40 * len(PIPELINES), plan
    assert _looked_at(plan) <= 2 * len(PIPELINES), plan


async def test_marking_touches_a_few_index_entries_a_pipeline(ledger: AsyncEngine) -> None:
    compiled = str(statement("ledger_mark_published")).replace(":apart_seconds", "0")
    touched, plan = await _buffers(ledger, compiled)
    assert touched < 40 * len(PIPELINES), plan
