"""What the extractor does when a loader asks: each answer comes after its commit."""

from qupersync_extractor.application.ports import Registry
from qupersync_shared.contracts.commands import Accepted, ForkReport, SnapshotRequest
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.ids import Log, PipelineName


async def accept_snapshot_request(registry: Registry, request: SnapshotRequest) -> Accepted:
    """Records the wish: only a snapshot whose first page is yet to come serves a loader without a baseline."""
    reason = f"loader group {request.group} asks for it: {request.reason}"
    if not await registry.wish_snapshot(PipelineName(request.pipeline), reason=reason, restart=True):
        raise TerminalError(f"there is no pipeline {request.pipeline!r} here")
    await registry.request_run(PipelineName(request.pipeline), None)
    return Accepted()


async def accept_fork_report(registry: Registry, report: ForkReport) -> Accepted:
    """Remembers the fork, so that the next run opens a greater log, and asks for that run."""
    if await registry.get(PipelineName(report.pipeline)) is None:
        raise TerminalError(f"there is no pipeline {report.pipeline!r} here")
    await registry.report_fork(PipelineName(report.pipeline), Log(report.log))
    await registry.request_run(PipelineName(report.pipeline), None)
    return Accepted()
