"""The statements of a preflight and of a sample: one builder for every SQL source.

A bound stands in a derived table (`… LIMIT n`), so that the engine stops there; what counts stands around it.
"""

from collections.abc import Callable, Sequence

from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.sources.paging_sql import Dialect, Sql, quoted, source_of
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType

TextOf = Callable[[str, LogicalType], str]
"""How an expression of a type becomes the text that is hashed."""


def key_look_statement(relation: Relation, key: Sequence[Column], dialect: Dialect, rows_max: int | None) -> Sql:
    """Rows looked at, in key order, and keys that stand in more than one of them."""
    compared = [dialect.comparable(_reference(column), column.type) for column in key]
    names = [f"k{number}" for number in range(len(key))]
    seen = _bounded(
        selected=[f"{text} AS {name}" for text, name in zip(compared, names, strict=True)],
        relation=relation,
        present=key,
        order=", ".join(compared),
        rows_max=rows_max,
    )
    return Sql(
        "SELECT CAST(COALESCE(SUM(copies), 0) AS BIGINT), "
        "CAST(COALESCE(SUM(CASE WHEN copies > 1 THEN 1 ELSE 0 END), 0) AS BIGINT)\n"
        f"FROM (\nSELECT COUNT(*) AS copies\nFROM (\n{seen}\n) AS seen\nGROUP BY {', '.join(names)}\n) AS keys"
    )


def null_look_statement(relation: Relation, columns: Sequence[str], rows_max: int | None) -> Sql:
    """Rows looked at, in no order, then how many of them hold NULL in each column."""
    selected = [f"q.{quoted(name)} AS c{number}" for number, name in enumerate(columns)]
    counts = ["COUNT(*)", *(f"COUNT(*) - COUNT(seen.c{number})" for number in range(len(columns)))]
    seen = _bounded(selected=selected, relation=relation, present=(), order="", rows_max=rows_max)
    return Sql(f"SELECT {', '.join(counts)}\nFROM (\n{seen}\n) AS seen")


def cursor_look_statement(
    relation: Relation, cursor: Column, dialect: Dialect, rows_max: int | None, *, crowd: int
) -> Sql:
    """Rows looked at, the greatest first; the size of the largest group of equal values, and rows in groups > crowd."""
    compared = dialect.comparable(_reference(cursor), cursor.type)
    seen = _bounded(
        selected=[f"{compared} AS c"],
        relation=relation,
        present=(cursor,),
        order=f"{compared} DESC",
        rows_max=rows_max,
    )
    return Sql(
        "SELECT CAST(COALESCE(SUM(copies), 0) AS BIGINT), CAST(COALESCE(MAX(copies), 0) AS BIGINT), "
        f"CAST(COALESCE(SUM(CASE WHEN copies > {int(crowd)} THEN copies ELSE 0 END), 0) AS BIGINT)\n"
        f"FROM (\nSELECT COUNT(*) AS copies\nFROM (\n{seen}\n) AS seen\nGROUP BY c\n) AS values_seen"
    )


def sample_statement(relation: Relation, key: RowSchema, dialect: Dialect, text_of: TextOf, limit: int) -> Sql:
    """The keys of the rows with the least MD5s.

    Of a key of several columns the MD5s are joined and hashed again: the lengths of the texts must not matter.
    """
    digests = [f"MD5({text_of(_reference(column), column.type)})" for column in key.key_columns]
    digest = digests[0] if len(digests) == 1 else f"MD5({' || '.join(digests)})"
    selected = ", ".join(dialect.selected(_reference(column), column) for column in key.columns)
    present = " AND ".join(f"{_reference(column)} IS NOT NULL" for column in key.key_columns)
    return Sql(f"SELECT {selected}\nFROM {source_of(relation)}\nWHERE {present}\nORDER BY {digest}\nLIMIT {int(limit)}")


def _bounded(
    *, selected: Sequence[str], relation: Relation, present: Sequence[Column], order: str, rows_max: int | None
) -> str:
    """The rows that are looked at; in order only where there is a bound, for which the order decides."""
    parts = [f"SELECT {', '.join(selected)}", f"FROM {source_of(relation)}"]
    if present:
        parts.append("WHERE " + " AND ".join(f"{_reference(column)} IS NOT NULL" for column in present))
    if rows_max is not None:
        parts += [*([f"ORDER BY {order}"] if order else []), f"LIMIT {int(rows_max)}"]
    return "\n".join(parts)


def _reference(column: Column) -> str:
    return "q." + quoted(column.name)
