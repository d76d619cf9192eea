"""The type map: Redshift and DuckDB → logical type → Arrow → PostgreSQL. One table, used by every part.

A logical type travels as its name in the Arrow field's metadata (`qupersync.type`), so that a reader of events knows
what a column was at the source. What PostgreSQL's binary COPY cannot carry (`super`, `timetz`) travels as text and is
cast in the INSERT. Arrow is imported when a column is first to be carried: names of types are read by commands, too.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final

from qupersync_shared.kernel.positions import ScalarKind

if TYPE_CHECKING:
    import pyarrow as pa

NUMERIC_PRECISION_MAX: Final = 38


class Kind(StrEnum):
    """The kinds of logical types; wire names, part of the contract."""

    SMALLINT = "smallint"
    INTEGER = "integer"
    BIGINT = "bigint"
    REAL = "real"
    DOUBLE = "double"
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CHAR = "char"
    VARCHAR = "varchar"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    TIME = "time"
    TIMETZ = "timetz"
    SUPER = "super"
    VARBYTE = "varbyte"
    UUID = "uuid"


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the type map: PostgreSQL column type, what staging holds, and the key's scalar kind."""

    postgres: str
    staging: str
    scalar: ScalarKind | None


_MAP: Final[dict[Kind, _Row]] = {
    Kind.SMALLINT: _Row("smallint", "smallint", ScalarKind.INT),
    Kind.INTEGER: _Row("integer", "integer", ScalarKind.INT),
    Kind.BIGINT: _Row("bigint", "bigint", ScalarKind.INT),
    Kind.REAL: _Row("real", "real", None),
    Kind.DOUBLE: _Row("double precision", "double precision", None),
    Kind.BOOLEAN: _Row("boolean", "boolean", ScalarKind.BOOLEAN),
    Kind.CHAR: _Row("text", "text", ScalarKind.TEXT),
    Kind.VARCHAR: _Row("text", "text", ScalarKind.TEXT),
    Kind.DATE: _Row("date", "date", ScalarKind.DATE),
    Kind.TIMESTAMP: _Row("timestamp without time zone", "timestamp without time zone", ScalarKind.TIMESTAMP),
    Kind.TIMESTAMPTZ: _Row("timestamp with time zone", "timestamp with time zone", ScalarKind.TIMESTAMPTZ),
    Kind.TIME: _Row("time without time zone", "time without time zone", ScalarKind.TIME),
    Kind.TIMETZ: _Row("time with time zone", "text", None),
    Kind.SUPER: _Row("jsonb", "text", None),
    Kind.VARBYTE: _Row("bytea", "bytea", ScalarKind.BYTES),
    Kind.UUID: _Row("uuid", "uuid", ScalarKind.UUID),
}


@cache
def _arrow_types() -> "dict[Kind, pa.DataType]":
    """The Arrow type that carries each kind; `numeric` has parameters."""
    import pyarrow as pa

    return {
        Kind.SMALLINT: pa.int16(),
        Kind.INTEGER: pa.int32(),
        Kind.BIGINT: pa.int64(),
        Kind.REAL: pa.float32(),
        Kind.DOUBLE: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.CHAR: pa.string(),
        Kind.VARCHAR: pa.string(),
        Kind.DATE: pa.date32(),
        Kind.TIMESTAMP: pa.timestamp("us"),
        Kind.TIMESTAMPTZ: pa.timestamp("us", "UTC"),
        Kind.TIME: pa.time64("us"),
        Kind.TIMETZ: pa.string(),
        Kind.SUPER: pa.string(),
        Kind.VARBYTE: pa.binary(),
        Kind.UUID: pa.binary(16),
    }


_NAME = re.compile(r"(?P<kind>[a-z]+)(?:\((?P<first>\d+)(?:,(?P<second>\d+))?\))?")


@dataclass(frozen=True, slots=True)
class LogicalType:
    """A column's type as the contract names it, for instance `numeric(18,6)` or `varchar`.

    Only `numeric` has parameters: 1 ≤ precision ≤ 38, 0 ≤ scale ≤ precision. ValueError otherwise.
    """

    kind: Kind
    precision: int | None = None
    scale: int | None = None

    def __post_init__(self) -> None:
        if self.kind is not Kind.NUMERIC:
            if self.precision is not None or self.scale is not None:
                raise ValueError(f"{self.kind} takes no precision or scale")
            return
        if self.precision is None or self.scale is None:
            raise ValueError("numeric needs precision and scale")
        if not (1 <= self.precision <= NUMERIC_PRECISION_MAX and 0 <= self.scale <= self.precision):
            raise ValueError(
                f"numeric({self.precision},{self.scale}) is out of range: precision 1-38, scale 0-precision"
            )

    @property
    def name(self) -> str:
        """The wire name; `LogicalType.parse(t.name) == t`."""
        return f"numeric({self.precision},{self.scale})" if self.kind is Kind.NUMERIC else self.kind.value

    @classmethod
    def parse(cls, name: str) -> "LogicalType":
        """The type with this wire name; ValueError if there is none."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"not a logical type: {name!r}")
        first, second = match["first"], match["second"]
        return cls(Kind(match["kind"]), int(first) if first else None, int(second) if second else None)

    @property
    def arrow(self) -> "pa.DataType":
        """The Arrow type that carries it."""
        if self.kind is Kind.NUMERIC:
            import pyarrow as pa

            return pa.decimal128(self.precision, self.scale)
        return _arrow_types()[self.kind]

    @property
    def postgres(self) -> str:
        """The PostgreSQL type of a target column made for it, as `format_type` prints it."""
        return self.name if self.kind is Kind.NUMERIC else _MAP[self.kind].postgres

    @property
    def staging(self) -> str:
        """The PostgreSQL type of the staging column that binary COPY fills."""
        return self.name if self.kind is Kind.NUMERIC else _MAP[self.kind].staging

    @property
    def needs_cast(self) -> bool:
        """Whether the INSERT casts the staged text to the target's type."""
        return self.staging != self.postgres

    @property
    def scalar(self) -> ScalarKind | None:
        """How a key or cursor of this type is written in canonical form; None where it may be neither."""
        return ScalarKind.NUMERIC if self.kind is Kind.NUMERIC else _MAP[self.kind].scalar

    @property
    def is_text(self) -> bool:
        """Whether trailing blanks do not count in comparisons, and a target key column is `COLLATE "C"`."""
        return self.kind in (Kind.CHAR, Kind.VARCHAR)
