"""Statistics of tables, field by field, and vacuums that the source has forgotten."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.integration.sources.catalogue.conftest import Make
from tests.integration.sources.catalogue.seeds import Seeds, after, schema_of, snapshot

from qupersync_extractor.application.ports import KeyList, ReadRequest
from qupersync_extractor.domain.catalogue import TableStats
from qupersync_extractor.domain.pipeline import SourceEntity
from qupersync_extractor.infrastructure.memory.remembered import MemoryRemembered
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_local.demo_data import register_facts
from qupersync_local.standin import FaultBook, RedshiftStandin
from qupersync_local.standin.faults import Fault, FaultKind
from qupersync_shared.kernel.positions import Scalar, ScalarKind

KEY = ["table_id"]
NAME = "table_stats"


@dataclass(frozen=True)
class Made:
    """Tables in a schema of their own, by name, and their numbers."""

    schema: str
    ids: dict[str, int]

    async def stats(self, source: CatalogueSource, *, page: int = 1000) -> dict[str, dict[str, Any]]:
        """The rows of these tables, whatever else there is."""
        rows = await snapshot(source, NAME, KEY, page=page)
        assert [row["table_id"] for row in rows] == sorted(row["table_id"] for row in rows)
        return {row["table_name"]: row for row in rows if row["schema"] == self.schema}


@pytest.fixture
async def made(admin: asyncpg.Connection, standin: RedshiftStandin) -> AsyncIterator[Made]:
    schema = f"stats_{uuid4().hex[:8]}"
    await admin.execute(f"CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO {standin.user}")
    ids = {}
    for name, rows in (("orders", 1000), ("lookup", 5), ("nothing", 0), ("Wide", 10)):
        await admin.execute(f'CREATE TABLE {schema}."{name}" AS SELECT n FROM generate_series(1, {rows}) AS n')
        ids[name] = await admin.fetchval(f"SELECT to_regclass('{schema}.\"{name}\"')::oid::bigint")
    await register_facts(
        admin,
        table=f"{schema}.orders",
        sortkeys=["n"],
        diststyle="KEY(n)",
        encoded="Y",
        deleted_rows=250,
        size_mb=7,
        unsorted=Decimal("12.50"),
        skew_rows=Decimal("1.37"),
    )
    await register_facts(admin, table=f"{schema}.lookup", diststyle="ALL", encoded="N", size_mb=1)
    yield Made(schema, ids)
    await admin.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.usefixtures("protocol")
async def test_every_field(catalogue: CatalogueSource, seeds: Seeds, made: Made) -> None:
    orders = made.ids["orders"]
    await seeds.vacuum(1, orders, vacuum_type="Delete Only", end_time=after(hours=1))
    await seeds.vacuum(2, orders, vacuum_type="sort only", end_time=after(hours=3), status="complete")
    await seeds.vacuum(3, orders, end_time=after(hours=4), status="Failed")
    await seeds.vacuum(4, orders, end_time=after(hours=5), status="Merge")
    await seeds.vacuum(5, orders, end_time=after(hours=6), database_name="other")
    found = await made.stats(catalogue)
    assert set(found) == {"orders", "lookup", "Wide"}  # and not the empty one
    assert found["orders"] == {
        "schema": made.schema,
        "table_name": "orders",
        "table_id": orders,
        "tbl_rows": 1250,
        "size_mb": 7,
        "unsorted_pct": Decimal("12.50"),
        "pct_skew_across_slices": Decimal("37.00"),
        "diststyle": "KEY(n)",
        "sort_key1": "n",
        "sortkey_num": 1,
        "encoded": "Y",
        "pct_rows_marked_for_deletion": Decimal("20.00"),
        "last_vacuum_date": after(hours=3),
        "vacuum_type": "SORT ONLY",
    }
    lookup = found["lookup"]
    assert lookup["pct_skew_across_slices"] is None
    assert lookup["unsorted_pct"] is None
    assert lookup["pct_rows_marked_for_deletion"] == Decimal("0.00")
    assert (lookup["last_vacuum_date"], lookup["vacuum_type"]) == (None, None)
    for row in found.values():
        TableStats.from_row(row)


async def test_the_same_rows_whatever_the_page(catalogue: CatalogueSource, seeds: Seeds, made: Made) -> None:
    for number, table in enumerate(made.ids.values()):
        await seeds.vacuum(number, table)
    whole = await made.stats(catalogue)
    assert {row["last_vacuum_date"] for row in whole.values()} == {
        after(minutes=number, seconds=30) for number in (0, 1, 3)
    }
    assert await made.stats(catalogue, page=2) == whole
    schema = await schema_of(catalogue, NAME, KEY)
    keys = KeyList(keys=((Scalar(ScalarKind.INT, str(made.ids["Wide"])),),))
    batch = await catalogue.read(ReadRequest(relation=SourceEntity(NAME), schema=schema, range=keys, limit=9))
    assert batch.to_pylist() == [whole["Wide"]]


async def test_a_vacuum_is_known_when_the_history_has_aged_out(
    make_catalogue: Make, seeds: Seeds, made: Made, remembered: MemoryRemembered
) -> None:
    orders = made.ids["orders"]
    await seeds.vacuum(1, orders, vacuum_type="Full", end_time=after(hours=1))
    first = await made.stats(make_catalogue())
    await seeds.clear()
    aged = await made.stats(make_catalogue())
    assert aged == first
    assert aged["orders"]["last_vacuum_date"] == after(hours=1)
    await seeds.vacuum(2, orders, vacuum_type="Delete only", end_time=after(hours=2))
    later = (await made.stats(make_catalogue()))["orders"]
    assert (later["last_vacuum_date"], later["vacuum_type"]) == (after(hours=2), "DELETE ONLY")
    await seeds.clear()
    assert (await made.stats(make_catalogue()))["orders"] == later
    elsewhere = (await made.stats(make_catalogue(place="another cluster")))["orders"]
    assert elsewhere["last_vacuum_date"] is None
    assert set(await remembered.recall("vacuums of standin", [str(n) for n in made.ids.values()])) == {str(orders)}


async def test_vacuums_of_clusters_without_the_newer_history(
    catalogue: CatalogueSource, seeds: Seeds, made: Made, faults: FaultBook
) -> None:
    faults.add(
        Fault(
            kind=FaultKind.ERROR,
            pattern="sys_vacuum_history",
            times=None,
            code="42P01",
            message='relation "sys_vacuum_history" does not exist',
        )
    )
    table = {"table_id": made.ids["orders"], "is_recluster": 0}
    await seeds.add(
        "stl_vacuum",
        {**table, "xid": 1, "status": "Started Delete Only", "eventtime": after(hours=1)},
        {**table, "xid": 1, "status": "Finished", "eventtime": after(hours=2)},
        {**table, "xid": 2, "status": "[VacuumBG] Started Sort Only", "eventtime": after(hours=3)},
        {**table, "xid": 2, "status": "[VacuumBG] Finished", "eventtime": after(hours=4)},
        {**table, "xid": 3, "status": "Started", "eventtime": after(hours=5)},
        {**table, "table_id": made.ids["Wide"], "xid": 4, "status": "Started", "eventtime": after(hours=6)},
    )
    found = await made.stats(catalogue)
    assert (found["orders"]["last_vacuum_date"], found["orders"]["vacuum_type"]) == (after(hours=4), "SORT ONLY")
    assert found["Wide"]["last_vacuum_date"] is None


@pytest.mark.parametrize(
    ("deleted", "share"), [(0, "0.00"), (1, "0.10"), (500, "33.33"), (999_000, "99.90"), (99_999_000, "100.00")]
)
async def test_the_deleted_share(
    catalogue: CatalogueSource, admin: asyncpg.Connection, made: Made, deleted: int, share: str
) -> None:
    await register_facts(admin, table=f"{made.schema}.orders", deleted_rows=deleted)
    row = (await made.stats(catalogue))["orders"]
    assert row["tbl_rows"] == 1000 + deleted
    assert row["pct_rows_marked_for_deletion"] == Decimal(share)
