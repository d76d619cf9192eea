"""One run of a pipeline: lease, compare with the world outside, plan, and read pages in order to the end."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from qupersync_extractor.application.committing import PageCommitter, RunContext
from qupersync_extractor.application.leasing import held
from qupersync_extractor.application.outside import settle_log
from qupersync_extractor.application.pages import empty_draft
from qupersync_extractor.application.ports import (
    CursorRange,
    KeyRange,
    Progress,
    Registration,
    Registry,
    Source,
    Stream,
    UnitOfWorkFactory,
)
from qupersync_extractor.application.reading import PageReader, ReadPage
from qupersync_extractor.application.relation import SourceHorizon, horizon_of, row_schema, shape_of
from qupersync_extractor.application.running import RunHooks, RunReport, is_silent
from qupersync_extractor.domain.extraction import (
    Extraction,
    HeartbeatPage,
    IncrementalPage,
    SnapshotPage,
    advance,
    begin_snapshot,
)
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.planning import BeginSnapshot, ContinueSnapshot, ForcedMode, plan, plan_incremental
from qupersync_extractor.domain.timeline import end_of_run
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import scalar_at
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import StreamUnavailableError, TransientError
from qupersync_shared.kernel.ids import FencingToken, RunId, SnapshotId, uuid7
from qupersync_shared.kernel.positions import Key, Position
from qupersync_shared.runtime.lifecycle import Stop

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorPorts:
    source: Source
    registry: Registry
    unit_of_work: UnitOfWorkFactory
    stream: Stream
    progress: Progress
    clock: Clock


class _StoppedError(Exception):
    """The process is to stop: the run ends after the page it has just committed, or without the one it reads."""


class ExtractPipeline:
    """The use case of one pipeline; `run` may be called again and again, never twice at once."""

    def __init__(
        self, pipeline: Pipeline, ports: ExtractorPorts, reader: PageReader, *, owner: str, lease_seconds: float
    ) -> None:
        self._pipeline = pipeline
        self._ports = ports
        self._reader = reader
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._committer = PageCommitter(pipeline, ports.unit_of_work, ports.clock)
        self._schema: RowSchema | None = None
        self._declared = False

    async def run(
        self, *, forced: ForcedMode | None = None, hooks: RunHooks | None = None, stop: Stop | None = None
    ) -> RunReport:
        """Extracts what is due. QupersyncError when it could not: pages committed before stay, the next run goes on.

        When the stop is requested the run ends early: what is being read is given up, what is being committed is kept.
        """
        report = RunReport(run=self.new_run(), started_at=self._ports.clock.now())
        token = await self._ports.registry.acquire(self._pipeline.name, self._owner, self._lease_seconds)
        if token is None:
            report.leased_elsewhere = True
            return report
        async with held(self._ports.registry, self._pipeline.name, token, seconds=self._lease_seconds):
            await self._fit()
            run = _Run(self, token, report, hooks or RunHooks(), stop or Stop())
            try:
                await run.execute(forced)
            except _StoppedError:
                report.stopped = True
            self._schema = run.schema or self._schema
        return report

    async def _fit(self) -> None:
        """A stream to publish to, and no event beyond what its server takes."""
        try:
            if not self._declared:
                await self._ports.stream.declare(self._pipeline.name)
                self._declared = True
            self._reader.fit(await self._ports.stream.max_payload())
        except StreamUnavailableError:
            self._declared = False
            raise

    async def keep_alive(self) -> bool:
        """Emits an empty batch if the pipeline was silent for a minute; whether it did. Asks the source nothing."""
        schema = self._schema
        if schema is None:
            return False
        if not self._silent(await self._ports.registry.get(self._pipeline.name)):
            return False  # looked at without the lease: idle pipelines cost reads only
        token = await self._ports.registry.acquire(self._pipeline.name, self._owner, self._lease_seconds)
        if token is None:
            return False
        async with held(self._ports.registry, self._pipeline.name, token, seconds=self._lease_seconds):
            registration = await self._ports.registry.get(self._pipeline.name)
            if registration is None or not self._silent(registration):
                return False
            draft = empty_draft(schema, HeartbeatPage(), lanes=registration.lanes)
            context = RunContext(run=RunId(uuid7()), token=token, schema=schema, mode=Mode.INCREMENTAL)
            await self._committer.commit(draft, context)
        return True

    def _silent(self, registration: Registration | None) -> bool:
        """Whether the pipeline has sent something before, and nothing for a minute."""
        if registration is None or registration.state.sequence == 0:
            return False
        return is_silent(registration.state, self._ports.clock.now())

    @staticmethod
    def new_run() -> RunId:
        """A run's id, which its events carry as correlation id."""
        return RunId(uuid7())

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline


class _Run:
    """The state of one run in one place: the lease's token, the schema, the report."""

    def __init__(
        self,
        use_case: ExtractPipeline,
        token: FencingToken,
        report: RunReport,
        hooks: RunHooks,
        stop: Stop,
    ) -> None:
        self._pipeline = use_case._pipeline  # noqa: SLF001  # one class in two parts
        self._ports = use_case._ports  # noqa: SLF001
        self._reader = use_case._reader  # noqa: SLF001
        self._committer = use_case._committer  # noqa: SLF001
        self._token = token
        self._report = report
        self._hooks = hooks
        self._stop = stop
        self.schema: RowSchema | None = None

    async def execute(self, forced: ForcedMode | None) -> None:
        self._schema = await self._unless_stopped(row_schema(self._ports.source, self._pipeline))
        self.schema = self._schema
        self._shape = shape_of(self._pipeline, self._schema)
        registration = await self._ports.registry.get(self._pipeline.name)
        self._report.trouble = registration.trouble if registration is not None else None
        while True:
            # Compared anew before each plan: a run whose snapshot is asked to begin again and again must leave a log
            # that others have left.
            state = await self._settle()
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
                    state = await self._begin_snapshot()
                case ContinueSnapshot():
                    pass
                case _:
                    await self._incremental(state)
                    return
            state = await self._snapshot(state)
            if self._pipeline.cursor is None and state.snapshot_wish is None and state.snapshot is None:
                return
            forced = ForcedMode.INCREMENTAL if state.snapshot is None else None

    async def _settle(self) -> Extraction:
        return await settle_log(
            self._pipeline.name,
            self._token,
            unit_of_work=self._ports.unit_of_work,
            registry=self._ports.registry,
            stream=self._ports.stream,
            progress=self._ports.progress,
        )

    # ------------------------------------------------------------------------------------------------- snapshot

    async def _begin_snapshot(self) -> Extraction:
        clock = await self._unless_stopped(self._ports.source.clock())
        horizon = await self._horizon()
        async with self._ports.unit_of_work() as work:
            state = await work.extractions.lock(self._pipeline.name, self._token)
            state = begin_snapshot(
                state,
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
        page = await self._read(KeyRange(after=after))
        while True:
            upto = None if page.last else page.rows.key(page.rows.count - 1)
            interrupted = not page.last and self._pipeline.cursor is not None and self._hooks.incremental_due()
            ahead = None if page.last or interrupted else self._read_ahead(KeyRange(after=upto))
            kind = SnapshotPage(snapshot_id=under_way.id, after=after, upto=upto)
            state = await self._commit(page, kind, state, ahead)
            replanned = state.snapshot_wish is not None and state.snapshot_wish.restart
            if page.last or replanned:
                await _discard(ahead)
                return state
            if ahead is None:
                state = await self._incremental(state)
                ahead = self._read_ahead(KeyRange(after=upto))
            after, page = upto, await self._unless_stopped(ahead)
            await self._end_if_forked(state)

    async def _end_if_forked(self, state: Extraction) -> None:
        """A long snapshot in a log that loaders cannot go on with helps nobody: the next run opens another."""
        forked = await self._ports.registry.forked_log(self._pipeline.name)
        if forked is not None and forked >= state.log:
            raise TransientError(f"a loader reported a fork in log {forked}", cure="The next run opens a greater log")

    # -------------------------------------------------------------------------------------------------- reading

    def _read_ahead(self, wanted: CursorRange | KeyRange) -> asyncio.Task[ReadPage]:
        return asyncio.create_task(self._reader.read(self._schema, wanted))

    async def _read(self, wanted: CursorRange | KeyRange) -> ReadPage:
        return await self._unless_stopped(self._reader.read(self._schema, wanted))

    async def _horizon(self) -> SourceHorizon | None:
        found = await self._unless_stopped(horizon_of(self._ports.source, self._pipeline, self._schema))
        self._report.writer_open_since = found.writer_open_since if found is not None else None
        return found

    async def _unless_stopped(self, reading: Awaitable[Answer]) -> Answer:
        """What was read; given up with _StoppedError when the process is to stop, however long the source takes."""
        read = asyncio.ensure_future(reading)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((read, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not read.done():
                raise _StoppedError
            return read.result()
        finally:
            await _discard(stopped)
            await _discard(read)

    # ---------------------------------------------------------------------------------------------- incremental

    async def _incremental(self, state: Extraction) -> Extraction:
        """All pages up to the source's present (minus the safety lag); an empty run moves the cursor only."""
        cursor = self._pipeline.cursor
        horizon = await self._horizon()
        if cursor is None or horizon is None:
            return await self._idle(state)
        run = plan_incremental(state, self._pipeline, horizon.horizon, high_time=horizon.high_time)
        last_kind = IncrementalPage(
            upto=end_of_run(horizon.reached), cursor=cursor, sweep=run.sweep, completes_at=run.completes_at
        )
        page = await self._read(CursorRange(cursor=cursor, after=run.after, upto=horizon.high))
        if page.rows.count == 0:
            return await self._finish_empty(last_kind)
        while True:
            upto = self._position(page)
            ahead = None
            if not page.last:
                ahead = self._read_ahead(CursorRange(cursor=cursor, after=upto, upto=horizon.high))
            kind = last_kind if page.last else IncrementalPage(upto=upto, cursor=cursor)
            state = await self._commit(page, kind, state, ahead)
            if ahead is None:
                return state
            page = await self._unless_stopped(ahead)

    async def _finish_empty(self, kind: IncrementalPage) -> Extraction:
        async with self._ports.unit_of_work() as work:
            state = await work.extractions.lock(self._pipeline.name, self._token)
            moved = advance(state, kind)
            if moved != state:
                await work.extractions.save(moved)
                await work.commit()
        return await self._idle(moved, kind)

    async def _idle(self, state: Extraction, kind: IncrementalPage | None = None) -> Extraction:
        """An empty batch once a minute keeps freshness honest and lets losses be noticed."""
        if kind is None or state.sequence == 0 or not is_silent(state, self._ports.clock.now()):
            return state
        draft = empty_draft(self._schema, kind, lanes=state.lanes)
        return await self._committer.commit(draft, self._context(Mode.INCREMENTAL))

    def _position(self, page: ReadPage) -> Position:
        name = self._pipeline.cursor or ""
        index = page.rows.count - 1
        scalar = scalar_at(page.rows.batch.column(name), self._schema.column(name).type, index)
        if scalar is None:
            raise TransientError(f"cursor column {name} came back NULL")
        key: Key = page.rows.key(index)
        return Position(cursor=scalar, key=key)

    # --------------------------------------------------------------------------------------------------- commit

    async def _commit(
        self,
        page: ReadPage,
        kind: SnapshotPage | IncrementalPage,
        state: Extraction,
        ahead: asyncio.Task[ReadPage] | None,
    ) -> Extraction:
        """Commits the page's drafts in order; on any failure what was read after it is thrown away."""
        mode = Mode.SNAPSHOT if isinstance(kind, SnapshotPage) else Mode.INCREMENTAL
        try:
            drafts, duplicates = await self._reader.draft(page.rows, kind, lanes=state.lanes)
            for draft in drafts:
                state = await self._committer.commit(draft, self._context(mode))
                await self._count(draft.rows, draft.bytes, mode)
        except BaseException:
            await _discard(ahead)
            raise
        self._report.duplicates += duplicates
        if self._stop.requested:
            await _discard(ahead)
            raise _StoppedError
        return state

    def _context(self, mode: Mode) -> RunContext:
        return RunContext(run=self._report.run, token=self._token, schema=self._schema, mode=mode)

    async def _count(self, rows: int, size: int, mode: Mode) -> None:
        self._report.pages += 1
        self._report.rows += rows
        self._report.bytes += size
        if mode.value not in self._report.modes:
            self._report.modes.append(mode.value)
        await self._hooks.progressed(self._report)


async def _discard(ahead: asyncio.Future[Any] | None) -> None:
    """Ends what nobody waits for any more; nothing if it has ended."""
    if ahead is not None:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)
