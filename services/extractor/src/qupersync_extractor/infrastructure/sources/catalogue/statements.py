"""Statements over one system view each: their text, the columns they give, and the right that reading them needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Final

from qupersync_extractor.application.entities import entity_columns
from qupersync_extractor.domain.catalogue import ENTITY_CLASSES
from qupersync_extractor.domain.pipeline import SourceQuery
from qupersync_extractor.infrastructure.sources.paging_sql import quoted
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import Kind, LogicalType

BIGINT: Final = LogicalType(Kind.BIGINT)
INTEGER: Final = LogicalType(Kind.INTEGER)
BOOLEAN: Final = LogicalType(Kind.BOOLEAN)
VARCHAR: Final = LogicalType(Kind.VARCHAR)
TIMESTAMP: Final = LogicalType(Kind.TIMESTAMP)


class Right(StrEnum):
    """What a user must have been given to read a view whole."""

    NOTHING = "nothing"
    SELECT = "select"
    SYSLOG = "syslog"


@dataclass(frozen=True, slots=True)
class SystemView:
    """A view of the cluster's own, by name."""

    name: str
    right: Right

    def __str__(self) -> str:
        return self.name

    def grant(self, user: str) -> str:
        """The statement that lets `user` read it."""
        return f"GRANT SELECT ON pg_catalog.{self.name} TO {quoted(user)}"


def see_all(user: str) -> str:
    """The statement that lets `user` see all rows of the views that show everybody only what is their own."""
    return f"ALTER USER {quoted(user)} SYSLOG ACCESS UNRESTRICTED"


SVV_TABLE_INFO: Final = SystemView("svv_table_info", Right.SELECT)
SVV_USER_INFO: Final = SystemView("svv_user_info", Right.NOTHING)
SYS_QUERY_HISTORY: Final = SystemView("sys_query_history", Right.SYSLOG)
SYS_QUERY_DETAIL: Final = SystemView("sys_query_detail", Right.SYSLOG)
SYS_QUERY_TEXT: Final = SystemView("sys_query_text", Right.SYSLOG)
SYS_VACUUM_HISTORY: Final = SystemView("sys_vacuum_history", Right.SYSLOG)
SYS_CONNECTION_LOG: Final = SystemView("sys_connection_log", Right.SELECT)
SYS_SERVERLESS_USAGE: Final = SystemView("sys_serverless_usage", Right.SELECT)
STL_VACUUM: Final = SystemView("stl_vacuum", Right.SELECT)
STV_SLICES: Final = SystemView("stv_slices", Right.NOTHING)
STV_NODE_STORAGE_CAPACITY: Final = SystemView("stv_node_storage_capacity", Right.SELECT)
STV_PARTITIONS: Final = SystemView("stv_partitions", Right.SELECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A SELECT over one view, read as an operator's query is."""

    view: SystemView
    relation: SourceQuery
    columns: tuple[Column, ...]


def statement(view: SystemView, file: str, columns: Mapping[str, LogicalType]) -> Statement:
    """The statement in this file, which gives these columns."""
    return Statement(
        view=view,
        relation=SourceQuery(_text(file)),
        columns=tuple(Column(name, logical) for name, logical in columns.items()),
    )


def first_of(
    entity: str,
    view: SystemView,
    file: str,
    *,
    later: tuple[str, ...] = (),
    also: Mapping[str, LogicalType] | None = None,
) -> Statement:
    """An entity's first statement: all its columns but those that come `later`, and what is `also` needed for them."""
    given = {column.name: column.type for column in entity_columns(ENTITY_CLASSES[entity]) if column.name not in later}
    return statement(view, file, {**given, **(also or {})})


def _text(file: str) -> str:
    """Without the comments that lead it."""
    lines = (files(__package__) / file).read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))
