"""Redshift's types, as the driver's row description names them (OID and type modifier), and their logical types.

The row description is the same for tables, late-binding views and queries, where the catalogue is not. Where
`NUMERIC` has no modifier (-1: a computed value), its scale is unknown to the driver too, which then decodes garbage;
guessing Redshift's default of (18,0) would drop digits. Such a column is refused: it needs a CAST in a query.
"""

from dataclasses import dataclass
from typing import Final

from redshift_connector.utils.oids import RedshiftOID

from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import TerminalError

NUMERIC: Final = 1700
_MODIFIER_HEADER: Final = 4

KINDS: Final[dict[int, Kind]] = {
    16: Kind.BOOLEAN,
    18: Kind.CHAR,  # "char", in system tables
    19: Kind.VARCHAR,  # name, in system tables
    20: Kind.BIGINT,
    21: Kind.SMALLINT,
    23: Kind.INTEGER,
    25: Kind.VARCHAR,
    26: Kind.BIGINT,  # oid, in system tables
    700: Kind.REAL,
    701: Kind.DOUBLE,
    705: Kind.VARCHAR,  # unknown: a literal in a query
    1042: Kind.CHAR,
    1043: Kind.VARCHAR,
    1082: Kind.DATE,
    1083: Kind.TIME,
    1114: Kind.TIMESTAMP,
    1184: Kind.TIMESTAMPTZ,
    1186: Kind.VARCHAR,  # interval
    1188: Kind.VARCHAR,  # interval year to month
    1190: Kind.VARCHAR,  # interval day to second
    1266: Kind.TIMETZ,
    3000: Kind.VARCHAR,  # geometry: EWKB in hexadecimal, as the server writes it
    3001: Kind.VARCHAR,  # geography: the same
    3999: Kind.VARCHAR,
    4000: Kind.SUPER,
    6551: Kind.VARBYTE,
}
_AS_TEXT: Final = frozenset({1186, 1188, 1190})


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedColumn:
    """One column of a row description."""

    name: str
    oid: int
    modifier: int

    @property
    def needs_cast(self) -> bool:
        """Whether only a CAST to text makes it readable, though its logical type is text."""
        return self.oid in _AS_TEXT


def logical_type(column: DescribedColumn) -> LogicalType:
    """The column's logical type; TerminalError naming the column where there is none."""
    if column.oid == NUMERIC:
        return _numeric(column)
    kind = KINDS.get(column.oid)
    if kind is None:
        raise TerminalError(
            f"column {column.name!r} is of type {_type_name(column.oid)}, which cannot travel",
            cure="Leave it out in a query (`query: SELECT …`), or cast it there",
        )
    return LogicalType(kind)


def _numeric(column: DescribedColumn) -> LogicalType:
    if column.modifier < _MODIFIER_HEADER:
        raise TerminalError(
            f"column {column.name!r} is a NUMERIC without precision and scale",
            cure="Cast it in a query: CAST(… AS NUMERIC(38,6))",
        )
    packed = column.modifier - _MODIFIER_HEADER
    try:
        return LogicalType(Kind.NUMERIC, packed >> 16, packed & 0xFFFF)
    except ValueError as error:
        raise TerminalError(f"column {column.name!r}: {error}", cure="Cast it in a query") from error


def _type_name(oid: int) -> str:
    try:
        return str(RedshiftOID(oid).name)
    except ValueError:
        return f"number {oid} (HLLSKETCH and other types without a driver type)"
