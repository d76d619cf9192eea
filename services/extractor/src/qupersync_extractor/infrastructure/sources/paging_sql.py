"""SELECT statements for bounded reads: one builder for every SQL source, with what differs left to a dialect.

Values are bound as text and cast by the statement; names are quoted in `quoted` and nowhere else. The placeholder is
`?`: valid Redshift and DuckDB SQL holds none outside of literals, while `%` (modulo) is common in operators' queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from qupersync_extractor.application.ports import CursorRange, KeyList, KeyRange, ReadRequest
from qupersync_extractor.domain.pipeline import Relation, SourceEntity, SourceTable
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.positions import Key, KeyBound, Position, Scalar

VALUES_MAX: Final = 32_000


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of a statement, or a whole one, and the values of its placeholders in order."""

    text: str
    values: tuple[str, ...] = ()


class Dialect(Protocol):
    """What a source spells in its own way."""

    def selected(self, expression: str, column: Column) -> str:
        """How a value is selected, so that it arrives exactly."""
        ...

    def computed(self, expression: str, logical: LogicalType) -> str:
        """An aggregate over a column, with the column's type again."""
        ...

    def comparable(self, expression: str, logical: LogicalType) -> str:
        """How a key or cursor column is compared and ordered: as its canonical form compares."""
        ...

    def bound(self, logical: LogicalType, scalar: Scalar) -> Sql:
        """A canonical value as a placeholder of the column's type."""
        ...


def quoted(name: str) -> str:
    """An identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def source_of(relation: Relation) -> str:
    """What stands after FROM; the relation's alias is q."""
    if isinstance(relation, SourceTable):
        return quoted(relation.schema) + "." + quoted(relation.name) + " AS q"
    if isinstance(relation, SourceEntity):
        raise TerminalError(f"{relation} cannot be read from this source", cure="It needs a Redshift source")
    return "(\n" + relation.sql.strip().rstrip(";") + "\n) AS q"  # the line break ends a comment


def describe_statement(relation: Relation) -> Sql:
    """No rows, but their description."""
    return Sql(_lines("SELECT *", "FROM", source_of(relation), "WHERE 1 = 0"))


def page_statement(request: ReadRequest, dialect: Dialect) -> Sql:
    """At most `limit` rows of the range, in its order; ValueError for a key list that no statement can hold.

    The limit stands in the text: Redshift refuses a placeholder there ("IsA(cons, Const)",
    aws/amazon-redshift-python-driver#24).
    """
    schema = request.schema
    order = list(schema.key_columns)
    conditions = [Sql(_reference(column) + " IS NOT NULL") for column in schema.key_columns]
    match request.range:
        case CursorRange() as wanted:
            cursor = schema.column(wanted.cursor)
            order.insert(0, cursor)
            conditions += _cursor_conditions(wanted, cursor, schema, dialect)
        case KeyRange() as wanted:
            conditions += key_conditions(wanted, schema, dialect)
        case KeyList() as wanted:
            conditions.append(_listed(wanted.keys, schema, dialect))
    where = _joined(conditions, " AND ")
    columns = ", ".join(dialect.selected(_reference(column), column) for column in schema.columns)
    ordered = ", ".join(dialect.comparable(_reference(column), column.type) for column in order)
    text = _lines(
        *("SELECT", columns),
        *("FROM", source_of(request.relation)),
        *("WHERE", where.text),
        *("ORDER BY", ordered),
        *("LIMIT", str(int(request.limit))),
    )
    return Sql(text, where.values)


def highest_statement(relation: Relation, column: Column, dialect: Dialect) -> Sql:
    """The greatest value of a column."""
    greatest = dialect.computed("MAX(" + _reference(column) + ")", column.type)
    return Sql(_lines("SELECT", dialect.selected(greatest, column), "FROM", source_of(relation)))


def nulls_statement(relation: Relation, columns: Sequence[str]) -> Sql:
    """How many NULLs each column holds, in one scan."""
    counts = ", ".join("COUNT(*) - COUNT(q." + quoted(name) + ")" for name in columns)
    return Sql(_lines("SELECT", counts, "FROM", source_of(relation)))


def duplicates_statement(relation: Relation, key: Sequence[Column], dialect: Dialect) -> Sql:
    """How many keys without NULL stand in more than one row."""
    names = ", ".join(dialect.comparable(_reference(column), column.type) for column in key)
    present = " AND ".join(_reference(column) + " IS NOT NULL" for column in key)
    grouped = _lines(
        "SELECT COUNT(*) AS copies",
        *("FROM", source_of(relation)),
        *("WHERE", present),
        *("GROUP BY", names),
        "HAVING COUNT(*) > 1",
    )
    return Sql(_lines("SELECT COUNT(*)", "FROM (", grouped, ") AS doubled"))


def _lines(*parts: str) -> str:
    return "\n".join(parts)


def _reference(column: Column) -> str:
    return "q." + quoted(column.name)


def _joined(parts: Sequence[Sql], separator: str) -> Sql:
    return Sql(separator.join(part.text for part in parts), tuple(v for part in parts for v in part.values))


def _compare(column: Column, operator: str, scalar: Scalar, dialect: Dialect) -> Sql:
    value = dialect.bound(column.type, scalar)
    return Sql(dialect.comparable(_reference(column), column.type) + f" {operator} " + value.text, value.values)


def _beyond(columns: Sequence[Column], key: Key, operator: str, last: str, dialect: Dialect) -> Sql:
    """`columns operator key` as a whole, column by column: Redshift's row-value comparison cannot be trusted."""
    if len(columns) == 1:
        return _compare(columns[0], last, key[0], dialect)
    rest = _beyond(columns[1:], key[1:], operator, last, dialect)
    strictly = _compare(columns[0], operator, key[0], dialect)
    equal = _compare(columns[0], "=", key[0], dialect)
    return Sql(f"({strictly.text} OR ({equal.text} AND {rest.text}))", (*strictly.values, *equal.values, *rest.values))


def _bounded(columns: Sequence[Column], key: Key, operator: str, last: str, dialect: Dialect) -> list[Sql]:
    """The same, led by a bound on the first column alone, by which zone maps prune."""
    if len(key) != len(columns):
        raise ValueError(f"a key of {len(key)} values for {len(columns)} key columns")
    whole = _beyond(columns, key, operator, last, dialect)
    return [whole] if len(columns) == 1 else [_compare(columns[0], operator + "=", key[0], dialect), whole]


def key_conditions(wanted: KeyRange, schema: RowSchema, dialect: Dialect) -> list[Sql]:
    """What holds of the rows in a range of keys."""
    conditions = []
    if wanted.after is not None:
        conditions += _bounded(schema.key_columns, wanted.after, ">", ">", dialect)
    if wanted.upto is not None:
        conditions += _bounded(schema.key_columns, wanted.upto, "<", "<=", dialect)
    return conditions


def _cursor_conditions(wanted: CursorRange, cursor: Column, schema: RowSchema, dialect: Dialect) -> list[Sql]:
    conditions = [Sql(_reference(cursor) + " IS NOT NULL"), _compare(cursor, "<=", wanted.upto, dialect)]
    match wanted.after:
        case None:
            pass
        case Position(cursor=value, key=KeyBound.LOWEST):
            conditions.append(_compare(cursor, ">=", value, dialect))
        case Position(cursor=value, key=KeyBound.HIGHEST):
            conditions.append(_compare(cursor, ">", value, dialect))
        case Position(cursor=value, key=tuple() as key):
            conditions += _bounded((cursor, *schema.key_columns), (value, *key), ">", ">", dialect)
    return conditions


def _listed(keys: tuple[Key, ...], schema: RowSchema, dialect: Dialect) -> Sql:
    """The keys, the last one repeated up to a power of two: so few statement texts stand for lists of any length."""
    columns = schema.key_columns
    count = 1 << max(0, len(keys) - 1).bit_length()
    if not keys or count * len(columns) > VALUES_MAX:
        raise ValueError(f"a read by key takes 1 to {keys_max(schema)} keys, not {len(keys)}")
    padded = keys + keys[-1:] * (count - len(keys))
    if len(columns) == 1:
        values = _joined([dialect.bound(columns[0].type, key[0]) for key in padded], ", ")
        return Sql(dialect.comparable(_reference(columns[0]), columns[0].type) + f" IN ({values.text})", values.values)
    one = [
        _joined([_compare(c, "=", v, dialect) for c, v in zip(columns, key, strict=True)], " AND ") for key in padded
    ]
    either = _joined([Sql(f"({part.text})", part.values) for part in one], " OR ")
    return Sql(f"({either.text})", either.values)


def keys_max(schema: RowSchema) -> int:
    """How many keys one read by key takes."""
    return 1 << ((VALUES_MAX // len(schema.key)).bit_length() - 1)
