"""The ready-made pipelines over system views through whole services: what stands in the target, computed by hand."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.e2e.world import World
from tests.integration.sources.catalogue.seeds import Seeds, after

from qupersync_local.committed import CommittedState
from qupersync_local.demo_data import register_facts
from qupersync_local.services import Services, configuration_for
from qupersync_local.stack import StackOptions
from qupersync_local.standin import Profile, StandinOptions
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e

PAGES = {"table_stats": 1, "query_history": 2, "vacuum_history": 2, "node_details": 1}
MIB = 1_048_576


@asynccontextmanager
async def whole(profile: Profile, *, include: Sequence[str]) -> AsyncIterator[tuple[World, Seeds]]:
    """Services that know nothing but the ready-made pipelines, on a stack of their own: these have fixed names."""
    options = StackOptions(fast=True, standin=StandinOptions(profile=profile))
    pages = {name: {"page_rows": rows} for name, rows in PAGES.items()}
    with ThreadedStack(options=options) as stack:
        configuration = configuration_for(stack.describe(), pages, include=list(include))
        source = await asyncpg.connect(stack.stack.source.admin_dsn)
        target_dsn = str(configuration["target"]["dsn"])
        app = await asyncpg.connect(target_dsn)
        try:
            async with (
                Services.opened(configuration) as services,
                CommittedState.opened(
                    outbox_dsn=str(configuration["outbox"]["dsn"]), target_dsn=target_dsn, pipelines=list(PAGES)
                ) as committed,
            ):
                world = World(
                    stack=stack,
                    services=services,
                    name="table_stats",
                    table="",
                    target="public.table_stats",
                    source=source,
                    app=app,
                    committed=committed,
                )
                yield world, Seeds(source)
        finally:
            await app.close()
            await source.close()


async def rows(world: World, table: str, key: str) -> list[dict[str, Any]]:
    """What stands in the target, without what the loader adds."""
    found = await world.app.fetch(f"SELECT * FROM public.{table} ORDER BY {key}")
    assert all(row["synced_at"] is not None for row in found)
    return [{name: value for name, value in row.items() if name[:4] != "_qs_" and name != "synced_at"} for row in found]


async def synced(world: World) -> None:
    await world.extract_once()
    await world.load()


async def last_sync(world: World) -> Mapping[str, datetime | None]:
    return {
        row["table_name"]: row["last_sync_time"]
        for row in await world.app.fetch("SELECT table_name, last_sync_time FROM qupersync_state")
    }


async def checks(world: World) -> dict[tuple[str, str], dict[str, Any]]:
    answer = await world.operate("check", "--json")
    return {(row["area"], row["subject"]): row for row in json.loads(answer.out)["rows"]}


@pytest.mark.timeout(400)
async def test_a_provisioned_cluster() -> None:
    async with whole(Profile.PROVISIONED, include=["redshift_health", "serverless_usage"]) as (world, seeds):
        await seeds.admin.execute(
            "CREATE TABLE billing.orders AS SELECT n FROM generate_series(1, 600) AS n; "
            "CREATE TABLE billing.lookup AS SELECT n FROM generate_series(1, 5) AS n"
        )
        orders = await seeds.admin.fetchval("SELECT 'billing.orders'::regclass::oid::bigint")
        lookup = await seeds.admin.fetchval("SELECT 'billing.lookup'::regclass::oid::bigint")
        await register_facts(
            seeds.admin,
            table="billing.orders",
            sortkeys=["n"],
            diststyle="KEY(n)",
            encoded="Y",
            deleted_rows=200,
            size_mb=9,
            unsorted=Decimal("3.25"),
            skew_rows=Decimal("1.5"),
        )
        await register_facts(seeds.admin, table="billing.lookup", diststyle="ALL", encoded="N", size_mb=1)
        for query_id in range(1, 6):
            await seeds.query(query_id, session_id=4, status="success" if query_id != 2 else "canceled")
        await seeds.query(6, status="running")
        await seeds.add(
            "sys_connection_log",
            {"session_id": 4, "record_time": after(), "application_name": "etl"},
            {"session_id": 4, "record_time": after(seconds=4), "application_name": "dashboard"},
        )
        for level in ("query", "child query", "stream", "step"):
            await seeds.add(
                "sys_query_detail",
                {
                    "user_id": 101,
                    "query_id": 3,
                    "metrics_level": level,
                    "blocks_read": 10,
                    "spilled_block_local_disk": 512,
                    "spilled_block_remote_disk": 1536,
                },
            )
        await seeds.vacuum(1, orders, vacuum_type="Delete Only")
        await seeds.vacuum(2, lookup, status="Sort", end_time=None, reclaimed_blocks=None)
        for node in (0, 1):
            await seeds.add("stv_slices", {"node": node, "slice": node, "localslice": 0, "type": "D"})
            await seeds.add("stv_node_storage_capacity", {"node": node, "used": 512, "capacity": 128_000_000})
            await seeds.add("stv_partitions", {"owner": node, "host": node, "mount": "/dev/nvme1n1"})

        await world.migrate()
        await synced(world)

        stats = await rows(world, "table_stats", "table_name")
        assert stats == [
            {
                "schema": "billing",
                "table_name": "lookup",
                "table_id": lookup,
                "tbl_rows": 5,
                "size_mb": 1,
                "unsorted_pct": None,
                "pct_skew_across_slices": None,
                "diststyle": "ALL",
                "sort_key1": "AUTO(SORTKEY)",
                "sortkey_num": 0,
                "encoded": "N",
                "pct_rows_marked_for_deletion": Decimal("0.00"),
                "last_vacuum_date": None,
                "vacuum_type": None,
            },
            {
                "schema": "billing",
                "table_name": "orders",
                "table_id": orders,
                "tbl_rows": 800,
                "size_mb": 9,
                "unsorted_pct": Decimal("3.25"),
                "pct_skew_across_slices": Decimal("50.00"),
                "diststyle": "KEY(n)",
                "sort_key1": "n",
                "sortkey_num": 1,
                "encoded": "Y",
                "pct_rows_marked_for_deletion": Decimal("25.00"),
                "last_vacuum_date": after(minutes=1, seconds=30),
                "vacuum_type": "DELETE ONLY",
            },
        ]
        queries = await rows(world, "query_history", "query_id")
        assert [(row["query_id"], row["status"], row["application_name"]) for row in queries] == [
            *((1, "success", "etl"), (2, "cancelled", "etl"), (3, "success", "etl")),
            *((4, "success", "dashboard"), (5, "success", "dashboard")),
        ]
        assert [(row["bytes_scanned"], row["spilled_blocks"]) for row in queries] == [
            *((0, 0), (0, 0), (10 * MIB, 2048), (0, 0), (0, 0))
        ]
        assert len({row["query_hash"] for row in queries}) == 1
        vacuums = await rows(world, "vacuum_history", "transaction_id")
        assert [(row["table_id"], row["status"], row["impacted_blocks"]) for row in vacuums] == [
            *((orders, "Complete", 3), (lookup, "Sort", None))
        ]
        nodes = await rows(world, "node_details", "node_id")
        common = {"node_type": None, "slice_count": 1, "is_nvme": True, "capacity_mb": 128_000_000, "used_mb": 512}
        assert nodes == [{"node_id": 0, **common}, {"node_id": 1, **common}]
        assert await rows(world, "serverless_usage", "start_time") == []
        first = await last_sync(world)
        assert set(first) == {f"public.{name}" for name in (*PAGES, "serverless_usage")}
        assert all(first.values())

        # What runs ends (before the safety lag), a table is dropped, and the history of vacuums ages out.
        just_now = await seeds.admin.fetchval("SELECT localtimestamp - interval '31 seconds'")
        await seeds.admin.execute("DELETE FROM sys_vacuum_history; DELETE FROM sys_query_history WHERE query_id < 3")
        await seeds.admin.execute("DROP TABLE billing.lookup")
        await seeds.admin.execute(
            "UPDATE sys_query_history SET status = 'failed', error_message = 'no', end_time = $1 WHERE query_id = 6",
            just_now,
        )
        await seeds.vacuum(2, lookup, end_time=just_now, record_time=just_now, reclaimed_blocks=4)
        await world.trigger("snapshot")
        await synced(world)
        (aged,) = await rows(world, "table_stats", "table_name")
        assert aged == stats[1]
        queries = await rows(world, "query_history", "query_id")
        assert [row["query_id"] for row in queries] == [1, 2, 3, 4, 5, 6]
        assert (queries[-1]["status"], queries[-1]["error_message"]) == ("failed", "no")
        vacuums = await rows(world, "vacuum_history", "transaction_id")
        assert [(row["table_id"], row["status"], row["impacted_blocks"]) for row in vacuums] == [
            *((orders, "Complete", 3), (lookup, "Complete", 4))
        ]
        found = await checks(world)
        for area, view in (
            ("table_stats", "svv_table_info"),
            ("table_stats", "sys_vacuum_history"),
            ("query_history", "sys_connection_log"),
            ("node_details", "stv_partitions"),
        ):
            assert found[area, view]["verdict"] == "ok"
        assert "not applicable" in found["serverless_usage", "serverless_usage"]["message"]


@pytest.mark.timeout(400)
async def test_a_serverless_workgroup() -> None:
    async with whole(Profile.SERVERLESS, include=["redshift_health", "serverless_usage"]) as (world, seeds):
        await seeds.query(1)
        usage = {
            "compute_seconds": 8.5,
            "compute_capacity": 8,
            "data_storage": 1024,
            "cross_region_transferred_data": 0,
        }
        for minute, charged in ((0, 60), (1, 0)):
            moments = {"start_time": after(minutes=minute), "end_time": after(minutes=minute + 1)}
            await seeds.add("sys_serverless_usage", {**moments, **usage, "charged_seconds": charged})
        await world.migrate()
        await synced(world)
        assert await rows(world, "node_details", "node_id") == []
        assert [row["query_id"] for row in await rows(world, "query_history", "query_id")] == [1]
        used = await rows(world, "serverless_usage", "start_time")
        assert [(row["charged_seconds"], row["compute_seconds"]) for row in used] == [(60, 8.5), (0, 8.5)]
        fresh = await last_sync(world)
        assert fresh["public.node_details"] is not None
        found = await checks(world)
        assert found["node_details", "node_details"]["verdict"] == "ok"
        assert found["node_details", "node_details"]["message"].startswith(
            "not applicable: this cluster has no STL and"
        )
        assert found["serverless_usage", "sys_serverless_usage"]["verdict"] == "ok"
