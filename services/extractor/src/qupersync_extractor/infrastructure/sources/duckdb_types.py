"""DuckDB's types and logical types, and what DuckDB's SQL spells in its own way."""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.infrastructure.sources.paging_sql import Sql
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.positions import Scalar, ScalarKind

# Unsigned integers take the next larger signed one; what is nested travels as JSON.
_TYPES: Final[dict[str, LogicalType]] = {
    "boolean": LogicalType(Kind.BOOLEAN),
    "tinyint": LogicalType(Kind.SMALLINT),
    "smallint": LogicalType(Kind.SMALLINT),
    "integer": LogicalType(Kind.INTEGER),
    "bigint": LogicalType(Kind.BIGINT),
    "hugeint": LogicalType(Kind.NUMERIC, 38, 0),
    "utinyint": LogicalType(Kind.SMALLINT),
    "usmallint": LogicalType(Kind.INTEGER),
    "uinteger": LogicalType(Kind.BIGINT),
    "ubigint": LogicalType(Kind.NUMERIC, 20, 0),
    "float": LogicalType(Kind.REAL),
    "double": LogicalType(Kind.DOUBLE),
    "varchar": LogicalType(Kind.VARCHAR),
    "enum": LogicalType(Kind.VARCHAR),
    "bit": LogicalType(Kind.VARCHAR),
    "interval": LogicalType(Kind.VARCHAR),
    "blob": LogicalType(Kind.VARBYTE),
    "date": LogicalType(Kind.DATE),
    "time": LogicalType(Kind.TIME),
    "time_ns": LogicalType(Kind.TIME),
    "time with time zone": LogicalType(Kind.TIMETZ),
    "timestamp": LogicalType(Kind.TIMESTAMP),
    "timestamp_s": LogicalType(Kind.TIMESTAMP),
    "timestamp_ms": LogicalType(Kind.TIMESTAMP),
    "timestamp_ns": LogicalType(Kind.TIMESTAMP),
    "timestamp with time zone": LogicalType(Kind.TIMESTAMPTZ),
    "uuid": LogicalType(Kind.UUID),
    "list": LogicalType(Kind.SUPER),
    "array": LogicalType(Kind.SUPER),
    "struct": LogicalType(Kind.SUPER),
    "map": LogicalType(Kind.SUPER),
    "union": LogicalType(Kind.SUPER),
}
_BOUND: Final[dict[Kind, str]] = {
    Kind.SMALLINT: "CAST(? AS BIGINT)",
    Kind.INTEGER: "CAST(? AS BIGINT)",
    Kind.BIGINT: "CAST(? AS BIGINT)",
    Kind.BOOLEAN: "CAST(? AS BOOLEAN)",
    Kind.CHAR: "CAST(? AS VARCHAR)",
    Kind.VARCHAR: "CAST(? AS VARCHAR)",
    Kind.DATE: "CAST(? AS DATE)",
    Kind.TIME: "CAST(? AS TIME)",
    Kind.TIMESTAMP: "CAST(? AS TIMESTAMP)",
    Kind.TIMESTAMPTZ: "CAST(? AS TIMESTAMPTZ)",
    Kind.VARBYTE: "unhex(CAST(? AS VARCHAR))",
    Kind.UUID: "CAST(? AS UUID)",
}
_INFINITE: Final = (1 << 63) - 1
_INFINITE_DAYS: Final = (1 << 31) - 1


def logical_type(name: str, found: Any) -> LogicalType:
    """The logical type of a DuckDBPyType; TerminalError naming the column where there is none."""
    if str(found) == "JSON":
        return LogicalType(Kind.SUPER)
    if found.id == "decimal":
        parameters = dict(found.children)
        return LogicalType(Kind.NUMERIC, parameters["precision"], parameters["scale"])
    known = _TYPES.get(found.id)
    if known is None:
        raise TerminalError(
            f"column {name!r} is of type {found}, which cannot travel",
            cure="Leave it out in a query (`query: SELECT …`), or cast it there",
        )
    return known


class DuckDbDialect:
    """Keys compare as their canonical form does: text without trailing blanks, enums as text."""

    def selected(self, expression: str, column: Column) -> str:
        match column.type.kind:
            case Kind.VARCHAR | Kind.TIMETZ:
                return "CAST(" + expression + " AS VARCHAR)"
            case Kind.SUPER:
                # JSON as it was written: to_json would make doubles of its long numbers.
                nested = "CAST(to_json(" + expression + ") AS VARCHAR)"
                written = "CAST(" + expression + " AS VARCHAR)"
                return "CASE WHEN typeof(" + expression + ") = 'JSON' THEN " + written + " ELSE " + nested + " END"
            case Kind.UUID:
                return "unhex(replace(CAST(" + expression + " AS VARCHAR), '-', ''))"
            case _:
                return expression

    def computed(self, expression: str, logical: LogicalType) -> str:  # noqa: ARG002  # the port's signature
        return expression

    def comparable(self, expression: str, logical: LogicalType) -> str:
        if logical.is_text:
            return "rtrim(CAST(" + expression + " AS VARCHAR), ' ')"
        if logical.kind is Kind.NUMERIC:  # else an integer and a decimal might meet as doubles
            return "CAST(" + expression + f" AS DECIMAL({logical.precision},{logical.scale}))"
        return expression

    def bound(self, logical: LogicalType, scalar: Scalar) -> Sql:
        if logical.kind is Kind.NUMERIC:
            return Sql(f"CAST(? AS DECIMAL(38,{logical.scale}))", (scalar.text,))
        text = _BOUND.get(logical.kind)
        if text is None:
            raise TerminalError(f"a {logical.name} cannot be a key or cursor", cure="Choose another key")
        zoned = scalar.kind is ScalarKind.TIMESTAMPTZ
        return Sql(text, (scalar.text.removesuffix("Z") + "+00" if zoned else scalar.text,))


def to_batch(table: pa.Table, columns: tuple[Column, ...], key: tuple[str, ...], schema: pa.Schema) -> pa.RecordBatch:
    """DuckDB's Arrow with the contract's types, by position; TerminalError naming the column of what is lost in it."""
    arrays = []
    for column, chunks in zip(columns, table.columns, strict=True):
        try:
            arrays.append(_exact(chunks.combine_chunks(), column, in_key=column.name in key))
        except (pa.ArrowException, ValueError) as error:
            raise TerminalError(
                f"column {column.name!r} holds what {column.type.name} cannot carry: {error}",
                cure="Mend the value at the source, or leave the column out or cast it in a query",
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _exact(values: pa.Array, column: Column, *, in_key: bool) -> pa.Array:
    exact = values.cast(column.type.arrow, safe=True)
    exact.validate(full=True)
    match column.type.kind:
        case Kind.VARCHAR if in_key:
            return pc.utf8_rtrim(exact, characters=" ")
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            _refuse_infinity(exact.cast(pa.int64()), _INFINITE)
        case Kind.DATE:
            _refuse_infinity(exact.cast(pa.int32()), _INFINITE_DAYS)
        case _:
            pass
    return exact


def _refuse_infinity(values: pa.Array, infinite: int) -> None:
    if pc.any(pc.or_(pc.equal(values, infinite), pc.equal(values, -infinite))).as_py():
        raise ValueError("infinity is not a moment")
