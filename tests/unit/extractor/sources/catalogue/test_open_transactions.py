"""A long transaction holds back what it may yet write to, and system views are not of that kind."""

from datetime import UTC, datetime, timedelta

from tests.unit.extractor.sources.catalogue.scripted import Scripted

from qupersync_extractor.application.ports import SourceClock
from qupersync_extractor.application.relation import horizon_of, row_schema
from qupersync_extractor.domain.pipeline import Pipeline, Relation, SourceEntity, SourceTable
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.ids import PipelineName

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPEN = NOW - timedelta(hours=6)
LAG = timedelta(seconds=30)


class Busy(Scripted):
    """A cluster with a transaction that was begun six hours ago."""

    async def clock(self) -> SourceClock:
        return SourceClock(now=NOW, oldest_open=OPEN)

    async def describe(self, relation: Relation) -> tuple[Column, ...]:
        return (Column("query_id", LogicalType(Kind.BIGINT)), Column("end_time", LogicalType(Kind.TIMESTAMP)))


async def high(relation: Relation) -> tuple[datetime, datetime | None]:
    pipeline = Pipeline(
        name=PipelineName("mine"),
        relation=relation,
        key=("query_id",),
        cursor="end_time",
        lookback=timedelta(hours=1),
        safety_lag=LAG,
        page_rows=10,
        lanes=1,
        snapshot_every=None,
    )
    source = CatalogueSource(Busy(), user="u", place="p")
    found = await horizon_of(source, pipeline, await row_schema(source, pipeline))
    assert found is not None
    return found.high_time, found.writer_open_since


async def test_it_holds_tables_back_and_not_system_views() -> None:
    assert await high(SourceTable("public", "queries")) == (OPEN - LAG, OPEN)
    assert await high(SourceEntity("query_history")) == (NOW - LAG, None)
