"""Provisioned, RA3 and Serverless: what a kind of cluster does not have is not applicable, and never an error."""

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from tests.integration.sources.catalogue.conftest import Make
from tests.integration.sources.catalogue.seeds import Seeds, after, incremental, schema_of, snapshot

from qupersync_extractor.application.entities import entity_columns
from qupersync_extractor.application.ports import KeyList, ReadRequest
from qupersync_extractor.domain.catalogue import ENTITY_CLASSES, NodeDetails, ServerlessUsage
from qupersync_extractor.domain.pipeline import SourceEntity
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_extractor.infrastructure.sources.catalogue.source import ViewState
from qupersync_local.standin import FaultBook, Profile, RedshiftStandin, StandinOptions
from qupersync_local.standin.faults import Fault, FaultKind
from qupersync_local.supervise import WorkDirectory
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.positions import Scalar, ScalarKind

NODES = "node_details"
USAGE = "serverless_usage"


async def nodes(seeds: Seeds, *, slices: dict[int, int], capacity: int, used: dict[int, int], mount: str) -> None:
    number = 0
    for node, count in slices.items():
        for local in range(count):
            await seeds.add("stv_slices", {"node": node, "slice": number, "localslice": local, "type": "D"})
            number += 1
        await seeds.add("stv_slices", {"node": node, "slice": 9000 + node, "localslice": 99, "type": "C"})
        await seeds.add("stv_node_storage_capacity", {"node": node, "used": used[node], "capacity": capacity})
        for disk in range(2):
            row = {"owner": node, "host": node, "diskno": disk, "mount": f"{mount}{disk}", "capacity": 1, "used": 1}
            await seeds.add("stv_partitions", row)


@pytest.mark.usefixtures("protocol")
async def test_nodes_of_ra3_show_the_quota_of_the_cluster_each(catalogue: CatalogueSource, seeds: Seeds) -> None:
    quota = 128_000_000
    await nodes(seeds, slices={0: 4, 1: 2}, capacity=quota, used={0: 640_000, 1: 1_024}, mount="/dev/nvme")
    rows = await snapshot(catalogue, NODES, ["node_id"])
    common = {"node_type": "ra3.4xlarge", "is_nvme": True, "capacity_mb": quota}
    assert rows == [
        {"node_id": 0, "slice_count": 4, "used_mb": 640_000, **common},
        {"node_id": 1, "slice_count": 2, "used_mb": 1_024, **common},
    ]
    assert await snapshot(catalogue, NODES, ["node_id"], page=1) == rows
    first = NodeDetails.from_row(rows[0])
    assert (first.capacity_gb, first.storage_utilization_pct) == (125_000.0, 0.5)


async def test_nodes_of_other_kinds(make_catalogue: Make, seeds: Seeds) -> None:
    await nodes(seeds, slices={0: 2, 1: 2}, capacity=160_000, used={0: 40_000, 1: 0}, mount="/dev/xvdb")
    await seeds.add("stv_slices", {"node": 2, "slice": 4, "localslice": 0, "type": "D"})  # and nothing else is known
    rows = await snapshot(make_catalogue(node_types=None), NODES, ["node_id"])
    assert [(row["node_id"], row["is_nvme"], row["capacity_mb"], row["used_mb"]) for row in rows] == [
        *((0, False, 160_000, 40_000), (1, False, 160_000, 0), (2, False, 0, 0)),
    ]
    assert {row["node_type"] for row in rows} == {None}
    assert [NodeDetails.from_row(row).storage_utilization_pct for row in rows] == [25.0, 0.0, 0.0]


async def nothing_of(source: CatalogueSource, name: str) -> None:
    """An entity that is not applicable is described and holds nothing, whatever is asked of it."""
    entity, kind = SourceEntity(name), ENTITY_CLASSES[name]
    assert await source.describe(entity) == entity_columns(kind)
    key = kind.KEY[0]
    assert await snapshot(source, name, kind.KEY) == []
    assert await source.count_nulls(entity, [key]) == {key: 0}
    assert await source.count_duplicate_keys(entity, kind.KEY) == 0
    schema = await schema_of(source, name, kind.KEY)
    assert await source.highest(entity, schema.column(key)) is None
    value = Scalar(ScalarKind.INT, "1") if name == NODES else Scalar(ScalarKind.TIMESTAMP, "2026-01-01 00:00:00.000000")
    wanted = KeyList(keys=((value,),))
    batch = await source.read(ReadRequest(relation=entity, schema=schema, range=wanted, limit=5))
    assert batch.schema.equals(schema.arrow(), check_metadata=True)
    assert batch.num_rows == 0
    (standing,) = await source.standings(entity)
    assert (standing.view, standing.state) == (name, ViewState.NOT_APPLICABLE)


async def test_a_provisioned_cluster_has_no_serverless_usage(
    catalogue: CatalogueSource, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await nothing_of(catalogue, USAGE)
        await snapshot(catalogue, USAGE, ["start_time"])
    assert [record.message for record in caplog.records].count("entity_not_applicable") == 1
    assert (await catalogue.standings(SourceEntity(USAGE)))[0].message.startswith("this cluster is provisioned")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("42P01", 'relation "stv_slices" does not exist'),
        ("42501", "permission denied for relation stv_slices"),
    ],
)
async def test_views_that_are_not_there_and_views_that_nobody_may_read(
    catalogue: CatalogueSource, faults: FaultBook, code: str, message: str
) -> None:
    faults.add(Fault(kind=FaultKind.ERROR, pattern="stv_", times=None, code=code, message=message))
    await nothing_of(catalogue, NODES)


@pytest.fixture(scope="module")
def serverless(local_stack: ThreadedStack) -> Iterator[RedshiftStandin]:
    work = WorkDirectory.create()

    async def start() -> RedshiftStandin:
        made = await RedshiftStandin.create(work=work, options=StandinOptions(profile=Profile.SERVERLESS), fast=True)
        await made.run()
        return made

    standin = local_stack.call(start())
    yield standin
    local_stack.call(standin.stop())
    work.close()


@pytest.fixture
async def usage(serverless: RedshiftStandin) -> AsyncIterator[Seeds]:
    admin = await asyncpg.connect(serverless.admin_dsn)
    made = Seeds(admin, views=["sys_serverless_usage", "sys_query_history", "sys_vacuum_history"])
    await made.clear()
    yield made
    await made.clear()
    await admin.close()


@pytest.fixture
def workgroup(make_source: Any, serverless: RedshiftStandin) -> CatalogueSource:
    source = make_source(port=serverless.port, password=serverless.password)
    return CatalogueSource(source, user=serverless.user, place="workgroup")


async def test_serverless_has_no_nodes(workgroup: CatalogueSource) -> None:
    await nothing_of(workgroup, NODES)
    (standing,) = await workgroup.standings(SourceEntity(NODES))
    assert standing.message == "this cluster has no STL and STV views, as on Serverless and in Multi-AZ deployments"


async def test_serverless_usage_field_by_field(workgroup: CatalogueSource, usage: Seeds) -> None:
    await usage.add(
        "sys_serverless_usage",
        *(
            {
                "start_time": after(minutes=minute),
                "end_time": after(minutes=minute + 1),
                "compute_seconds": 96.5,
                "compute_capacity": 8.0,
                "data_storage": 2048,
                "cross_region_transferred_data": None,
                "charged_seconds": charged,
            }
            for minute, charged in ((0, 480), (1, 0), (2, 0))
        ),
    )
    rows = await snapshot(workgroup, USAGE, ["start_time"], page=2)
    assert rows[0] == {
        "start_time": after(),
        "end_time": after(minutes=1),
        "compute_seconds": 96.5,
        "compute_capacity": 8.0,
        "data_storage": 2048,
        "cross_region_transferred_data": 0,
        "charged_seconds": 480,
    }
    assert [ServerlessUsage.from_row(row).charged_rpu_hours for row in rows] == [480 / 3600, 0, 0]
    await usage.admin.execute("UPDATE sys_serverless_usage SET charged_seconds = 60 WHERE charged_seconds = 0")
    again = await incremental(workgroup, USAGE, ["start_time"], "start_time", page=2)
    assert [row["charged_seconds"] for row in again] == [480, 60, 60]


async def test_serverless_has_queries_vacuums_and_tables(workgroup: CatalogueSource, usage: Seeds) -> None:
    await usage.query(1)
    await usage.vacuum(1, 5)
    assert [row["query_id"] for row in await snapshot(workgroup, "query_history", ["query_id"])] == [1]
    assert [row["table_id"] for row in await snapshot(workgroup, "vacuum_history", ["table_id"])] == [5]
    assert await snapshot(workgroup, "table_stats", ["table_id"]) == []
    for name in ("query_history", "vacuum_history", "table_stats", "serverless_usage"):
        standings = await workgroup.standings(SourceEntity(name))
        assert {standing.state for standing in standings} == {ViewState.READABLE}
