"""A real cluster for the source suite: `make test-redshift` with QUPERSYNC_TEST_REDSHIFT_DSN in the environment.

The DSN is `redshift://user:password@host:5439/database`, `?sslmode=disable` for a server without TLS. Its user may
create schemas: tables are made in a scratch schema of a random name, which is dropped at the end.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import redshift_connector
from tests.conformance.source.literals import literal

from qupersync_extractor.application.ports import Source
from qupersync_extractor.domain.pipeline import Relation, SourceTable
from qupersync_extractor.infrastructure.sources.paging_sql import quoted
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_extractor.infrastructure.sources.redshift_connection import RedshiftOptions
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import Kind, LogicalType

DSN = "QUPERSYNC_TEST_REDSHIFT_DSN"
WITHOUT_DSN = f"no real cluster: set {DSN}=redshift://user:password@host:5439/database"
_SSL_MODES = ("verify-full", "verify-ca", "disable")
_PORT = 5439

# VARCHAR alone would be VARCHAR(256); lengths are bytes, and CHAR holds single-byte characters only.
_TYPES = {Kind.VARCHAR: "varchar(1024)", Kind.CHAR: "char(12)", Kind.DOUBLE: "double precision"}
_TYPES |= {Kind.VARBYTE: "varbyte(64)"}
# Bound as text, for a literal would need Redshift's escapes; all else is a literal, which any type is cast from.
_BOUND = {
    Kind.VARCHAR: "CAST(? AS VARCHAR(1024))",
    Kind.CHAR: "CAST(? AS VARCHAR(1024))",
    Kind.SUPER: "JSON_PARSE(CAST(? AS VARCHAR(65535)))",
    Kind.VARBYTE: "TO_VARBYTE(CAST(? AS VARCHAR(65535)), 'hex')",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A connection of the suite's own, and the schema it may fill. `is_redshift` is False for the stand-in."""

    options: RedshiftOptions
    connection: Any
    schema: str
    is_redshift: bool

    def execute(self, statement: str, values: Sequence[str | None] = ()) -> None:
        cursor = self.connection.cursor()
        cursor.paramstyle = "qmark"
        cursor.execute(statement, list(values) or None)


@contextmanager
def opened(dsn: str) -> Iterator[Cluster]:
    """Connect and make the scratch schema, for as long as the block runs."""
    options = options_of(dsn)
    connection = redshift_connector.connect(
        host=options.host,
        port=options.port,
        database=options.database,
        user=options.user,
        password=options.password,
        ssl=options.sslmode != "disable",
        sslmode="verify-full" if options.sslmode == "disable" else options.sslmode,
        timeout=round(options.connect_timeout_seconds),
        application_name="qupersync-conformance",
    )
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SELECT version()")
        cluster = Cluster(
            options=options,
            connection=connection,
            schema=f"qupersync_conformance_{uuid4().hex[:12]}",
            is_redshift="redshift" in str(cursor.fetchone()[0]).lower(),
        )
        cluster.execute(f"CREATE SCHEMA {cluster.schema}")
        try:
            yield cluster
        finally:
            cluster.execute(f"DROP SCHEMA {cluster.schema} CASCADE")
    finally:
        with suppress(Exception):
            connection.close()


def options_of(dsn: str) -> RedshiftOptions:
    """How the product connects to this DSN; ValueError that says what is wrong, without the password."""
    parts = urlsplit(dsn)
    sslmode = parse_qs(parts.query).get("sslmode", ["verify-full"])[0]
    if parts.scheme not in {"redshift", "postgresql"} or not (parts.hostname and parts.username and parts.path[1:]):
        raise ValueError(f"{DSN} is no DSN of a cluster: write redshift://user:password@host:5439/database")
    if sslmode not in _SSL_MODES:
        raise ValueError(f"{DSN}: sslmode is {sslmode!r}, write one of {', '.join(_SSL_MODES)}")
    return RedshiftOptions(
        host=parts.hostname,
        port=parts.port or _PORT,
        database=unquote(parts.path[1:]),
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        sslmode=sslmode,
        connections=2,
        connect_timeout_seconds=120,  # a paused workgroup takes its time
        statement_timeout_seconds=300,
        query_group="qupersync_conformance",
    )


def given_dsn() -> str | None:
    """The DSN of a real cluster, if one was given."""
    return os.environ.get(DSN) or None


class ClusterHarness:
    """The real driver on a real cluster; rows are written by the suite's own connection."""

    has_sql = True
    alone = False  # others may have transactions open

    def __init__(self, cluster: Cluster, types: Sequence[str]) -> None:
        self.types = types
        self.counts_trailing_blanks = not cluster.is_redshift
        self.source: Source = RedshiftSource(cluster.options)
        self.cluster = cluster

    def kept(self, logical: str, value: Any) -> Any:
        """CHAR has single-byte characters only, and TIMETZ is kept in UTC, without the zone it came with."""
        if value is None:
            return None
        match LogicalType.parse(logical).kind:
            case Kind.CHAR:
                return value.encode("ascii", "replace").decode()
            case Kind.TIMETZ:
                return f"{value[:-3]}+00"
            case _:
                return value

    async def create(self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]] = ()) -> SourceTable:
        relation = SourceTable(self.cluster.schema, f"t_{uuid4().hex}")
        names = ", ".join(f"{quoted(column.name)} {_type(column.type)}" for column in columns)
        await asyncio.to_thread(self.cluster.execute, f"CREATE TABLE {relation} ({names})")
        await self.insert(relation, columns, rows)
        return relation

    async def insert(self, relation: Relation, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        await asyncio.to_thread(self._insert, relation, columns, rows)

    def _insert(self, relation: Relation, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:  # one by one: lists of VALUES do not take every function
            expressions: list[str] = []
            bound: list[str | None] = []
            for column in columns:
                text = literal(row.get(column.name))
                if text is None:
                    expressions.append("NULL")
                elif column.type.kind in _BOUND:
                    expressions.append(_BOUND[column.type.kind])
                    bound.append(text)
                else:
                    expressions.append(f"'{text}'::{_type(column.type)}")
            self.cluster.execute(f"INSERT INTO {relation} VALUES ({', '.join(expressions)})", bound)


def _type(logical: LogicalType) -> str:
    return _TYPES.get(logical.kind, logical.name)
