"""One run of a pipeline: lease, compare with the world outside, plan, and read pages in order to the end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from qupersync_extractor.application.committing import PageCommitter, RunContext
from qupersync_extractor.application.leasing import held
from qupersync_extractor.application.outside import settle_log
from qupersync_extractor.application.pages import empty_draft
from qupersync_extractor.application.ports import (
    CursorRange,
    KeyRange,
    Progress,
    Registry,
    Source,
    Stream,
    UnitOfWorkFactory,
)
from qupersync_extractor.application.reading import PageReader, ReadPage
from qupersync_extractor.application.relation import horizon_of, row_schema
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
from qupersync_shared.kernel.errors import TransientError
from qupersync_shared.kernel.ids import FencingToken, RunId, SnapshotId, uuid7
from qupersync_shared.kernel.positions import Key, Position

IDLE_EVENT_EVERY = timedelta(minutes=1)


@dataclass(slots=True, kw_only=True)
class RunReport:
    """What a run did. `leased_elsewhere`: nothing, because another extractor is at it."""

    run: RunId
    started_at: datetime
    leased_elsewhere: bool = False
    stopped: bool = False
    pages: int = 0
    rows: int = 0
    bytes: int = 0
    duplicates: int = 0
    modes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorPorts:
    source: Source
    registry: Registry
    unit_of_work: UnitOfWorkFactory
    stream: Stream
    progress: Progress
    clock: Clock


async def _nobody_listens(_: RunReport) -> None:
    pass


@dataclass(frozen=True, slots=True)
class RunHooks:
    """What a run asks and tells between its pages."""

    incremental_due: Callable[[], bool]
    stopping: Callable[[], bool]
    progressed: Callable[[RunReport], Awaitable[None]]


class _StoppedError(Exception):
    """The process is to stop: the run ends after the page it has just committed."""


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

    async def run(
        self,
        *,
        forced: ForcedMode | None = None,
        incremental_due: Callable[[], bool] = lambda: False,
        stopping: Callable[[], bool] = lambda: False,
        progressed: Callable[[RunReport], Awaitable[None]] = _nobody_listens,
    ) -> RunReport:
        """Extracts what is due. QupersyncError when it could not: pages committed before stay, the next run goes on.

        `incremental_due` is asked between the pages of a snapshot, so that a long one does not stop freshness.
        `stopping` is asked after each page: the run then ends early, with everything committed in place.
        """
        report = RunReport(run=self.new_run(), started_at=self._ports.clock.now())
        token = await self._ports.registry.acquire(self._pipeline.name, self._owner, self._lease_seconds)
        if token is None:
            report.leased_elsewhere = True
            return report
        async with held(self._ports.registry, self._pipeline.name, token, seconds=self._lease_seconds):
            run = _Run(self, token, report, RunHooks(incremental_due, stopping, progressed))
            try:
                await run.execute(forced)
            except _StoppedError:
                report.stopped = True
            self._schema = run.schema
        return report

    async def keep_alive(self) -> bool:
        """Emits an empty batch if the pipeline was silent for a minute; whether it did. Asks the source nothing."""
        schema = self._schema
        if schema is None:
            return False
        token = await self._ports.registry.acquire(self._pipeline.name, self._owner, self._lease_seconds)
        if token is None:
            return False
        async with held(self._ports.registry, self._pipeline.name, token, seconds=self._lease_seconds):
            registration = await self._ports.registry.get(self._pipeline.name)
            if registration is None or registration.state.sequence == 0:
                return False
            last = registration.state.last_event_at
            if last is not None and self._ports.clock.now() - last < IDLE_EVENT_EVERY:
                return False
            draft = empty_draft(schema, HeartbeatPage(), lanes=registration.lanes)
            context = RunContext(run=RunId(uuid7()), token=token, schema=schema, mode=Mode.INCREMENTAL)
            await self._committer.commit(draft, context)
        return True

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
    ) -> None:
        self._pipeline = use_case._pipeline  # noqa: SLF001  # one class in two parts
        self._ports = use_case._ports  # noqa: SLF001
        self._reader = use_case._reader  # noqa: SLF001
        self._committer = use_case._committer  # noqa: SLF001
        self._token = token
        self._report = report
        self._hooks = hooks
        self.schema: RowSchema | None = None

    async def execute(self, forced: ForcedMode | None) -> None:
        self._schema = await row_schema(self._ports.source, self._pipeline)
        self.schema = self._schema
        while True:
            # Compared anew before each plan: a run whose snapshot is asked to begin again and again must leave a log
            # that others have left.
            state = await self._settle()
            due = plan(
                state, self._pipeline, fingerprint=self._schema.fingerprint, now=self._ports.clock.now(), forced=forced
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
        clock = await self._ports.source.clock()
        horizon = await horizon_of(self._ports.source, self._pipeline, self._schema)
        async with self._ports.unit_of_work() as work:
            state = await work.extractions.lock(self._pipeline.name, self._token)
            state = begin_snapshot(
                state,
                snapshot_id=SnapshotId(uuid7()),
                began_at=clock.now,
                high=horizon.high if horizon is not None else None,
                fingerprint=self._schema.fingerprint,
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
        page = await self._reader.read(self._schema, KeyRange(after=after))
        while True:
            upto = None if page.last else page.rows.key(page.rows.count - 1)
            interrupted = self._hooks.incremental_due() and self._pipeline.cursor is not None
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
            after, page = upto, await ahead

    def _read_ahead(self, wanted: CursorRange | KeyRange) -> asyncio.Task[ReadPage]:
        return asyncio.create_task(self._reader.read(self._schema, wanted))

    # ---------------------------------------------------------------------------------------------- incremental

    async def _incremental(self, state: Extraction) -> Extraction:
        """All pages up to the source's present (minus the safety lag); an empty run moves the cursor only."""
        cursor = self._pipeline.cursor
        horizon = await horizon_of(self._ports.source, self._pipeline, self._schema)
        if cursor is None or horizon is None:
            return await self._idle(state)
        run = plan_incremental(state, self._pipeline, horizon.horizon, high_time=horizon.high_time)
        last_kind = IncrementalPage(
            upto=end_of_run(horizon.high), cursor=cursor, sweep=run.sweep, completes_at=run.completes_at
        )
        page = await self._reader.read(self._schema, CursorRange(cursor=cursor, after=run.after, upto=horizon.high))
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
            page = await ahead

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
        now = self._ports.clock.now()
        if state.last_event_at is not None and now - state.last_event_at < IDLE_EVENT_EVERY:
            return state
        if kind is None or state.sequence == 0:
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
        if self._hooks.stopping():
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


async def _discard(ahead: asyncio.Task[ReadPage] | None) -> None:
    if ahead is not None:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)
