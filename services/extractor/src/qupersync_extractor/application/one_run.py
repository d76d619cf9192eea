"""What one run does under its lease: compare with the world outside, plan, and read pages in order to the end."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qupersync_extractor.application.committing import PageCommitter, RunContext, lock_as_left
from qupersync_extractor.application.outside import settle_log
from qupersync_extractor.application.pages import PageDraft, empty_draft
from qupersync_extractor.application.ports import (
    CursorRange,
    KeyRange,
    Progress,
    Registry,
    Source,
    Stream,
    UnitOfWorkFactory,
)
from qupersync_extractor.application.reading import Described, PageReader, ReadPage
from qupersync_extractor.application.relation import SourceHorizon, horizon_of
from qupersync_extractor.application.rereading import Rereading
from qupersync_extractor.application.running import RunHooks, RunReport, is_silent
from qupersync_extractor.application.stopping import Answer, StoppedError, discard, unless_stopped
from qupersync_extractor.domain.extraction import (
    Extraction,
    IncrementalPage,
    RereadPage,
    SnapshotPage,
    advance,
    begin_snapshot,
)
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.planning import BeginSnapshot, ContinueSnapshot, ForcedMode, plan, plan_incremental
from qupersync_extractor.domain.rereads import Reread, can_reread
from qupersync_extractor.domain.timeline import end_of_run
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import scalar_at
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import FencingToken, SnapshotId, uuid7
from qupersync_shared.kernel.positions import Key, Position
from qupersync_shared.runtime.lifecycle import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorPorts:
    source: Source
    registry: Registry
    unit_of_work: UnitOfWorkFactory
    stream: Stream
    progress: Progress
    clock: Clock


_MODES: Final = {
    SnapshotPage: Mode.SNAPSHOT,
    IncrementalPage: Mode.INCREMENTAL,
    RereadPage: Mode.REREAD,
}


class OneRun:
    """The state of one run in one place: the lease's token, the schema, the report."""

    def __init__(
        self,
        pipeline: Pipeline,
        ports: ExtractorPorts,
        reader: PageReader,
        committer: PageCommitter,
        *,
        token: FencingToken,
        report: RunReport,
        hooks: RunHooks,
        stop: Stop,
    ) -> None:
        self._pipeline = pipeline
        self._ports = ports
        self._reader = reader
        self._committer = committer
        self.token = token
        self._report = report
        self._hooks = hooks
        self._stop = stop
        self.described: Described | None = None
        self._rereading = Rereading(self._pipeline, self._ports.unit_of_work, self)

    async def execute(self, forced: ForcedMode | None) -> None:
        await self._describe()
        registration = await self._ports.registry.get(self._pipeline.name)
        self._report.trouble = registration.trouble if registration is not None else None
        while True:
            # Compared anew before each plan: a run whose snapshot is asked to begin again and again must leave a log
            # that others have left.
            state = await self._reread(await self._settle())
            ended = state.snapshot_ended_at
            due = plan(
                state,
                self._pipeline,
                fingerprint=self._shape,
                now=self._ports.clock.now(),
                forced=forced,
                served=forced is None and ended is not None and self._hooks.served(ended),
            )
            match due:
                case BeginSnapshot():
                    state = await self._begin_snapshot(state)
                case ContinueSnapshot():
                    pass
                case _:
                    await self._incremental(state)
                    return
            state = await self._snapshot(state)
            if self._pipeline.cursor is None and state.snapshot_wish is None and state.snapshot is None:
                await self._reread(state)
                return
            forced = ForcedMode.INCREMENTAL if state.snapshot is None else None

    async def _describe(self) -> None:
        self.described = await self._unless_stopped(self._reader.describe())

    @property
    def schema(self) -> RowSchema:
        return self._known.schema

    @property
    def _shape(self) -> str:
        return self._known.shape

    @property
    def _known(self) -> Described:
        if self.described is None:
            raise RuntimeError("a run describes its source first")
        return self.described

    async def _settle(self) -> Extraction:
        return await settle_log(
            self._pipeline.name,
            self.token,
            unit_of_work=self._ports.unit_of_work,
            registry=self._ports.registry,
            stream=self._ports.stream,
            progress=self._ports.progress,
        )

    # ------------------------------------------------------------------------------------------------- snapshot

    async def _begin_snapshot(self, known: Extraction) -> Extraction:
        clock = await self._unless_stopped(self._ports.source.clock())
        horizon = await self._horizon()
        async with self._ports.unit_of_work() as work:
            state = begin_snapshot(
                await lock_as_left(work, self.token, known),
                snapshot_id=SnapshotId(uuid7()),
                began_at=clock.now,
                high=horizon.reached if horizon is not None else None,
                fingerprint=self._shape,
            )
            await work.extractions.save(state)
            await work.commit()
        return state

    async def _snapshot(self, state: Extraction) -> Extraction:
        """Pages of the snapshot under way until its last one, or until somebody wishes for another."""
        under_way = state.snapshot
        if under_way is None:
            return state
        after = under_way.after
        page = await self.read(KeyRange(after=after))
        while True:
            upto = None if page.last else page.rows.key(page.rows.count - 1)
            asked = not page.last and await self._asked()
            fresh = not page.last and self._pipeline.cursor is not None and self._hooks.incremental_due()
            # What is read before another page commits may be older than that page: nothing is read ahead of one.
            ahead = None if page.last or asked or fresh else self._read_ahead(KeyRange(after=upto))
            kind = SnapshotPage(snapshot_id=under_way.id, after=after, upto=upto)
            state = await self._commit(page, kind, state, ahead)
            replanned = state.snapshot_wish is not None and state.snapshot_wish.restart
            if page.last or replanned:
                await discard(ahead)
                return state
            if asked:
                state = await self._reread(state)
            if fresh:
                state = await self._incremental(state)
            if ahead is None:
                ahead = self._read_ahead(KeyRange(after=upto))
            after, page = upto, await self._unless_stopped(ahead)
            await self._end_if_forked(state)

    async def _end_if_forked(self, state: Extraction) -> None:
        """A long snapshot in a log that loaders cannot go on with helps nobody: the next run opens another."""
        forked = await self._ports.registry.forked_log(self._pipeline.name)
        if forked is not None and forked >= state.log:
            raise TransientError(f"a loader reported a fork in log {forked}", cure="The next run opens a greater log")

    # -------------------------------------------------------------------------------------------------- rereads

    async def reread_alone(self) -> None:
        """One turn of rereads, and nothing else."""
        await self._describe()
        state = await self._settle()
        self._report.run_needed = not can_reread(state, fingerprint=self._shape)
        await self._reread(state)
        self._report.rereads_left = bool(await self._rereading.waiting())

    async def _asked(self) -> bool:
        return bool(await self._rereading.waiting())

    async def _reread(self, state: Extraction) -> Extraction:
        return await self._rereading.turn(state) if can_reread(state, fingerprint=self._shape) else state

    async def send(self, page: ReadPage, kind: RereadPage, state: Extraction, rereads: Sequence[Reread]) -> Extraction:
        return await self._commit(page, kind, state, None, rereads)

    # -------------------------------------------------------------------------------------------------- reading

    @property
    def keys_max(self) -> int:
        return self._reader.keys_max

    async def read_keys(self, keys: Sequence[Key]) -> ReadPage:
        return await self._unless_stopped(self._reader.read_keys(self.schema, keys))

    def _read_ahead(self, wanted: CursorRange | KeyRange) -> asyncio.Task[ReadPage]:
        return asyncio.create_task(self._reader.read(self.schema, wanted))

    async def read(self, wanted: CursorRange | KeyRange) -> ReadPage:
        return await self._unless_stopped(self._reader.read(self.schema, wanted))

    async def _horizon(self) -> SourceHorizon | None:
        found = await self._unless_stopped(horizon_of(self._ports.source, self._pipeline, self.schema))
        self._report.writer_open_since = found.writer_open_since if found is not None else None
        return found

    async def _unless_stopped(self, reading: Awaitable[Answer]) -> Answer:
        return await unless_stopped(self._stop, reading)

    # ---------------------------------------------------------------------------------------------- incremental

    async def _incremental(self, state: Extraction) -> Extraction:
        """All pages up to the source's present (minus the safety lag); an empty run moves the cursor only."""
        cursor = self._pipeline.cursor
        horizon = await self._horizon()
        if cursor is None or horizon is None:
            return await self._idle(state)
        run = plan_incremental(state, self._pipeline, horizon.horizon, high_time=horizon.high_time)
        after = run.after
        last_kind = IncrementalPage(
            upto=end_of_run(horizon.reached), after=after, cursor=cursor, sweep=run.sweep, completes_at=run.completes_at
        )
        page = await self.read(CursorRange(cursor=cursor, after=after, upto=horizon.high))
        if page.rows.count == 0:
            return await self._finish_empty(last_kind, state)
        while not page.last:
            upto = self.position(page)
            wanted = CursorRange(cursor=cursor, after=upto, upto=horizon.high)
            asked = await self._asked()
            ahead = None if asked else self._read_ahead(wanted)
            kind = IncrementalPage(upto=upto, after=after, cursor=cursor)
            state = await self._commit(page, kind, state, ahead)
            if asked:
                state = await self._reread(state)
            after, page = upto, await self._unless_stopped(ahead or self._read_ahead(wanted))
        return await self._commit(page, replace(last_kind, after=after), state, None)

    async def _finish_empty(self, kind: IncrementalPage, known: Extraction) -> Extraction:
        async with self._ports.unit_of_work() as work:
            state = await lock_as_left(work, self.token, known)
            moved = advance(state, kind)
            if moved != state:
                await work.extractions.save(moved)
                await work.commit()
        return await self._idle(moved, kind)

    async def _idle(self, state: Extraction, kind: IncrementalPage | None = None) -> Extraction:
        """An empty batch once a minute keeps freshness honest and lets losses be noticed."""
        if kind is None or state.sequence == 0 or not is_silent(state, self._ports.clock.now()):
            return state
        draft = empty_draft(self.schema, kind, lanes=state.lanes)
        return await self._committer.commit(draft, self._context(Mode.INCREMENTAL, heartbeat=True), state)

    def position(self, page: ReadPage) -> Position:
        name = self._pipeline.cursor or ""
        index = page.rows.count - 1
        scalar = scalar_at(page.rows.batch.column(name), self.schema.column(name).type, index)
        if scalar is None:
            raise TransientError(f"cursor column {name} came back NULL")
        key: Key = page.rows.key(index)
        return Position(cursor=scalar, key=key)

    # --------------------------------------------------------------------------------------------------- commit

    async def _commit(
        self,
        page: ReadPage,
        kind: SnapshotPage | IncrementalPage | RereadPage,
        state: Extraction,
        ahead: asyncio.Task[ReadPage] | None,
        rereads: Sequence[Reread] = (),
    ) -> Extraction:
        """Commits the page's drafts in order; on any failure what was read after it is thrown away.

        What rereads have to say is said by the last draft: before it, they are not done.
        """
        mode = _MODES[type(kind)]
        try:
            drafts, duplicates = await self._reader.draft(page.rows, kind, lanes=state.lanes)
            for number, draft in enumerate(drafts, start=1):
                last = number == len(drafts)
                told = rereads if last else ()
                state = await self._committer.commit(
                    draft if last else _unfinished(draft), self._context(mode), state, rereads=told
                )
                await self._count(draft, state, mode)
        except BaseException:
            await discard(ahead)
            raise
        finally:
            page.done()  # its memory is for what is read next
        self._report.duplicates += duplicates
        if self._stop.requested:
            await discard(ahead)
            raise StoppedError
        return state

    def _context(self, mode: Mode, *, heartbeat: bool = False) -> RunContext:
        return RunContext(run=self._report.run, token=self.token, schema=self.schema, mode=mode, heartbeat=heartbeat)

    async def _count(self, draft: PageDraft, state: Extraction, mode: Mode) -> None:
        self._report.pages += 1
        self._report.rows += draft.rows
        self._report.bytes += draft.bytes
        self._report.wrote(state.log, state.sequence)
        if mode.value not in self._report.modes:
            self._report.modes.append(mode.value)
        await self._hooks.progressed(self._report)


def _unfinished(draft: PageDraft) -> PageDraft:
    """A part of a page that others follow: dead letters are made good with the last one only."""
    kind = draft.kind
    return replace(draft, kind=replace(kind, redrives=())) if isinstance(kind, RereadPage) else draft
