"""Pipelines, leases, troubles and requests in memory."""

from datetime import timedelta

from qupersync_extractor.application.ports import Asked, Registration, RunRequest
from qupersync_extractor.domain.extraction import Extraction, open_log, wish_snapshot
from qupersync_extractor.infrastructure.memory.store import Lease, MemoryStore, PipelineRow
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.ids import FencingToken, Log, PipelineName


class MemoryRegistry:
    """The pipelines of a MemoryStore, seen from outside the page transaction."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def register(self, pipeline: PipelineName, lanes: int) -> Registration:
        self._store.check()
        row = self._store.pipelines.setdefault(pipeline, PipelineRow(state=Extraction(pipeline=pipeline, lanes=lanes)))
        return _registration(row)

    async def get(self, pipeline: PipelineName) -> Registration | None:
        self._store.check()
        row = self._store.pipelines.get(pipeline)
        return _registration(row) if row is not None else None

    async def acquire(self, pipeline: PipelineName, owner: str, seconds: float) -> FencingToken | None:
        async with self._store.locked(pipeline) as row:
            if row is None:
                return None
            lease = row.lease
            if lease is not None and lease.owner != owner and lease.holds(self._store.now()):
                return None
            row.token = FencingToken(row.token + 1)
            row.lease = Lease(owner=owner, until=self._store.now() + timedelta(seconds=seconds))
            return row.token

    async def renew(self, pipeline: PipelineName, token: FencingToken, seconds: float) -> bool:
        async with self._store.locked(pipeline) as row:
            if row is None or row.lease is None or row.token != token:
                return False
            row.lease.until = self._store.now() + timedelta(seconds=seconds)
            return True

    async def release(self, pipeline: PipelineName, token: FencingToken) -> None:
        async with self._store.locked(pipeline) as row:
            if row is not None and row.token == token:
                row.lease = None

    async def set_trouble(self, pipeline: PipelineName, reason: str | None) -> None:
        async with self._store.locked(pipeline) as row:
            if row is not None:
                row.trouble = reason

    async def request_run(self, pipeline: PipelineName, mode: str | None) -> None:
        async with self._store.locked(pipeline) as row:
            if row is not None:
                row.run_requested = True
                row.run_mode = row.run_mode if row.run_mode == "snapshot" else mode or row.run_mode
                row.run_ticket += 1
        await self._store.ring_request()

    async def run_request(self, pipeline: PipelineName) -> RunRequest | None:
        self._store.check()
        row = self._store.pipelines.get(pipeline)
        if row is None or not row.run_requested:
            return None
        return RunRequest(mode=row.run_mode, ticket=row.run_ticket)

    async def run_made(self, pipeline: PipelineName, request: RunRequest) -> None:
        async with self._store.locked(pipeline) as row:
            if row is not None and row.run_ticket == request.ticket:
                row.run_requested, row.run_mode = False, None

    async def asked_for(self) -> dict[PipelineName, Asked]:
        self._store.check()
        waiting = {row.reread.pipeline for row in self._store.rereads.values() if not row.reread.done}
        paused = {name for name, control in self._store.controls.items() if control.paused}
        found = {
            name: Asked(run=row.run_requested, rereads=name in waiting, paused=name in paused)
            for name, row in self._store.pipelines.items()
        }
        return {name: asked for name, asked in found.items() if asked != Asked()}

    async def wait_for_request(self, seconds: float) -> None:
        await self._store.wait_asked(seconds)

    async def wish_snapshot(self, pipeline: PipelineName, *, reason: str, restart: bool) -> bool:
        async with self._store.locked(pipeline) as row:
            if row is None:
                return False
            row.state = wish_snapshot(row.state, reason=reason, restart=restart)
            return True

    async def report_fork(self, pipeline: PipelineName, log: Log) -> None:
        async with self._store.locked(pipeline) as row:
            if row is not None:
                row.forked_log = Log(max(row.forked_log or 0, log))

    async def forked_log(self, pipeline: PipelineName) -> Log | None:
        self._store.check()
        row = self._store.pipelines.get(pipeline)
        return row.forked_log if row is not None else None

    async def reset(self, pipeline: PipelineName, *, lanes: int, reason: str) -> Log:
        async with self._store.locked(pipeline) as row:
            if row is None:
                raise TerminalError(f"{pipeline} is not registered", cure="Start the extractor with it once")
            log = Log(max(row.state.log, row.forked_log or 0) + 1)
            row.state = open_log(row.state, log=log, lanes=lanes, reason=reason)
            row.token, row.lease = FencingToken(row.token + 1), None
            return log


def _registration(row: PipelineRow) -> Registration:
    return Registration(
        pipeline=row.state.pipeline,
        lanes=row.state.lanes,
        token=row.token,
        owner=row.lease.owner if row.lease else None,
        trouble=row.trouble,
        state=row.state,
    )
