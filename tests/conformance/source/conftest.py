"""Every adapter of `Source`, behind one harness that makes tables: memory, DuckDB, and the real Redshift driver."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import asyncpg
import duckdb
import pytest
from tests.conformance.source.cluster import WITHOUT_DSN, Cluster, ClusterHarness, given_dsn, opened
from tests.conformance.source.literals import literal

from qupersync_extractor.application.ports import Source
from qupersync_extractor.domain.pipeline import Relation, SourceTable
from qupersync_extractor.infrastructure.memory.source import MemorySource
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_extractor.infrastructure.sources.duckdb import DuckDbSource
from qupersync_extractor.infrastructure.sources.paging_sql import quoted
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_extractor.infrastructure.sources.redshift_connection import RedshiftOptions
from qupersync_local.standin import RedshiftStandin
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import Kind, LogicalType

Rows = Sequence[Mapping[str, Any]]

COMMON = ["smallint", "integer", "bigint", "real", "double", "numeric(18,4)", "numeric(38,10)", "boolean", "varchar"]
COMMON += ["date", "timestamp", "timestamptz", "time", "timetz", "super", "varbyte"]


class Harness(Protocol):
    source: Source
    types: Sequence[str]  # what its tables can hold
    has_sql: bool
    counts_trailing_blanks: bool  # a known difference of the stand-in: VARCHAR compares with its trailing blanks
    alone: bool  # whether nobody else has transactions there

    def kept(self, logical: str, value: Any) -> Any:
        """The value as a column of this type holds it; most hold any as it is."""
        ...

    async def create(self, columns: Sequence[Column], rows: Rows = ()) -> SourceTable: ...

    async def insert(self, relation: Relation, columns: Sequence[Column], rows: Rows) -> None: ...


class MemoryHarness:
    has_sql = False
    counts_trailing_blanks = False
    types: Sequence[str] = (*COMMON, "char", "uuid")
    alone = True

    def __init__(self) -> None:
        self.memory = MemorySource()
        self.source: Source = self.memory

    def kept(self, logical: str, value: Any) -> Any:
        return value

    async def create(self, columns: Sequence[Column], rows: Rows = ()) -> SourceTable:
        relation = SourceTable("main", f"t_{uuid4().hex}")
        self.memory.table(relation, columns).insert(*rows)
        return relation

    async def insert(self, relation: Relation, columns: Sequence[Column], rows: Rows) -> None:
        self.memory.table(relation).insert(*rows)


class DuckDbHarness:
    has_sql = True
    counts_trailing_blanks = False
    types: Sequence[str] = (*COMMON, "uuid")
    alone = True

    def __init__(self, path: Path) -> None:
        self.path = path
        duckdb.connect(str(path)).close()
        self.source: Source = DuckDbSource(path)

    def kept(self, logical: str, value: Any) -> Any:
        return value

    async def create(self, columns: Sequence[Column], rows: Rows = ()) -> SourceTable:
        relation = SourceTable("main", f"t_{uuid4().hex}")
        names = ", ".join(f"{quoted(c.name)} {self._type(c.type)}" for c in columns)
        with duckdb.connect(str(self.path)) as connection:
            connection.execute(f"CREATE TABLE {relation} ({names})")
        await self.insert(relation, columns, rows)
        return relation

    async def insert(self, relation: Relation, columns: Sequence[Column], rows: Rows) -> None:
        casts = ", ".join(
            "unhex(CAST(? AS VARCHAR))" if c.type.kind is Kind.VARBYTE else f"CAST(? AS {self._type(c.type)})"
            for c in columns
        )
        with duckdb.connect(str(self.path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for row in rows:
                connection.execute(
                    f"INSERT INTO {relation} VALUES ({casts})", [literal(row.get(c.name)) for c in columns]
                )

    @staticmethod
    def _type(logical: LogicalType) -> str:
        return {Kind.SUPER: "JSON", Kind.VARBYTE: "BLOB", Kind.TIMETZ: "TIMETZ"}.get(logical.kind, logical.name)


class RedshiftHarness:
    has_sql = True
    counts_trailing_blanks = True
    types: Sequence[str] = (*COMMON, "char")
    alone = True

    def __init__(self, standin: RedshiftStandin) -> None:
        self.standin = standin
        # As everywhere in production: entities beside tables and queries, which are read as ever.
        self.source: Source = CatalogueSource(
            RedshiftSource(redshift_options(standin)), user=standin.user, place="standin"
        )

    def kept(self, logical: str, value: Any) -> Any:
        return value

    async def create(self, columns: Sequence[Column], rows: Rows = ()) -> SourceTable:
        relation = SourceTable("conformance", f"t_{uuid4().hex}")
        names = ", ".join(f"{quoted(c.name)} {self._type(c.type)}" for c in columns)
        await self._execute(
            "CREATE SCHEMA IF NOT EXISTS conformance",
            f"GRANT USAGE ON SCHEMA conformance TO {self.standin.user}",
            f"CREATE TABLE {relation} ({names})",
            f"GRANT SELECT ON {relation} TO {self.standin.user}",
        )
        await self.insert(relation, columns, rows)
        return relation

    async def insert(self, relation: Relation, columns: Sequence[Column], rows: Rows) -> None:
        casts = ", ".join(
            f"to_varbyte(${n}::text, 'hex')" if c.type.kind is Kind.VARBYTE else f"${n}::text::{self._type(c.type)}"
            for n, c in enumerate(columns, 1)
        )
        connection = await asyncpg.connect(self.standin.admin_dsn)
        try:
            values = [[literal(row.get(c.name)) for c in columns] for row in rows]
            await connection.executemany(f"INSERT INTO {relation} VALUES ({casts})", values)
        finally:
            await connection.close()

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.standin.admin_dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    @staticmethod
    def _type(logical: LogicalType) -> str:
        return {Kind.CHAR: "char(12)", Kind.DOUBLE: "double precision"}.get(logical.kind, logical.name)


def redshift_options(standin: RedshiftStandin, **changes: Any) -> RedshiftOptions:
    given: dict[str, Any] = {
        "host": standin.host,
        "port": standin.port,
        "database": standin.database,
        "user": standin.user,
        "password": standin.password,
        "sslmode": "disable",
        "connect_timeout_seconds": 20,
        "statement_timeout_seconds": 60,
        "connections": 2,
    }
    return RedshiftOptions(**{**given, **changes})


@asynccontextmanager
async def _closing(harness: Harness) -> AsyncIterator[Harness]:
    try:
        yield harness
    finally:
        await harness.source.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    dsn = given_dsn()
    if dsn is None:
        pytest.skip(WITHOUT_DSN)
    with opened(dsn) as made:
        yield made


# Redshift twice: the stand-in always, a real cluster where one is given (without, test_cluster.py says so, once).
_SERVERS = ["redshift-standin", *(["redshift-cluster"] if given_dsn() else [])]


_HARNESSES = {"memory": MemoryHarness, "duckdb": DuckDbHarness}


def _has(warehouse: str, need: str) -> bool:
    """Whether this warehouse has what a test needs: SQL, comparisons that ignore trailing blanks, or a type."""
    harness: Any = _HARNESSES.get(warehouse, RedshiftHarness)
    if need == "sql":
        return bool(harness.has_sql)
    if need == "padded comparison":
        cluster = given_dsn()  # the stand-in may be given as a cluster
        return not harness.counts_trailing_blanks or (
            warehouse == "redshift-cluster" and "127.0.0.1" not in str(cluster)
        )
    return need in harness.types


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a warehouse cannot have is no test of it, rather than a skipped one."""
    items[:] = [
        item
        for item in items
        if not isinstance(item, pytest.Function)
        or "warehouse" not in getattr(getattr(item, "callspec", None), "params", {})
        or all(_has(item.callspec.params["warehouse"], *marker.args) for marker in item.iter_markers("needs"))
    ]


@pytest.fixture(params=["memory", "duckdb", *(pytest.param(one, marks=pytest.mark.integration) for one in _SERVERS)])
async def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    made: Harness
    match request.param:
        case "memory":
            made = MemoryHarness()
        case "duckdb":
            made = DuckDbHarness(tmp_path / "warehouse.duckdb")
        case "redshift-cluster":
            made = ClusterHarness(request.getfixturevalue("cluster"), RedshiftHarness.types)
        case _:
            stack: ThreadedStack = request.getfixturevalue("local_stack")
            made = RedshiftHarness(stack.stack.source)
    async with _closing(made) as harness:
        yield harness
