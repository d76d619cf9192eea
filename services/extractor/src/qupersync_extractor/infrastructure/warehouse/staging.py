"""Entities on their way into DuckDB: the tables they go to, and the Arrow table that a MERGE takes them from."""

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from qupersync_extractor.application.entities import entity_columns
from qupersync_extractor.domain.catalogue.entity import Entity
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.warehouse.sql import statement
from qupersync_shared.kernel.errors import TerminalError


def make_tables(file: DuckDbFile) -> None:
    """Makes the warehouse's tables in the file, and the file itself, where they are missing."""
    with file.writing("the warehouse") as connection:
        connection.execute(statement("tables"))


def staged(kind: type[Entity], entities: Iterable[Entity]) -> pa.Table:
    """The source's columns of the entities, in their logical types."""
    rows = list(entities)
    return pa.table(
        {
            column.name: pa.array([getattr(row, column.name) for row in rows], column.type.arrow)
            for column in entity_columns(kind)
        }
    )


def check_exact(connection: duckdb.DuckDBPyConnection, counting: str, *, table: str, what: str, cure: str) -> None:
    """TerminalError where the table, whose columns may be another's choice, holds rows of `staged` otherwise than they
    are, by the statement `counting`: the transaction that wrote them is to be rolled back.
    """
    counted = connection.execute(statement(counting)).fetchone()
    if counted is not None and counted[0]:
        problem = f"{table} cannot hold the {what} of {counted[0]} rows exactly; nothing was saved"
        raise TerminalError(problem, cure=cure)
