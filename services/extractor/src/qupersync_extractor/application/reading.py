"""Reading pages of one relation: limits that adapt, groups that are never split, one page read ahead."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.additions import Additions, OpenAdditions
from qupersync_extractor.application.ascending import check_ascending
from qupersync_extractor.application.budget import ByteBudget, Reservation
from qupersync_extractor.application.key_lists import key_rows
from qupersync_extractor.application.pages import (
    PageDraft,
    Rows,
    draft_pages,
    read_rows,
    reduce_duplicates,
    with_gone,
)
from qupersync_extractor.application.pages import whole_rows as without_last_group
from qupersync_extractor.application.ports import CursorRange, KeyList, KeyRange, ReadRequest, Source
from qupersync_extractor.application.relation import row_schema, shape_of
from qupersync_extractor.application.source_gate import Reads
from qupersync_extractor.domain.extraction import PageKind, RereadPage, SnapshotPage
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_extractor.domain.source_budget import Amount
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import PageRefusedError
from qupersync_shared.kernel.positions import Key

_LIMIT_MAX = 50_000_000
_KEYS_MAX = 512  # every source takes as many in one statement, of keys as wide as PostgreSQL's are

Admission = Callable[[Amount], AbstractAsyncContextManager[Reads]]
"""Waits until a page may be read, which takes about so much, and gives what reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPage:
    """The rows of one read; `last` when nothing follows in the range. A read by key answers the first `keys`."""

    rows: Rows
    last: bool
    keys: int = 0
    memory: Reservation | None = None

    def done(self) -> None:
        """The page is committed, or given up: its memory is for others. Before anything else is waited for."""
        if self.memory is not None:
            self.memory.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the source has answered for one page; `keys` are those that were asked for, None in a read of a range."""

    rows: Rows
    last: bool
    keys: tuple[Key, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What pages of a pipeline look like now; `shape` as of `shape_of`."""

    schema: RowSchema
    shape: str


class PageReader:
    """Reads and drafts the pages of one pipeline, remembering what their sizes taught."""

    def __init__(
        self,
        pipeline: Pipeline,
        source: Source,
        sizer: PageSizer,
        *,
        room: Callable[[], Awaitable[None]],
        budget: ByteBudget | None = None,
        additions: Additions | None = None,
        admitted: Admission | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._source = source
        self._sizer = sizer
        self._event_bytes_max = sizer.event_bytes_max
        self._room = room
        self._budget = budget
        self._additions = additions
        self._admitted: Admission = admitted or (lambda _: nullcontext(source))
        self._open: OpenAdditions | None = None

    async def describe(self) -> Described:
        """The source's columns and those that are added, asked for anew; called before pages are read by them.

        Errors as of `row_schema` and `Additions.open`.
        """
        relation = await row_schema(self._source, self._pipeline)
        if self._additions is None:
            return Described(schema=relation, shape=shape_of(self._pipeline, relation))
        self._open = await self._additions.open(relation)
        schema = RowSchema(columns=(*relation.columns, *self._open.columns), key=relation.key)
        return Described(schema=schema, shape=shape_of(self._pipeline, schema, added=self._open.identity))

    def fit(self, event_bytes_max: int) -> None:
        """Keeps events within what the server takes, too."""
        self._sizer = replace(self._sizer, event_bytes_max=min(self._event_bytes_max, event_bytes_max))

    async def read(self, schema: RowSchema, wanted: CursorRange | KeyRange) -> ReadPage:
        """The next rows of the range, never half a group of duplicates; waits for room in outbox and memory first."""
        return await self._within_limits(schema, lambda reads: self._read(reads, schema, wanted))

    async def read_keys(self, schema: RowSchema, keys: Sequence[Key]) -> ReadPage:
        """What the source has of the first of these keys, as many as one read takes, at least one.

        Keys that it does not have are rows that are `gone`. The keys are fitted, and none stands twice.
        """
        return await self._within_limits(schema, lambda reads: self._read_keys(reads, schema, keys))

    async def _within_limits(self, schema: RowSchema, reading: Callable[[Reads], Awaitable[_Found]]) -> ReadPage:
        await self._room()
        memory: Reservation | None = None
        try:
            # Memory is waited for inside: what holds it ends without being admitted once more. What is admitted ends
            # with the source's answer; scores are nobody's read.
            async with self._admitted(Amount(rows=self._sizer.rows + 1, bytes=self._sizer.expected_bytes)) as reads:
                if self._budget is not None:
                    memory = await self._budget.reserve(self._sizer.expected_bytes)
                found = await reading(reads)
            rows = await self._completed(found.rows, schema)
            if found.keys is not None:
                rows = await asyncio.to_thread(_keyed, rows, found.keys)
        except BaseException:
            if memory is not None:
                memory.release()
            raise
        if memory is not None:
            memory.fit(rows.batch.nbytes)
        return ReadPage(rows=rows, last=found.last, keys=len(found.keys or ()), memory=memory)

    async def _read(self, reads: Reads, schema: RowSchema, wanted: CursorRange | KeyRange) -> _Found:
        cursor = wanted.cursor if isinstance(wanted, CursorRange) else None
        limit = self._sizer.rows + 1
        read = self._relation(schema)
        while True:
            request = ReadRequest(relation=self._pipeline.relation, schema=read, range=wanted, limit=limit)
            batch = await reads.read(request)
            full = batch.num_rows >= limit
            rows = await asyncio.to_thread(without_last_group, batch, read, cursor=cursor, full=full)
            if rows is not None:
                return _Found(rows=rows, last=not full)
            if limit >= _LIMIT_MAX:
                raise _too_many(limit)
            limit *= 2

    @property
    def keys_max(self) -> int:
        """How many keys one read by key takes: as many as rows fit into a page, if each has one."""
        return min(_KEYS_MAX, self._sizer.rows)

    async def _read_keys(self, reads: Reads, schema: RowSchema, keys: Sequence[Key]) -> _Found:
        count = min(len(keys), self.keys_max)
        limit = max(self._sizer.rows, count) + 1
        read = self._relation(schema)
        while True:
            wanted = KeyList(keys=tuple(keys[:count]))
            request = ReadRequest(relation=self._pipeline.relation, schema=read, range=wanted, limit=limit)
            batch = await reads.read(request)
            if batch.num_rows < limit:
                found = await asyncio.to_thread(self._found, batch, read)
                return _Found(rows=found, last=count == len(keys), keys=wanted.keys)
            if count > 1:
                count //= 2
            elif limit >= _LIMIT_MAX:
                raise _too_many(limit)
            else:
                limit *= 2

    def _found(self, batch: pa.RecordBatch, schema: RowSchema) -> Rows:
        return reduce_duplicates(read_rows(batch, schema), cursor=self._pipeline.cursor)

    def _relation(self, schema: RowSchema) -> RowSchema:
        """What the source has of a page's schema."""
        added = {column.name for column in self._open.columns} if self._open is not None else set()
        if not added:
            return schema
        return RowSchema(columns=tuple(c for c in schema.columns if c.name not in added), key=schema.key)

    async def _completed(self, rows: Rows, schema: RowSchema) -> Rows:
        """The rows with the columns that are added to them."""
        if self._open is None:
            return rows
        added = await self._open.apply(rows.batch)
        batch = pa.RecordBatch.from_arrays([*rows.batch.columns, *added.columns], schema=schema.arrow())
        refused = [told for told in (rows.refused, added.refused) if told is not None]
        return replace(rows, batch=batch, schema=schema, refused=pc.coalesce(*refused) if refused else None)

    async def draft(self, rows: Rows, kind: PageKind, *, lanes: int) -> tuple[list[PageDraft], int]:
        """The pages to commit, and how many duplicates were reduced away; PageRefusedError for a broken key order."""
        drafts, duplicates = await asyncio.to_thread(self._draft, rows, kind, lanes)
        largest = max(len(body.body) for draft in drafts for body in draft.bodies)
        self._sizer = self._sizer.learn(
            rows=rows.count, page_bytes=rows.batch.nbytes, largest_event=largest * len(drafts)
        )
        return drafts, duplicates

    def _draft(self, rows: Rows, kind: PageKind, lanes: int) -> tuple[list[PageDraft], int]:
        reduced = rows if rows.gone is not None else reduce_duplicates(rows, cursor=self._pipeline.cursor)
        if isinstance(kind, SnapshotPage) or (isinstance(kind, RereadPage) and kind.complete):
            check_ascending(reduced, after=kind.after, upto=kind.upto)
        drafts = draft_pages(reduced, kind, lanes=lanes, event_bytes_max=self._sizer.event_bytes_max)
        return drafts, reduced.duplicates


def _keyed(found: Rows, keys: tuple[Key, ...]) -> Rows:
    """The rows, and after them those keys that none of them has."""
    asked = key_rows(keys, found.schema)
    return with_gone(found, read_rows(asked, found.schema))


def _too_many(rows: int) -> PageRefusedError:
    return PageRefusedError(f"more than {rows} rows share one key", cure="Choose a key that tells the rows apart")
