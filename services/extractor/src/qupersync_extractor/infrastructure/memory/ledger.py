"""The ledger in memory: what is asked of it, and what the observer writes."""

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from datetime import datetime, timedelta

from qupersync_extractor.application.ledger import LISTING, LedgerEntry, passed_times
from qupersync_extractor.application.observing import Member, Stand
from qupersync_extractor.domain.whereabouts import (
    PageState,
    Reached,
    Standing,
    Whereabouts,
    never_run,
    passed,
    whereabouts,
)
from qupersync_extractor.infrastructure.memory.store import LedgerPage, MemoryStore, PipelineRow
from qupersync_shared.kernel.ids import GroupName, Lane, Log, PipelineName, Sequence
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.records.listing import select


class MemoryLedger:
    """The ports `Ledger` and `LedgerMarks` on a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def pages(self, query: Query) -> Page[LedgerEntry]:
        self._store.check()
        return select(LISTING, query, [self._entry(page) for page in self._store.ledger.pages.values()])

    async def whereabouts(self, pipelines: SequenceOf[PipelineName]) -> dict[PipelineName, Whereabouts]:
        self._store.check()
        return {name: self._whereabouts(name) for name in pipelines}

    async def forget(self, *, older_than: timedelta) -> int:
        self._store.check()
        ledger, border = self._store.ledger, self._store.now() - older_than
        old = [key for key, page in ledger.pages.items() if page.extracted_at < border and not self._waits(page)]
        for key in old:
            del ledger.pages[key]
        for mark in [mark for mark, at in ledger.marks.items() if at < border]:
            pipeline, log, _, sequence = mark
            if not any((pipeline, log) == key[:2] and key[2] <= sequence for key in ledger.pages):
                del ledger.marks[mark]
        return len(old)

    # ------------------------------------------------------------------------------------------------- observing

    async def mark_published(self, *, apart_seconds: float = 0.0) -> list[Stand]:
        self._store.check()
        now = self._store.now()
        for name, row in self._store.pipelines.items():
            found = self._published(row)
            last = max(self._marks(name, row.state.log, ""), default=None)
            lately = last is not None and 0 <= (now - last[1]).total_seconds() < apart_seconds
            if found > (last[0] if last is not None else 0) and not lately:
                self._store.ledger.marks[(name, row.state.log, "", found)] = now
        return [
            Stand(pipeline=name, log=row.state.log, sequence=row.state.sequence, groups=self._groups(name))
            for name, row in self._store.pipelines.items()
        ]

    async def mark_applied(self, seen: Mapping[Member, Reached]) -> None:
        self._store.check()
        ledger, now = self._store.ledger, self._store.now()
        for (pipeline, group), one in seen.items():
            known = ledger.reach.get((pipeline, group))
            if known is None:
                self._unmark(pipeline, group, beyond=one)
            elif known.place >= one.place:
                continue
            at = now if one.at is None else min(one.at, now)
            ledger.reach[(pipeline, group)] = Reached(log=one.log, sequence=one.sequence, at=at)
            if one.sequence:
                ledger.marks.setdefault((pipeline, one.log, group, one.sequence), at)

    async def take_back(self, member: Member, *, known: Reached, found: Reached) -> bool:
        self._store.check()
        ledger = self._store.ledger
        if member not in ledger.reach or ledger.reach[member].place != known.place:
            return False
        ledger.reach[member] = Reached(log=found.log, sequence=found.sequence, at=self._store.now())
        self._unmark(*member, beyond=found)
        return True

    def _unmark(self, pipeline: PipelineName, group: GroupName, *, beyond: Reached) -> None:
        marks = self._store.ledger.marks
        for mark in [mark for mark in marks if (mark[0], mark[2]) == (pipeline, group)]:
            if (mark[1], mark[3]) > beyond.place:
                del marks[mark]

    async def forget_group(self, member: Member) -> None:
        self._store.check()
        self._store.ledger.reach.pop(member, None)

    # --------------------------------------------------------------------------------------------------- reading

    def _groups(self, pipeline: PipelineName) -> dict[GroupName, Reached]:
        return {group: one for (name, group), one in self._store.ledger.reach.items() if name == pipeline}

    def _published(self, row: PipelineRow) -> Sequence:
        places = []
        for lane in range(row.state.lanes):
            found = self._store.cursors.get((row.state.pipeline, Lane(lane)))
            published = found is not None and found.cursor.log == row.state.log
            places.append(found.cursor.last_sequence if found is not None and published else Sequence(0))
        return min(places)

    def _marks(self, pipeline: PipelineName, log: Log, group: str) -> list[tuple[Sequence, datetime]]:
        return [(mark[3], at) for mark, at in self._store.ledger.marks.items() if mark[:3] == (pipeline, log, group)]

    def _passed_at(self, page: LedgerPage, group: str) -> datetime | None:
        line = page.line
        beyond = [one for one in self._marks(line.pipeline, line.log, group) if one[0] >= line.sequence]
        return min(beyond)[1] if beyond else None

    def _waits(self, page: LedgerPage) -> bool:
        row, groups = self._store.pipelines.get(page.line.pipeline), self._groups(page.line.pipeline)
        if row is None or page.line.log != row.state.log or not groups:
            return False
        return page.line.sequence > passed(row.state.log, groups)

    def _entry(self, page: LedgerPage) -> LedgerEntry:
        line, row = page.line, self._store.pipelines.get(page.line.pipeline)
        groups = sorted(self._groups(line.pipeline))
        times = passed_times(
            page.extracted_at, self._passed_at(page, ""), {group: self._passed_at(page, group) for group in groups}
        )
        over = row is None or line.log != row.state.log
        came_later = [group for group in times.lacking if over and not self._marks(line.pipeline, line.log, group)]
        if times.applied and set(times.lacking) <= set(came_later):
            state = PageState.APPLIED
        elif over:
            state = PageState.SUPERSEDED
        else:
            published = self._passed_at(page, "") is not None
            state = PageState.PUBLISHED if published else PageState.EXTRACTED
        return LedgerEntry(
            number=page.number,
            pipeline=line.pipeline,
            log=line.log,
            sequence=line.sequence,
            state=state,
            run=line.run,
            mode=line.mode,
            rows=line.rows,
            bytes=line.bytes,
            extracted_at=page.extracted_at,
            published_at=times.published_at,
            applied=times.applied,
            waits_for=times.lacking if state.waits else (),
        )

    def _whereabouts(self, name: PipelineName) -> Whereabouts:
        now, row = self._store.now(), self._store.pipelines.get(name)
        if row is None:
            return never_run(name, now)
        log, groups, pages = row.state.log, self._groups(name), self._store.ledger.pages
        published = self._published(row)
        last, behind = pages.get((name, log, row.state.sequence)), passed(log, groups)
        upto = [one for one in self._marks(name, log, "") if one[0] <= published]
        following = pages.get((name, log, Sequence(behind + 1)))
        control = self._store.controls.get(name)
        return whereabouts(
            Standing(
                pipeline=name,
                as_of=now,
                extracted=Reached(log=log, sequence=row.state.sequence, at=last.extracted_at if last else None),
                published=Reached(log=log, sequence=published, at=max(upto)[1] if upto else None),
                groups=groups,
                next_at=following.extracted_at if following else None,
                trouble=row.trouble,
                paused=control is not None and control.paused,
                snapshotting=row.state.snapshot is not None,
            )
        )
