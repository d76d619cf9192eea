"""The generated statements of one target table and one schema: staging, upsert and deletes. Pure text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from qupersync_loader.domain.pipeline import DeletePolicy
from qupersync_loader.infrastructure.postgres.names import (
    DELETED_AT,
    GONE,
    PLACE,
    ROW,
    SEQUENCE,
    SLOT,
    SYNCED_AT,
    listed,
    quote,
    quote_table,
)
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.positions import ScalarKind

_BINARY: Final = ' COLLATE "C"'


@dataclass(frozen=True)  # not slotted: the texts are made once and kept
class Statements:
    """Every text whose shape depends on table and schema. Parameters are the driver's.

    Of the upsert: $1 the sequence; $2 and $3, where staged rows are taken in part, the first and last tid as text.
    `marks`: the table has `_qs_deleted_at`, though rows are not marked any more; whatever returns loses its mark.
    `emptied`: columns that the source had once, and that are NULL in every row it still speaks of.
    """

    schema_name: str
    table_name: str
    schema: RowSchema
    deletes: DeletePolicy
    marks: bool = False
    emptied: tuple[str, ...] = ()

    # ------------------------------------------------------------------------------------------------ staging

    @cached_property
    def staging_name(self) -> str:
        return "_qs_stage_" + self.schema.fingerprint.rpartition(":")[2]

    @cached_property
    def create_staging(self) -> str:
        """A table of this session with exactly the event's types: binary COPY checks none."""
        columns = [f"{quote(c.name)} {self._staging_type(c)}" for c in self.schema.columns]
        columns += [f"{SLOT} smallint", f"{GONE} boolean", f"{ROW} integer"]
        return f"CREATE TEMP TABLE IF NOT EXISTS {self._stage} ({', '.join(columns)}) ON COMMIT DELETE ROWS"

    @cached_property
    def staged_places(self) -> str:
        """The tids of staged rows as text, in order, and each row's index: after a rollback the two orders differ."""
        # Qualified, because a bare `ctid` would mean the text of the output: '(0,10)' before '(0,2)'.
        return f"SELECT s.ctid::text, s.{ROW} FROM {self._stage} AS s ORDER BY s.ctid"  # noqa: S608  # quoted

    @property
    def _stage(self) -> str:
        return f"pg_temp.{quote(self.staging_name)}"

    def _staging_type(self, column: Column) -> str:
        return column.type.staging + (_BINARY if column.type.is_text and column.name in self.schema.key else "")

    # ------------------------------------------------------------------------------------------------- upsert

    @cached_property
    def upsert(self) -> str:
        """All staged rows that are not gone."""
        return self._upsert("")

    @cached_property
    def upsert_part(self) -> str:
        """Staged rows between two tids, both included."""
        return self._upsert(" AND s.ctid BETWEEN $2::text::tid AND $3::text::tid")

    def _upsert(self, part: str) -> str:
        names = [*self.schema.names, *self.emptied]
        values = [*(self._value(column) for column in self.schema.columns), *("NULL" for _ in self.emptied)]
        insert = f"{listed(names)}, {SLOT}, {SEQUENCE}, {SYNCED_AT}"
        others = [column for column in self.schema.columns if column.name not in self.schema.key]
        written = [*(column.name for column in others), *self.emptied, SLOT, SEQUENCE, SYNCED_AT]
        sets = [f"{quote(name)} = excluded.{quote(name)}" for name in written]
        old = [*(exact("t", column) for column in others), f"t.{SLOT}"]
        new = [*(exact("excluded", column) for column in others), f"excluded.{SLOT}"]
        if self.marks or self.deletes is DeletePolicy.SOFT:
            sets.append(f"{DELETED_AT} = NULL")
            old.append(f"t.{DELETED_AT}")
            new.append("NULL")
        left = "".join(f" OR t.{quote(name)} IS NOT NULL" for name in self.emptied)
        return (
            f"INSERT INTO {self._table} AS t ({insert}) "  # noqa: S608  # quoted
            f"SELECT {', '.join(values)}, s.{SLOT}, $1::bigint, now() FROM {self._stage} AS s "
            f"WHERE s.{GONE} IS NOT TRUE{part} "
            f"ON CONFLICT ({listed(self.schema.key)}) DO UPDATE SET {', '.join(sets)} "
            f"WHERE ({', '.join(old)}) IS DISTINCT FROM ({', '.join(new)}){left}"
        )

    def _value(self, column: Column) -> str:
        cast = f"::{column.type.postgres}" if column.type.needs_cast else ""
        return f"s.{quote(column.name)}{cast}"

    @property
    def _table(self) -> str:
        return quote_table(self.schema_name, self.table_name)

    def vacate(self, columns: Sequence[str]) -> str:
        """Empties columns of rows that are to have other values there, so that no row stands in another's way."""
        empty = ", ".join(f"{quote(name)} = NULL" for name in columns)
        old = ", ".join(exact("t", self.schema.column(name)) for name in columns)
        new = ", ".join(self._value(self.schema.column(name)) for name in columns)
        return (
            f"UPDATE {self._table} AS t SET {empty} FROM {self._stage} AS s "  # noqa: S608  # quoted
            f"WHERE s.{GONE} IS NOT TRUE AND {self._same_key('s')} AND ROW({old}) IS DISTINCT FROM ROW({new})"
        )

    @cached_property
    def written(self) -> str:
        """How many of some staged rows ($2, by their indexes) this transaction wrote: $1 the sequence."""
        return (
            f"SELECT count(*) FROM {self._stage} AS s JOIN {self._table} AS t ON {self._same_key('s')} "  # noqa: S608
            f"WHERE s.{ROW} = ANY ($2::integer[]) AND t.{SEQUENCE} = $1::bigint AND t.{SYNCED_AT} = now()"
        )

    # ------------------------------------------------------------------------------------------------ deletes

    @cached_property
    def remove_gone(self) -> str | None:
        """Takes away what a reread found gone: $1 the sequence."""
        return self._remove(f"EXISTS (SELECT FROM {self._stage} AS s WHERE s.{GONE} AND {self._same_key('s')})")

    def remove_range(self, *, after: int, upto: int, present: bool) -> str | None:
        """Takes away what the range of a page that covers one no longer has in one lane.

        $1 the sequence, $2 lanes, $3 lane, then the texts of the lower bound, of the upper bound, and one text array
        per key column of keys that count as present. `after` and `upto` say how many columns a bound has; 0: there is
        none. None where the policy is to keep everything.
        """
        condition, number = self._range("t", 4, after=after, upto=upto)
        condition = f"mod(t.{SLOT}, $2::integer) = $3::integer{condition}"
        condition += f" AND NOT EXISTS (SELECT FROM {self._stage} AS s WHERE {self._same_key('s')})"
        if present:
            condition += f" AND NOT EXISTS (SELECT FROM {self._keys('k', number)} WHERE {self._same_key('k')})"
        return self._remove(condition)

    def _remove(self, condition: str) -> str | None:
        match self.deletes:
            case DeletePolicy.APPLY:
                # The sequence is not used, but all policies take the same parameters.
                return f"DELETE FROM {self._table} AS t WHERE $1::bigint IS NOT NULL AND {condition}"  # noqa: S608
            case DeletePolicy.SOFT:
                return (
                    f"UPDATE {self._table} AS t SET {DELETED_AT} = now(), {SYNCED_AT} = now(), {SEQUENCE} = $1::bigint "  # noqa: S608
                    f"WHERE t.{DELETED_AT} IS NULL AND {condition}"
                )
            case DeletePolicy.KEEP:
                return None

    def _range(self, alias: str, number: int, *, after: int, upto: int) -> tuple[str, int]:
        """The condition, and the number of the first parameter behind it. Row comparison is a btree's own order."""
        condition = ""
        for width, operator in ((after, ">"), (upto, "<=")):
            if width:
                columns = self.schema.key_columns[:width]
                bounds = [parameter(column, f"${number + i}::text") for i, column in enumerate(columns)]
                own = ", ".join(exact(alias, column) for column in columns)
                condition += f" AND ({own}) {operator} ({', '.join(bounds)})"
                number += width
        return condition, number

    def _keys(self, alias: str, number: int) -> str:
        """Key arrays as a relation with the key's own column names and types."""
        columns = self.schema.key_columns
        arrays = ", ".join(f"${number + i}::text[]" for i in range(len(columns)))
        raw = ", ".join(f"c{i}" for i in range(len(columns)))
        typed = ", ".join(f"{parameter(c, f'r.c{i}')} AS {quote(c.name)}" for i, c in enumerate(columns))
        listing = f"unnest({arrays}) WITH ORDINALITY AS r ({raw}, {PLACE})"
        return f"(SELECT {typed}, r.{PLACE} FROM {listing}) AS {alias}"  # noqa: S608  # quoted

    def _same_key(self, alias: str) -> str:
        own = [exact("t", column) for column in self.schema.key_columns]
        other = [exact(alias, column) for column in self.schema.key_columns]
        return " AND ".join(f"{one} = {two}" for one, two in zip(own, other, strict=True))


def exact(alias: str, column: Column) -> str:
    """A column compared byte by byte: a case-insensitive collation must not hide a change.

    Floating-point numbers compare as they do in both databases: -0.0 equals 0.0, though their texts differ, and a
    row that differs in nothing else is not rewritten.
    """
    return f"{alias}.{quote(column.name)}{_BINARY if column.type.is_text else ''}"


def parameter(column: Column, text: str) -> str:
    """A key's canonical text as a value of the column's type."""
    logical: LogicalType = column.type
    if logical.scalar is ScalarKind.BYTES:
        return f"decode({text}, 'hex')"
    return f"({text}{_BINARY})" if logical.is_text else f"CAST({text} AS {logical.postgres})"
