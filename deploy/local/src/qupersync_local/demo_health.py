"""`qupersync demo --source health`: the ready-made pipelines of a cluster's system views, which change meanwhile.

What ages out of the views while the demo runs must stay in the target: expectations know it, the source no longer does.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

import asyncpg

from qupersync_local.compare_sides import PostgresSide, Side
from qupersync_local.demo_data import Changes
from qupersync_local.demo_health_expected import expected_rows
from qupersync_local.demo_health_views import HealthViews
from qupersync_local.demo_health_world import World
from qupersync_local.stack import LocalStack

_EXPECTED: Final = "expected"  # a database of its own: svv_table_info shows all tables of the cluster's
_LIVE: Final = {"schedule": "continuous", "safety_lag": "1s", "lookback": "6s"}
_OFTEN: Final = {"schedule": {"every": "2s"}, "snapshot_every": "2s"}
_DETAILS_OF_A_QUERY: Final = 30
_QUERIES_MIN, _QUERIES_MAX = 100, 100_000
_PAUSE_SECONDS = 0.1
_LATE_SECONDS = (1.2, 2.5)  # longer than the safety lag, shorter than the lookback


@dataclass(slots=True, kw_only=True)
class HealthDemo:
    """The stand-in's system views. `size` is about the rows of the largest of them: the metrics of the queries."""

    stack: LocalStack
    size: int
    seed: int
    _world: World | None = field(default=None, init=False)

    @property
    def pipelines(self) -> dict[str, dict[str, Any]]:
        return {
            "table_stats": {"entity": "table_stats", **_OFTEN},
            "query_history": {"entity": "query_history", **_LIVE},
            "vacuum_history": {"entity": "vacuum_history", **_LIVE},
            "node_details": {"entity": "node_details", **_OFTEN},
        }

    @property
    def sections(self) -> dict[str, Any]:
        return {"include": ["redshift_health"]}

    @property
    def rows(self) -> int:
        return sum(map(len, expected_rows(self._made()).values()))

    async def fill(self) -> None:
        queries = min(max(_QUERIES_MIN, self.size // _DETAILS_OF_A_QUERY), _QUERIES_MAX)
        self._world = World(queries=queries, now=_now(), seed=self.seed)
        source = await asyncpg.connect(self.stack.source.admin_dsn)
        try:
            async with source.transaction():
                await HealthViews(source).fill(self._world)
            await source.execute("ANALYZE")
        finally:
            await source.close()
        await self.stack.source.postgres.create_database(_EXPECTED)
        expected = await asyncpg.connect(self._expected_dsn)
        try:
            await expected.execute((files(__package__) / "demo_sql" / "health_expected.sql").read_text("utf-8"))
        finally:
            await expected.close()
        await self._expect()

    async def change(self, going: Callable[[], bool]) -> Changes:
        """Steps of a tenth of a second; some of them commit when later ones could have been read already."""
        world, chance = self._made(), random.Random(self.seed)  # noqa: S311 - reproducible, not secret
        inserted = updated = deleted = 0
        source = await asyncpg.connect(self.stack.source.admin_dsn)
        try:
            views = HealthViews(source)
            while going():
                step = world.step(_now())
                async with source.transaction():
                    await views.write(step, world)
                    if chance.random() < 0.1:  # noqa: PLR2004 - one in ten
                        await asyncio.sleep(chance.uniform(*_LATE_SECONDS))
                inserted += len(step.begun) + len(step.vacuums_begun) + step.rows_added
                updated += len(step.finished) + len(step.vacuums_moved)
                deleted += len(step.aged) + len(step.vacuums_aged)
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await source.close()
        await self._expect()
        return Changes(inserted=inserted, updated=updated, deleted=deleted)

    def side(self, pipeline: str) -> Side:
        return PostgresSide(dsn=self._expected_dsn, table=f"public.{pipeline}")

    @property
    def _expected_dsn(self) -> str:
        return self.stack.source.postgres.dsn(_EXPECTED)

    def _made(self) -> World:
        assert self._world is not None, "fill it first"
        return self._world

    async def _expect(self) -> None:
        connection = await asyncpg.connect(self._expected_dsn)
        try:
            async with connection.transaction():
                for table, rows in expected_rows(self._made()).items():
                    await connection.execute(f"TRUNCATE {table}")
                    await connection.copy_records_to_table(table, records=rows)
        finally:
            await connection.close()


def _now() -> datetime:
    """The moment as the cluster writes it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)
