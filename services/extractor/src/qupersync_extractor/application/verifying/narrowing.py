"""From a whole table to the keys that may differ: sums of ranges first, digests of rows only where sums differ.

The source names the ranges; the target is asked for the same ones. No statement looks at more than a stretch of rows,
and what moves is a few numbers a range.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from qupersync_extractor.application.ports import KeyRange
from qupersync_extractor.application.verifying.ports import Compared, KeyedDigest, SourceDigests
from qupersync_extractor.application.verifying.target import TargetSide
from qupersync_extractor.domain.ordering import key_order
from qupersync_shared.contracts.row_digests import Sums
from qupersync_shared.kernel.positions import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one statement looks at, and how many keys are looked into at most."""

    stretch_rows: int = 1_000_000
    range_keys: int = 10_000
    parts: int = 50
    listed_rows: int = 2_000
    small_rows: int = 400
    candidates: int = 10_000


LIMITS: Final = Limits()


@dataclass(slots=True, kw_only=True)
class Narrowed:
    """What was found so far. `cut`: more may differ than were looked into."""

    source_rows: int = 0
    target_rows: int = 0
    ranges: int = 0
    candidates: list[Key] = field(default_factory=list)
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """A range and the source's sums of it."""

    within: KeyRange
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Rows of a range on both sides; `edge` is where they end, None at the range's end."""

    ours: Sequence[KeyedDigest]
    theirs: Sequence[KeyedDigest]
    edge: Key | None


@dataclass(slots=True, kw_only=True)
class Narrowing:
    """One comparison. `keeps`: what only the target has is as it should be."""

    source: SourceDigests
    target: TargetSide
    compared: Compared
    keeps: bool
    limits: Limits = LIMITS
    told: Callable[[Narrowed], None] = lambda _: None
    found: Narrowed = field(default_factory=Narrowed)

    async def run(self) -> Narrowed:
        """Looks at the whole table, stretch by stretch."""
        after: Key | None = None
        while not self.found.cut:
            rest = KeyRange(after=after)
            end = await self.source.stretch_end(self.compared, rest, rows=self.limits.stretch_rows)
            spans = await self._spans(KeyRange(after=after, upto=end), keys=self.limits.range_keys)
            await self._compare(spans, count=True)
            if end is None:
                break
            after = end
        return self.found

    async def _spans(self, within: KeyRange, *, keys: int) -> list[_Span]:
        """The range in parts, as the source has them now; the last one reaches to the range's end."""
        parts = await self.source.ranges(self.compared, within, keys=keys)
        spans: list[_Span] = []
        after = within.after
        for part in parts:
            spans.append(_Span(within=KeyRange(after=after, upto=part.last), sums=part.sums))
            after = part.last
        if not spans:
            return [_Span(within=within, sums=Sums())]
        last = spans[-1]
        spans[-1] = replace(last, within=KeyRange(after=last.within.after, upto=within.upto))
        return spans

    async def _compare(self, spans: Sequence[_Span], *, count: bool) -> None:
        theirs = await self.target.sums(spans[0].within.after, [span.within.upto for span in spans])
        if count:
            self.found.ranges += len(spans)
            self.found.source_rows += sum(span.sums.rows for span in spans)
            self.found.target_rows += sum(sums.rows for sums in theirs)
            self.told(self.found)
        for span, sums in zip(spans, theirs, strict=True):
            if span.sums != sums and not self.found.cut:
                await self._look_into(span)

    async def _look_into(self, span: _Span) -> None:
        rows = span.sums.rows
        if rows > self.limits.small_rows:
            keys = max(self.limits.small_rows // 2, -(-rows // self.limits.parts))
            spans = await self._spans(span.within, keys=keys)
            if len(spans) > 1:
                await self._compare(spans, count=False)
                return
        await self._list(span.within)

    async def _list(self, within: KeyRange) -> None:
        """Compares row by row; duplicates of a key are looked at for themselves."""
        while not self.found.cut:
            page = await self._page(within)
            self._candidates(page)
            if len(self.found.candidates) >= self.limits.candidates:
                self.found.cut = True
            if page.edge is None:
                return
            within = KeyRange(after=page.edge, upto=within.upto)

    async def _page(self, within: KeyRange) -> _Page:
        limit = self.limits.listed_rows
        ours = list(await self.source.rows(self.compared, within, limit=limit))
        edges = [ours[-1].key] if len(ours) == limit else []
        if self.keeps:
            theirs = await self.target.rows_of(list({row.key: None for row in ours}))
        else:
            theirs, more = await self.target.rows(within, limit=limit)
            if more and theirs:
                edges.append(theirs[-1].key)
        if not edges:
            return _Page(ours=ours, theirs=theirs, edge=None)
        edge = min(edges, key=key_order)
        bound = key_order(edge)
        return _Page(
            ours=[row for row in ours if key_order(row.key) <= bound],
            theirs=[row for row in theirs if key_order(row.key) <= bound],
            edge=edge,
        )

    def _candidates(self, page: _Page) -> None:
        ours: dict[Key, set[str]] = defaultdict(set)
        for row in page.ours:
            ours[row.key].add(row.digest)
        if len(page.ours) == self.limits.listed_rows and page.edge == page.ours[-1].key:
            ours[page.edge].add("")  # others may follow with this key: let the rows themselves tell
        theirs = {row.key: row.digest for row in page.theirs}
        differing = {key: None for key, digests in ours.items() if digests != {theirs.get(key)}}
        differing |= {key: None for key in theirs if key not in ours}
        self.found.candidates += differing
