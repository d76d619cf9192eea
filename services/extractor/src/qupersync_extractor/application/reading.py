"""Reading pages of one relation: limits that adapt, groups that are never split, one page read ahead."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from qupersync_extractor.application.pages import PageDraft, Rows, check_ascending, draft_pages, reduce_duplicates
from qupersync_extractor.application.pages import whole_rows as without_last_group
from qupersync_extractor.application.ports import CursorRange, KeyRange, ReadRequest, Source
from qupersync_extractor.domain.extraction import PageKind, SnapshotPage
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import PageRefusedError

_LIMIT_MAX = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPage:
    """The rows of one read; `last` when nothing follows in the range."""

    rows: Rows
    last: bool


class PageReader:
    """Reads and drafts the pages of one pipeline, remembering what their sizes taught."""

    def __init__(
        self, pipeline: Pipeline, source: Source, sizer: PageSizer, *, room: Callable[[], Awaitable[None]]
    ) -> None:
        self._pipeline = pipeline
        self._source = source
        self._sizer = sizer
        self._event_bytes_max = sizer.event_bytes_max
        self._room = room

    def fit(self, event_bytes_max: int) -> None:
        """Keeps events within what the server takes, too."""
        self._sizer = replace(self._sizer, event_bytes_max=min(self._event_bytes_max, event_bytes_max))

    async def read(self, schema: RowSchema, wanted: CursorRange | KeyRange) -> ReadPage:
        """The next rows of the range, never half a group of duplicates; waits for room in the outbox first."""
        await self._room()
        cursor = wanted.cursor if isinstance(wanted, CursorRange) else None
        limit = self._sizer.rows + 1
        while True:
            request = ReadRequest(relation=self._pipeline.relation, schema=schema, range=wanted, limit=limit)
            batch = await self._source.read(request)
            full = batch.num_rows >= limit
            rows = await asyncio.to_thread(without_last_group, batch, schema, cursor=cursor, full=full)
            if rows is not None:
                return ReadPage(rows=rows, last=not full)
            if limit >= _LIMIT_MAX:
                raise PageRefusedError(
                    f"more than {limit} rows share one key", cure="Choose a key that tells the rows apart"
                )
            limit *= 2

    async def draft(self, rows: Rows, kind: PageKind, *, lanes: int) -> tuple[list[PageDraft], int]:
        """The pages to commit, and how many duplicates were reduced away; PageRefusedError for a broken key order."""
        drafts, duplicates = await asyncio.to_thread(self._draft, rows, kind, lanes)
        largest = max(len(body.body) for draft in drafts for body in draft.bodies)
        self._sizer = self._sizer.learn(
            rows=rows.count, page_bytes=rows.batch.nbytes, largest_event=largest * len(drafts)
        )
        return drafts, duplicates

    def _draft(self, rows: Rows, kind: PageKind, lanes: int) -> tuple[list[PageDraft], int]:
        reduced = reduce_duplicates(rows, cursor=self._pipeline.cursor)
        if isinstance(kind, SnapshotPage):
            check_ascending(reduced, after=kind.after, upto=kind.upto)
        drafts = draft_pages(reduced, kind, lanes=lanes, event_bytes_max=self._sizer.event_bytes_max)
        return drafts, reduced.duplicates
