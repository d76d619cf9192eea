"""Vacuums, field by field: they change while they run, and older clusters write them down as two rows."""

import asyncpg
import pytest
from tests.integration.sources.catalogue.seeds import Seeds, after, incremental, snapshot

from qupersync_extractor.domain.catalogue import VacuumHistory
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_local.standin import FaultBook, RedshiftStandin
from qupersync_local.standin.faults import Fault, FaultKind

KEY = ["transaction_id", "table_id", "start_time"]
NAME = "vacuum_history"


@pytest.mark.usefixtures("protocol")
async def test_every_field(catalogue: CatalogueSource, seeds: Seeds) -> None:
    await seeds.vacuum(3, 77, vacuum_type="Delete Only", is_automatic=True, reclaimed_blocks=3072, query_id=None)
    (row,) = await snapshot(catalogue, NAME, KEY)
    assert row == {
        "table_id": 77,
        "table_name": "t77",
        "schema": "public",
        "vacuum_type": "DELETE ONLY",
        "status": "Complete",
        "start_time": after(minutes=3),
        "end_time": after(minutes=3, seconds=30),
        "reclaimable_rows": 500,
        "impacted_blocks": 3072,
        "transaction_id": 3,
        "is_automatic": True,
        "record_time": after(minutes=3, seconds=31),
    }
    entity = VacuumHistory.from_row(row)
    assert (entity.reclaimable_gb, entity.duration_seconds) == (3.0, 30.0)


async def test_types_in_any_case_and_of_any_kind(catalogue: CatalogueSource, seeds: Seeds) -> None:
    for number, kind in enumerate(("full", "Sort Only", "REINDEX", "recluster", "something new", None)):
        await seeds.vacuum(number, 1, vacuum_type=kind)
    rows = await snapshot(catalogue, NAME, KEY)
    assert [row["vacuum_type"] for row in rows] == ["FULL", "SORT ONLY", "REINDEX", "RECLUSTER", "SOMETHING NEW", None]


async def test_a_running_vacuum_is_read_again_when_it_has_changed(
    catalogue: CatalogueSource, seeds: Seeds, admin: asyncpg.Connection
) -> None:
    await seeds.vacuum(
        1, 5, status="Sort", end_time=None, record_time=after(minutes=1), reclaimed_blocks=None, is_automatic=None
    )
    await seeds.vacuum(2, 5)
    running, ended = await incremental(catalogue, NAME, KEY, "record_time")
    assert (running["status"], running["end_time"], running["impacted_blocks"]) == ("Sort", None, None)
    assert running["is_automatic"] is False
    assert VacuumHistory.from_row(running).reclaimable_gb is None
    await admin.execute(
        "UPDATE pg_catalog.sys_vacuum_history SET status = 'Complete', end_time = $1, record_time = $1, "
        "reclaimed_blocks = 9 WHERE transaction_id = 1",
        after(hours=1),
    )
    unchanged, changed = await incremental(catalogue, NAME, KEY, "record_time")
    assert unchanged == ended
    assert [changed[name] for name in KEY] == [running[name] for name in KEY]
    assert (changed["status"], changed["end_time"], changed["impacted_blocks"]) == ("Complete", after(hours=1), 9)


async def test_the_same_rows_whatever_the_page(catalogue: CatalogueSource, seeds: Seeds) -> None:
    for transaction in range(4):
        for table in range(3):
            await seeds.vacuum(transaction, table, record_time=after(minutes=(transaction * 7 + table) % 5))
    await seeds.vacuum(2, 1, start_time=after(days=-1))
    whole = await snapshot(catalogue, NAME, KEY)
    assert len(whole) == 13
    by_cursor = sorted(whole, key=lambda row: (row["record_time"], *(row[name] for name in KEY)))
    for page in (2, 3):
        assert await snapshot(catalogue, NAME, KEY, page=page) == whole
        assert await incremental(catalogue, NAME, KEY, "record_time", page=page) == by_cursor


@pytest.fixture
def no_newer_history(faults: FaultBook) -> None:
    faults.add(
        Fault(
            kind=FaultKind.ERROR,
            pattern="sys_vacuum_history",
            times=None,
            code="42P01",
            message='relation "sys_vacuum_history" does not exist',
        )
    )


@pytest.mark.usefixtures("no_newer_history")
async def test_older_clusters_write_two_rows(
    catalogue: CatalogueSource, seeds: Seeds, admin: asyncpg.Connection, standin: RedshiftStandin
) -> None:
    await admin.execute("CREATE TABLE billing.vacuumed AS SELECT 1 AS n")
    try:
        table = await admin.fetchval("SELECT 'billing.vacuumed'::regclass::oid::bigint")
        named = {"userid": 101, "table_id": table, "is_recluster": 0}
        unknown = {**named, "table_id": 4_000_000}
        await seeds.add(
            "stl_vacuum",
            {**named, "xid": 1, "status": "Started", "eventtime": after(hours=1), "reclaimable_rows": 40, "blocks": 90},
            {**named, "xid": 1, "status": "Finished", "eventtime": after(hours=2), "blocks": 70},
            {**named, "xid": 2, "status": "[VacuumBG] Started Delete Only", "eventtime": after(hours=3), "blocks": 70},
            {**named, "xid": 2, "status": "[VacuumBG] Finished", "eventtime": after(hours=4), "blocks": 66},
            {**named, "xid": 3, "status": "Skipped(sorted>=95%)", "eventtime": after(hours=5)},
            {**unknown, "xid": 3, "status": "Started", "eventtime": after(hours=6), "is_recluster": 1, "blocks": 5},
            {**named, "xid": 4, "status": "Finished", "eventtime": after(hours=7)},  # its start has aged out
        )
        rows = await snapshot(catalogue, NAME, KEY)
        assert await snapshot(catalogue, NAME, KEY, page=2) == rows
        by_cursor = sorted(rows, key=lambda row: (row["record_time"], row["transaction_id"]))
        assert await incremental(catalogue, NAME, KEY, "record_time", page=2) == by_cursor
    finally:
        await admin.execute("DROP TABLE billing.vacuumed")
    for row in rows:
        VacuumHistory.from_row(row)
    assert rows[0] == {
        "table_id": table,
        "table_name": "vacuumed",
        "schema": "billing",
        "vacuum_type": "FULL",
        "status": "Complete",
        "start_time": after(hours=1),
        "end_time": after(hours=2),
        "reclaimable_rows": 40,
        "impacted_blocks": 20,
        "transaction_id": 1,
        "is_automatic": False,
        "record_time": after(hours=2),
    }
    told = [(row["vacuum_type"], row["status"], row["end_time"], row["is_automatic"]) for row in rows[1:]]
    assert told == [
        ("DELETE ONLY", "Complete", after(hours=4), True),
        ("FULL", "Skipped", after(hours=5), False),
        ("RECLUSTER", "Started", None, False),
    ]
    assert (rows[3]["table_name"], rows[3]["schema"], rows[3]["impacted_blocks"]) == (None, None, None)
