"""The two kinds of tables that can be compared: in PostgreSQL and in a DuckDB file. Rows come in key order."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from qupersync_local.postgres import identifier

_ROWS_AHEAD = 5_000
_DELETED = "_qs_deleted_at"
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "application_name": "qupersync-compare",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A key whose parts can be ordered, and the text of every column; None is NULL."""

    key: tuple[Any, ...]
    texts: tuple[str | None, ...]


class OpenSide(Protocol):
    """A table held still: all that is read from it is of one moment."""

    @property
    def kinds(self) -> Mapping[str, str]:
        """Every column's kind: integer, number, float, json, text, bytes or other."""
        ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def rows(self, names: Sequence[str]) -> AsyncGenerator[Row, None]: ...


class Side(Protocol):
    """A table or query to compare."""

    def opened(self, key: Sequence[str]) -> AbstractAsyncContextManager[OpenSide]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSide:
    """A table (`schema.table`) or a query in PostgreSQL."""

    dsn: str
    table: str = ""
    query: str = ""

    @asynccontextmanager
    async def opened(self, key: Sequence[str]) -> AsyncIterator[OpenSide]:
        connection = await asyncpg.connect(self.dsn, server_settings=_SETTINGS)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                relation = f"({self.query}) AS q" if self.query else ".".join(map(identifier, self.table.split(".")))
                statement = await connection.prepare(f"SELECT * FROM {relation}")  # noqa: S608 - quoted above
                kinds = {
                    column.name: _POSTGRES_KINDS.get(column.type.name, "other") for column in statement.get_attributes()
                }
                yield _OpenPostgres(connection=connection, relation=relation, key=tuple(key), kinds=kinds)
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenPostgres:
    connection: asyncpg.Connection
    relation: str
    key: tuple[str, ...]
    kinds: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    async def rows(self, names: Sequence[str]) -> AsyncGenerator[Row, None]:
        keys = [self._key_expression(name) for name in self.key]
        texts = [self._text_expression(name) for name in names]
        where = [f"{identifier(name)} IS NOT NULL" for name in self.key]
        if _DELETED in self.kinds:
            where.append(f"{identifier(_DELETED)} IS NULL")
        order = ", ".join(str(place) for place in range(1, len(keys) + 1))
        sql = f"SELECT {', '.join(keys + texts)} FROM {self.relation} WHERE {' AND '.join(where)} ORDER BY {order}"  # noqa: S608
        count = len(keys)
        async for record in self.connection.cursor(sql, prefetch=_ROWS_AHEAD):
            values = tuple(record)
            yield Row(values[:count], values[count:])

    def _key_expression(self, name: str) -> str:
        column, kind = identifier(name), self.kinds[name]
        match kind:
            case "text":
                return f"""rtrim({column}::text, ' ') COLLATE "C" """
            case "bytes":
                return _hexadecimal(column)
            case _:
                return column

    def _text_expression(self, name: str) -> str:
        column = identifier(name)
        match self.kinds[name]:
            case "number":
                return f"trim_scale({column})::text"
            case "text" if name in self.key:
                return f"rtrim({column}::text, ' ')"
            case "bytes":
                return _hexadecimal(column)
            case _:
                return f"{column}::text"


def _hexadecimal(column: str) -> str:
    # bytea prints as \x…; the stand-in's VARBYTE is its digits already
    return f"ltrim({column}::text, '\\x')"


_POSTGRES_KINDS = {
    **dict.fromkeys(("int2", "int4", "int8"), "integer"),
    "numeric": "number",
    **dict.fromkeys(("float4", "float8"), "float"),
    **dict.fromkeys(("json", "jsonb", "super"), "json"),
    **dict.fromkeys(("text", "varchar", "bpchar"), "text"),
    **dict.fromkeys(("bytea", "varbyte"), "bytes"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DuckDbSide:
    """A table (`schema.table`) or a query in a DuckDB file that nobody writes to meanwhile."""

    path: Path
    table: str = ""
    query: str = ""

    @asynccontextmanager
    async def opened(self, key: Sequence[str]) -> AsyncIterator[OpenSide]:
        import duckdb

        connection = await asyncio.to_thread(duckdb.connect, str(self.path), read_only=True)
        try:
            relation = f"({self.query}) AS q" if self.query else ".".join(map(identifier, self.table.split(".")))
            await asyncio.to_thread(connection.execute, "SET TimeZone = 'UTC'")
            described = await asyncio.to_thread(connection.execute, f"SELECT * FROM {relation} LIMIT 0")  # noqa: S608
            kinds = {str(column[0]): _duckdb_kind(str(column[1])) for column in described.description or ()}
            yield _OpenDuckDb(connection=connection, relation=relation, key=tuple(key), kinds=kinds)
        finally:
            connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenDuckDb:
    connection: Any
    relation: str
    key: tuple[str, ...]
    kinds: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    async def rows(self, names: Sequence[str]) -> AsyncGenerator[Row, None]:
        keys = [self._trimmed(name, identifier(name)) for name in self.key]
        texts = [self._text_expression(name) for name in names]
        where = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in self.key)
        order = ", ".join(str(place) for place in range(1, len(keys) + 1))
        sql = f"SELECT {', '.join(keys + texts)} FROM {self.relation} WHERE {where} ORDER BY {order}"  # noqa: S608
        await asyncio.to_thread(self.connection.execute, sql)
        while fetched := await asyncio.to_thread(self.connection.fetchmany, _ROWS_AHEAD):
            for values in fetched:
                yield Row(tuple(values[: len(keys)]), tuple(values[len(keys) :]))

    def _trimmed(self, name: str, expression: str) -> str:
        match self.kinds[name]:
            case "text" if name in self.key:
                return f"rtrim({expression}, ' ')"
            case "bytes":
                return f"lower(hex({expression}))"
            case _:
                return expression

    def _text_expression(self, name: str) -> str:
        column = identifier(name)
        match self.kinds[name]:
            case "nested":
                return f"to_json({column})::VARCHAR"
            case "bytes":
                return self._trimmed(name, column)
            case _:
                return self._trimmed(name, f"{column}::VARCHAR")


def _duckdb_kind(name: str) -> str:
    plain = re.split(r"[(\s]", name.upper())[0]
    if name.endswith("]") or plain in {"STRUCT", "MAP", "LIST", "UNION"}:
        return "nested"
    match plain:
        case "VARCHAR" | "STRING" | "ENUM":
            return "text"
        case "BLOB" | "BINARY":
            return "bytes"
        case _:
            return "other"
