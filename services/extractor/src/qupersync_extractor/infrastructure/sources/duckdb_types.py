"""DuckDB's types and logical types, and what DuckDB's SQL spells in its own way."""

from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.refused import Refusals
from qupersync_extractor.infrastructure.sources.paging_sql import Sql
from qupersync_shared.contracts.infinity import INFINITE_MICROSECONDS
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.positions import Scalar, ScalarKind

# Unsigned integers take the next larger signed one; what is nested travels as JSON, a geometry as WKB.
TYPES: Final[dict[str, LogicalType]] = {
    "boolean": LogicalType(Kind.BOOLEAN),
    "tinyint": LogicalType(Kind.SMALLINT),
    "smallint": LogicalType(Kind.SMALLINT),
    "integer": LogicalType(Kind.INTEGER),
    "bigint": LogicalType(Kind.BIGINT),
    "hugeint": LogicalType(Kind.NUMERIC, 38, 0),
    "uhugeint": LogicalType(Kind.NUMERIC, 38, 0),
    "utinyint": LogicalType(Kind.SMALLINT),
    "usmallint": LogicalType(Kind.INTEGER),
    "uinteger": LogicalType(Kind.BIGINT),
    "ubigint": LogicalType(Kind.NUMERIC, 20, 0),
    "float": LogicalType(Kind.REAL),
    "double": LogicalType(Kind.DOUBLE),
    "varchar": LogicalType(Kind.VARCHAR),
    "enum": LogicalType(Kind.VARCHAR),
    "bit": LogicalType(Kind.VARCHAR),
    "bignum": LogicalType(Kind.VARCHAR),
    "interval": LogicalType(Kind.VARCHAR),
    "blob": LogicalType(Kind.VARBYTE),
    "geometry": LogicalType(Kind.VARBYTE),
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
    "tuple": LogicalType(Kind.SUPER),
    "union": LogicalType(Kind.SUPER),
    "variant": LogicalType(Kind.SUPER),
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
_NESTED: Final = frozenset({"list", "array", "struct", "map", "tuple", "union"})
_WIDEST: Final = LogicalType(Kind.NUMERIC, 38, 0)


def logical_type(name: str, found: Any) -> LogicalType:
    """The logical type of a DuckDBPyType; TerminalError naming the column where there is none."""
    if str(found) == "JSON":
        return LogicalType(Kind.SUPER)
    if found.id == "decimal":
        parameters = dict(found.children)
        return LogicalType(Kind.NUMERIC, parameters["precision"], parameters["scale"])
    known = TYPES.get(found.id)
    if known is None:
        raise TerminalError(
            f"column {name!r} is of type {found}, which cannot travel",
            cure="Leave it out in a query (`query: SELECT …`), or cast it there",
        )
    if found.id in _NESTED and _holds_json(found):
        raise TerminalError(
            f"column {name!r} is of type {found}: DuckDB makes doubles of the numbers of a JSON inside another value",
            cure="In a query, select the JSON as a column of its own, or cast it to VARCHAR where it stands",
        )
    return known


def _holds_json(found: Any) -> bool:
    if found.id not in _NESTED:
        return str(found) == "JSON"
    return any(_holds_json(child) for _, child in found.children if hasattr(child, "id"))


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
            case Kind.NUMERIC if column.type == _WIDEST:
                # A HUGEINT of more digits would come as a decimal that is none, an unsigned one as a negative number.
                return "CAST(" + expression + " AS VARCHAR)"
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


def to_batch(table: pa.Table, schema: RowSchema, *, cursor: str | None = None) -> pa.RecordBatch:
    """DuckDB's Arrow with the contract's types, by position, and those rows told that hold what is lost in them."""
    refusals = Refusals(schema, table.num_rows, cursor=cursor)
    arrays = []
    for column, chunks in zip(schema.columns, table.columns, strict=True):
        values, in_key = chunks.combine_chunks(), column.name in schema.key
        arrays.append(refusals.column(column, partial(_part, values, column, in_key)))
    return refusals.batch(arrays)


def _part(values: pa.Array, column: Column, in_key: bool, start: int, end: int) -> pa.Array:
    return _exact(values.slice(start, end - start), column, in_key=in_key)


def _exact(values: pa.Array, column: Column, *, in_key: bool) -> pa.Array:
    kind = column.type.kind
    if pa.types.is_timestamp(values.type) and values.type.unit != "us":
        exact = _microseconds(values, column.type.arrow)
    elif column.type == _WIDEST:
        # By way of a wider one: of a text with more digits than 38 Arrow makes another number without a word.
        exact = values.cast(pa.decimal256(76, 0)).cast(column.type.arrow, safe=True)
    else:
        exact = values.cast(column.type.arrow, safe=True)
    exact.validate(full=True)
    return pc.utf8_rtrim(exact, characters=" ") if kind is Kind.VARCHAR and in_key else exact


def _microseconds(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Seconds, milliseconds or nanoseconds; infinity is the outermost number of each of them."""
    numbers = values.cast(pa.int64())
    infinite = pc.equal(pc.abs(numbers), INFINITE_MICROSECONDS)
    finite = pc.if_else(infinite, pa.scalar(None, pa.int64()), numbers).cast(values.type).cast(wanted, safe=True)
    return pc.if_else(infinite, numbers, finite.cast(pa.int64())).cast(wanted)
