"""The generated statements over both tables' rows: checksums, differing keys, merging. Pure text."""

from dataclasses import dataclass
from typing import Final

from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_loader.infrastructure.postgres.key_text import fitted_key_text
from qupersync_loader.infrastructure.postgres.names import (
    DELETED_AT,
    PLACE,
    SEQUENCE,
    SLOT,
    SYNCED_AT,
    listed,
    quote,
)
from qupersync_loader.infrastructure.postgres.statements import exact, parameter
from qupersync_shared.contracts.schema import Column, RowSchema

_BINARY: Final = 'COLLATE "C"'
_SEED: Final = 0x5EED_0F_A11_0DD  # not 0: with that, zero has the hash of NULL


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRows:
    """One of the two tables: its name, the types of its columns that no hash is known of, and whether it marks rows."""

    name: str
    unhashed: frozenset[str]
    marks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStatements:
    """What is asked of both tables for one schema. The excepted keys are one text array per key column, the first of
    which is the parameter `keys_at`; none where there are no such keys. `emptied`: columns that the source has dropped
    and that only rows it does not speak of any more have values in; they are carried over, and not compared.
    """

    pipeline: TargetPipeline
    schema: RowSchema
    live: TableRows
    shadow: TableRows
    excepts: bool
    emptied: tuple[str, ...] = ()

    # ---------------------------------------------------------------------------------------------- comparing

    def checksums(self, table: TableRows) -> str:
        """Slot by slot: how many rows, and the sum of their hashes, which does not depend on their order."""
        row = f"ROW({', '.join(self._value('t', table, column) for column in self.schema.columns)})"
        return (
            f"SELECT t.{SLOT} AS slot, count(*) AS rows, sum(hash_record_extended({row}, {_SEED}))::text AS hash "  # noqa: S608  # quoted
            f"FROM {table.name} AS t WHERE {self._counted('t', table, keys_at=1)} GROUP BY t.{SLOT}"
        )

    def differing_keys(self) -> str:
        """The first keys that differ in some slots, lane by lane: $1 slots, $2 lanes, $3 how many keys of each lane."""
        key = self.schema.key_columns
        written = [fitted_key_text(f"r.{quote(column.name)}", column.type) for column in key]
        texts = ", ".join(f"{one} AS {name}" for one, name in zip(written, self._texts, strict=True))
        either = ", ".join(f"coalesce(l.{name}, s.{name}) AS {name}" for name in (*map(quote, self.schema.key), SLOT))
        first, lane = quote(self.schema.key[0]), f"mod(r.{SLOT}, $2::integer)"
        place = f"row_number() OVER (PARTITION BY {lane} ORDER BY {listed(self.schema.key, 'r.')})"
        differing = (
            f"SELECT {either} FROM ({self._in_slots(self.live)}) AS l "  # noqa: S608  # quoted
            f"FULL JOIN ({self._in_slots(self.shadow)}) AS s ON {self._same_key('l', 's')} "
            f"WHERE l.{first} IS NULL OR s.{first} IS NULL OR l._qs_hash <> s._qs_hash OR l.{SLOT} <> s.{SLOT}"
        )
        return (
            f"SELECT d.lane, {', '.join(self._texts)} FROM "  # noqa: S608  # quoted
            f"(SELECT {lane} AS lane, {texts}, {place} AS place FROM ({differing}) AS r) AS d "
            "WHERE d.place <= $3 ORDER BY d.lane, d.place"
        )

    @property
    def _texts(self) -> list[str]:
        """What the key's texts are called: a key column may have any name."""
        return [f"_qs_k{i}" for i in range(len(self.schema.key))]

    def _in_slots(self, table: TableRows) -> str:
        row = f"ROW({', '.join(self._value('t', table, column) for column in self.schema.columns)})"
        return (
            f"SELECT {listed(self.schema.key, 't.')}, t.{SLOT}, hash_record_extended({row}, {_SEED}) AS _qs_hash "  # noqa: S608  # quoted
            f"FROM {table.name} AS t WHERE t.{SLOT} = ANY ($1::smallint[]) AND {self._counted('t', table, keys_at=4)}"
        )

    def _counted(self, alias: str, table: TableRows, *, keys_at: int) -> str:
        """Which rows count: those that events speak of and that nothing is known to be missing of."""
        conditions = [f"{alias}.{SLOT} IS NOT NULL"]
        if table.marks:
            conditions.append(f"{alias}.{DELETED_AT} IS NULL")
        if self.excepts:
            conditions.append(f"NOT EXISTS (SELECT FROM {self._keys('k', keys_at)} WHERE {self._same_key(alias, 'k')})")
        if self.pipeline.deletes is DeletePolicy.KEEP and table is self.live:
            # The source has forgotten the others since.
            conditions.append(f"EXISTS (SELECT FROM {self.shadow.name} AS o WHERE {self._same_key(alias, 'o')})")
        return " AND ".join(conditions)

    @staticmethod
    def _value(alias: str, table: TableRows, column: Column) -> str:
        """A value whose hash is the same exactly where a loader holds two values to be the same."""
        place = f"{alias}.{quote(column.name)}"
        if column.type.is_text or column.name in table.unhashed:
            return f"{place}::text {_BINARY}"
        return place

    # ------------------------------------------------------------------------------------------------ keeping

    def keep_excepted(self) -> str:
        """Takes rows of excepted keys over to the shadow, where it has none: what cannot be loaded stays as it was."""
        names = (*self.schema.names, *self.emptied, SLOT, SEQUENCE, SYNCED_AT)
        return (
            f"INSERT INTO {self.shadow.name} ({listed(names)}) SELECT {listed(names, 't.')} FROM {self.live.name} AS t "  # noqa: S608  # quoted
            f"WHERE EXISTS (SELECT FROM {self._keys('k', 1)} WHERE {self._same_key('t', 'k')}) "
            f"ON CONFLICT ({listed(self.schema.key)}) DO NOTHING"
        )

    def give_up(self) -> str:
        """Takes rows of some keys out of the shadow, where the live table has others."""
        return (
            f"DELETE FROM {self.shadow.name} AS s USING {self.live.name} AS t, {self._keys('k', 1)} "  # noqa: S608  # quoted
            f"WHERE {self._same_key('s', 'k')} AND {self._same_key('t', 'k')}"
        )

    def held_keys(self) -> str:
        """Which of some keys the live table has rows of, by their places in the arrays, from 1 on."""
        return f"SELECT k.{PLACE} FROM {self._keys('k', 1)} JOIN {self.live.name} AS t ON {self._same_key('t', 'k')}"  # noqa: S608  # quoted

    # ------------------------------------------------------------------------------------------------ merging

    def remove(self) -> str | None:
        """Takes away, or marks, what the shadow lacks; None where the policy is to keep everything."""
        condition = (
            f"t.{SLOT} IS NOT NULL AND NOT EXISTS (SELECT FROM {self.shadow.name} AS s "  # quoted
            f"WHERE {self._same_key('t', 's')}{self._unmarked('s', self.shadow)})"
        )
        if self.excepts:
            condition += f" AND NOT EXISTS (SELECT FROM {self._keys('k', 1)} WHERE {self._same_key('t', 'k')})"
        match self.pipeline.deletes:
            case DeletePolicy.APPLY:
                return f"DELETE FROM {self.live.name} AS t WHERE {condition}"  # noqa: S608  # quoted
            case DeletePolicy.SOFT:
                return (
                    f"UPDATE {self.live.name} AS t SET {DELETED_AT} = now(), {SYNCED_AT} = now() "  # noqa: S608  # quoted
                    f"WHERE t.{DELETED_AT} IS NULL AND {condition}"
                )
            case DeletePolicy.KEEP:
                return None

    def upsert(self, *, left_out: bool = False) -> str:
        """Writes what really differs; `left_out`: but for the excepted keys."""
        names = (*self.schema.names, *self.emptied, SLOT, SEQUENCE, SYNCED_AT)
        values = [*(f"s.{quote(name)}" for name in names if name != SYNCED_AT), "now()"]
        sets = [f"{quote(name)} = excluded.{quote(name)}" for name in names if name not in self.schema.key]
        sets += [f"{DELETED_AT} = NULL"] if self.live.marks else []
        return (
            f"INSERT INTO {self.live.name} ({listed(names)}) SELECT {', '.join(values)} FROM {self.shadow.name} AS s "  # noqa: S608  # quoted
            f"LEFT JOIN {self.live.name} AS t ON {self._same_key('t', 's')} "
            f"WHERE (t.{quote(self.schema.key[0])} IS NULL OR {self._differs()}){self._wanted(left_out=left_out)} "
            f"ON CONFLICT ({listed(self.schema.key)}) DO UPDATE SET {', '.join(sets)}"
        )

    def _wanted(self, *, left_out: bool) -> str:
        """Which rows of the shadow are to stand in the live table."""
        excepted = f" AND NOT EXISTS (SELECT FROM {self._keys('k', 1)} WHERE {self._same_key('s', 'k')})"
        return self._unmarked("s", self.shadow) + (excepted if left_out else "")

    def vacate(self, names: list[str], *, left_out: bool = False) -> str:
        """Empties columns of unique indexes in rows that are to have other values there; the same rows as `upsert`."""
        empty = ", ".join(f"{quote(name)} = NULL" for name in names)
        columns = [self.schema.column(name) for name in names]
        old, new = (", ".join(exact(alias, column) for column in columns) for alias in ("t", "s"))
        return (
            f"UPDATE {self.live.name} AS t SET {empty} FROM {self.shadow.name} AS s "  # noqa: S608  # quoted
            f"WHERE {self._same_key('t', 's')} AND ROW({old}) IS DISTINCT FROM ROW({new})"
            f"{self._wanted(left_out=left_out)}"
        )

    def _differs(self) -> str:
        others = [c for c in self.schema.columns if c.name not in self.schema.key]
        old = [*(exact("t", column) for column in others), f"t.{SLOT}"]
        new = [*(exact("s", column) for column in others), f"s.{SLOT}"]
        if self.live.marks:
            old.append(f"t.{DELETED_AT}")
            new.append("NULL::timestamptz")
        left = "".join(f" OR t.{n}::text IS DISTINCT FROM s.{n}::text" for n in map(quote, self.emptied))
        return f"(ROW({', '.join(old)}) IS DISTINCT FROM ROW({', '.join(new)}){left})"

    @staticmethod
    def _unmarked(alias: str, table: TableRows) -> str:
        return f" AND {alias}.{DELETED_AT} IS NULL" if table.marks else ""

    # --------------------------------------------------------------------------------------------------- keys

    def _keys(self, alias: str, number: int) -> str:
        columns = self.schema.key_columns
        arrays = ", ".join(f"${number + i}::text[]" for i in range(len(columns)))
        raw = ", ".join(f"c{i}" for i in range(len(columns)))
        typed = ", ".join(f"{parameter(c, f'r.c{i}')} AS {quote(c.name)}" for i, c in enumerate(columns))
        listing = f"unnest({arrays}) WITH ORDINALITY AS r ({raw}, {PLACE})"
        return f"(SELECT {typed}, r.{PLACE} FROM {listing}) AS {alias}"  # noqa: S608  # quoted

    def _same_key(self, one: str, two: str) -> str:
        pairs = [(exact(one, column), exact(two, column)) for column in self.schema.key_columns]
        return " AND ".join(f"{a} = {b}" for a, b in pairs)
