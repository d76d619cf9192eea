"""A warehouse in memory: tables of rows that tests change, a clock they own, and transactions that commit late."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import pyarrow as pa

from qupersync_extractor.application.ports import CursorRange, KeyList, KeyRange, ReadRequest, SourceClock
from qupersync_extractor.application.refused import Refusals
from qupersync_extractor.domain.ordering import key_order, position_order, scalar_order
from qupersync_extractor.domain.pipeline import Relation
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import canonical_texts
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.positions import Key, Position, Scalar

Row = dict[str, Any]
EPOCH: Final = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class MemoryTable:
    """Committed rows, in no order; values as `pyarrow.array` takes them for the column's type."""

    columns: tuple[Column, ...]
    rows: list[Row] = field(default_factory=list)

    def insert(self, *rows: Mapping[str, Any]) -> None:
        """Adds rows as they are, duplicates too; columns that are not named are NULL."""
        names = [column.name for column in self.columns]
        for row in rows:
            unknown = sorted(set(row) - set(names))
            if unknown:
                raise KeyError(f"no column {unknown[0]!r}")
            self.rows.append({name: row.get(name) for name in names})

    def upsert(self, key: Sequence[str], *rows: Mapping[str, Any]) -> None:
        """Puts rows in the place of all that have their key."""
        for row in rows:
            self.rows = [held for held in self.rows if any(held[name] != row[name] for name in key)]
            self.insert(row)

    def delete(self, where: Callable[[Row], bool] = lambda _: True) -> int:
        """Removes rows; how many."""
        kept = [row for row in self.rows if not where(row)]
        removed = len(self.rows) - len(kept)
        self.rows = kept
        return removed


class MemoryTransaction:
    """Changes that nobody sees before `commit`, which may come long after `started_at`."""

    def __init__(self, source: "MemorySource", started_at: datetime) -> None:
        self.started_at = started_at
        self._source = source
        self._changes: list[Callable[[], object]] = []

    def do(self, change: Callable[[], object]) -> None:
        """Keeps a change, for instance `lambda: table.insert(row)`, for the commit."""
        self._changes.append(change)

    def commit(self) -> None:
        self._source.end(self)
        for change in self._changes:
            change()

    def rollback(self) -> None:
        self._source.end(self)


class MemorySource:
    """The port `Source` over tables of Python rows.

    `now` is the source's clock. `shows_transactions`: whether the clock tells of open ones. `trouble`, while set, is
    raised by every call; `troubles` are raised by one call each. `reads` keeps every request that was answered.
    """

    def __init__(self, now: datetime = EPOCH) -> None:
        self.now = now
        self.shows_transactions = True
        self.trouble: QupersyncError | None = None
        self.troubles: list[QupersyncError] = []
        self.before_read: Callable[[ReadRequest], None] | None = None
        self.reads: list[ReadRequest] = []
        self.closed = False
        self._tables: dict[Relation, MemoryTable] = {}
        self._open: list[MemoryTransaction] = []

    def table(self, relation: Relation, columns: Sequence[Column] = ()) -> MemoryTable:
        """The relation's table, made with these columns if there is none."""
        if relation not in self._tables:
            self._tables[relation] = MemoryTable(tuple(columns))
        return self._tables[relation]

    def drop(self, relation: Relation) -> None:
        self._tables.pop(relation, None)

    def advance(self, by: timedelta) -> datetime:
        """Lets time pass; the new time."""
        self.now += by
        return self.now

    def begin(self) -> MemoryTransaction:
        """A transaction that starts now."""
        transaction = MemoryTransaction(self, self.now)
        self._open.append(transaction)
        return transaction

    def end(self, transaction: MemoryTransaction) -> None:
        self._open.remove(transaction)

    async def describe(self, relation: Relation) -> tuple[Column, ...]:
        return self._found(relation).columns

    async def clock(self) -> SourceClock:
        self._raise_trouble()
        starts = [transaction.started_at for transaction in self._open] if self.shows_transactions else []
        return SourceClock(now=self.now, oldest_open=min(starts, default=None))

    async def highest(self, relation: Relation, column: Column) -> Scalar | None:
        table = self._found(relation)
        return max((scalar for scalar in _scalars(table, column) if scalar is not None), key=scalar_order, default=None)

    async def count_nulls(self, relation: Relation, columns: Sequence[str]) -> dict[str, int]:
        rows = self._found(relation).rows
        return {name: sum(row[name] is None for row in rows) for name in columns}

    async def count_duplicate_keys(self, relation: Relation, key: Sequence[str]) -> int:
        table = self._found(relation)
        keys = [found for found in _keys(table, RowSchema(columns=table.columns, key=tuple(key))) if found is not None]
        return sum(keys.count(one) > 1 for one in set(keys))

    async def read(self, request: ReadRequest) -> pa.RecordBatch:
        if self.before_read is not None:
            self.before_read(request)
        table = self._found(request.relation)
        schema = request.schema
        keys = _keys(table, schema)
        found = _in_order(table, keys, request)
        self.reads.append(request)
        rows = [_canonical(table.rows[index], keys[index], schema) for index in found[: max(0, request.limit)]]
        refusals = Refusals(schema, len(rows), cursor=request.cursor)
        return refusals.batch([refusals.column(column, partial(_values, rows, column)) for column in schema.columns])

    async def close(self) -> None:
        self.closed = True

    def _found(self, relation: Relation) -> MemoryTable:
        self._raise_trouble()
        table = self._tables.get(relation)
        if table is None:
            raise TransientError(f"{relation} does not exist", cure="Create it")
        return table

    def _raise_trouble(self) -> None:
        if self.closed:
            raise RuntimeError("the source is closed")
        if self.troubles:
            raise self.troubles.pop(0)
        if self.trouble is not None:
            raise self.trouble


def _values(rows: Sequence[Row], column: Column, start: int, end: int) -> pa.Array:
    return pa.array([row[column.name] for row in rows[start:end]], column.type.arrow)


def _scalars(table: MemoryTable, column: Column) -> list[Scalar | None]:
    values = pa.array([row[column.name] for row in table.rows], column.type.arrow)
    kind = column.type.scalar
    if kind is None:
        raise ValueError(f"a column of type {column.type.name} cannot be a key or a cursor")
    return [None if text is None else Scalar(kind, text) for text in canonical_texts(values, column.type).to_pylist()]


def _keys(table: MemoryTable, schema: RowSchema) -> list[Key | None]:
    """Each row's key in canonical form; None where it holds a NULL."""
    if not table.rows:
        return []
    parts = zip(*(_scalars(table, column) for column in schema.key_columns), strict=True)
    return [None if any(part is None for part in key) else tuple(p for p in key if p is not None) for key in parts]


def _in_order(table: MemoryTable, keys: Sequence[Key | None], request: ReadRequest) -> list[int]:
    """The indices of the rows inside the range, in its order; duplicates in the order they were inserted."""
    present = [(key, index) for index, key in enumerate(keys) if key is not None]
    match request.range:
        case KeyRange(after=after, upto=upto):
            ordered = [(key_order(key), index) for key, index in present]
            low, high = (None if bound is None else key_order(bound) for bound in (after, upto))
        case KeyList(keys=wanted):
            listed = set(wanted)
            return [index for key, index in sorted((key_order(k), i) for k, i in present if k in listed)]
        case CursorRange(cursor=name, after=position, upto=top):
            cursors = _scalars(table, request.schema.column(name))
            ordered = [
                (position_order(Position(cursor=cursor, key=key)), index)
                for key, index in present
                if (cursor := cursors[index]) is not None
            ]
            low = None if position is None else position_order(position)
            high = position_order(Position.after(top))
    return [
        index for order, index in sorted(ordered) if (low is None or order > low) and (high is None or order <= high)
    ]


def _canonical(row: Row, key: Key | None, schema: RowSchema) -> Row:
    """The row as SQL sources tell it: text in a key without trailing blanks, CHAR without its padding."""
    texts = {name: scalar.text for name, scalar in zip(schema.key, key or (), strict=True)}
    told: Row = {}
    for column in schema.columns:
        value = row[column.name]
        if column.name in texts and column.type.is_text:
            value = texts[column.name]
        elif column.type.name == "char" and value is not None:
            value = value.rstrip(" ")
        told[column.name] = value
    return told
