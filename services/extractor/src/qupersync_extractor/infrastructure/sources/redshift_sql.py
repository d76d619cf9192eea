"""What Redshift's SQL spells in its own way."""

from importlib.resources import files
from typing import Final

from qupersync_extractor.infrastructure.sources.paging_sql import Sql
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import Kind, LogicalType
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.positions import Scalar, ScalarKind

# The driver spoils these (TIME is off by a microsecond, old dates shift, far timestamps are clamped): read as text.
AS_TEXT: Final = frozenset({Kind.DATE, Kind.TIME, Kind.TIMETZ, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})

# VARCHAR alone would be VARCHAR(256) and cut longer values silently.
_BOUND: Final[dict[Kind, str]] = {
    Kind.SMALLINT: "CAST(? AS BIGINT)",
    Kind.INTEGER: "CAST(? AS BIGINT)",
    Kind.BIGINT: "CAST(? AS BIGINT)",
    Kind.BOOLEAN: "CAST(? AS BOOLEAN)",
    Kind.CHAR: "CAST(? AS VARCHAR(65535))",
    Kind.VARCHAR: "CAST(? AS VARCHAR(65535))",
    Kind.DATE: "CAST(? AS DATE)",
    Kind.TIME: "CAST(? AS TIME)",
    Kind.TIMESTAMP: "CAST(? AS TIMESTAMP)",
    Kind.TIMESTAMPTZ: "CAST(? AS TIMESTAMPTZ)",
    Kind.VARBYTE: "TO_VARBYTE(CAST(? AS VARCHAR(65535)), 'hex')",
}


def _file(name: str) -> str:
    """A statement of ours, without the comments that lead it."""
    lines = (files(__package__) / name).read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))


CLOCK: Final = _file("redshift_clock.sql")
CLOCK_ALONE: Final = _file("redshift_clock_alone.sql")


class RedshiftDialect:
    """`cast` names the columns that need a CAST to text although their logical type is text.

    Comparisons need nothing special: Redshift itself ignores trailing blanks in them, as the canonical form does.
    """

    def __init__(self, cast: frozenset[str] = frozenset()) -> None:
        self._cast = cast

    def selected(self, expression: str, column: Column) -> str:
        if column.type.kind in AS_TEXT or column.name in self._cast:
            return "CAST(" + expression + " AS VARCHAR(64))"
        return expression

    def computed(self, expression: str, logical: LogicalType) -> str:
        if logical.kind is Kind.NUMERIC:  # without a CAST it may come back without precision and scale
            return "CAST(" + expression + f" AS NUMERIC({logical.precision},{logical.scale}))"
        return expression

    def comparable(self, expression: str, logical: LogicalType) -> str:  # noqa: ARG002  # the port's signature
        return expression

    def bound(self, logical: LogicalType, scalar: Scalar) -> Sql:
        if logical.kind is Kind.NUMERIC:
            return Sql(f"CAST(? AS NUMERIC(38,{logical.scale}))", (scalar.text,))
        text = _BOUND.get(logical.kind)
        if text is None:
            raise TerminalError(f"a {logical.name} cannot be a key or cursor at Redshift", cure="Choose another key")
        return Sql(text, (time_text(scalar),))


def time_text(scalar: Scalar) -> str:
    """A canonical value as PostgreSQL's and Redshift's input takes it: zones as +00, years before 1 as BC."""
    text = scalar.text
    if scalar.kind is ScalarKind.TIMESTAMPTZ:
        text = text.removesuffix("Z") + "+00"
    if scalar.kind in {ScalarKind.DATE, ScalarKind.TIMESTAMP, ScalarKind.TIMESTAMPTZ}:
        year, _, rest = text[1:].partition("-") if text.startswith("-") else text.partition("-")
        number = -int(year) if text.startswith("-") else int(year)
        if number < 1:
            return f"{1 - number:04d}-{rest} BC"
    return text


def literal(text: str) -> str:
    """A string literal, for SET, which takes no placeholders."""
    return "'" + text.replace("\\", "").replace("'", "''") + "'"
