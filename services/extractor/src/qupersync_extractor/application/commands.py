"""What the extractor does when a loader asks: each answer comes after its commit."""

from qupersync_extractor.application.ports import Registry
from qupersync_extractor.application.rereads import Rereads
from qupersync_extractor.domain.rereads import Reread, SpanOrder, WantedKeys, WantedSpan
from qupersync_shared.contracts.commands import Accepted, ForkReport, RereadRequest, SnapshotRequest
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


async def accept_reread_request(rereads: Rereads, request: RereadRequest) -> Accepted:
    """Keeps the request until the extractor has read what it names; the same id twice is one reread, and the second
    answer says what has come of it.
    """
    if not await rereads.request(reread_of(request)):
        raise TerminalError(f"there is no pipeline {request.pipeline!r} here")
    known = await rereads.get(request.id)
    if known is None or not known.done or known.refused is None:
        return Accepted()
    return Accepted(refused=known.refused, keys_refused=known.keys_refused)


def reread_of(request: RereadRequest) -> Reread:
    """The request as the extractor keeps it; whether its keys fit the source shows when they are read."""
    wanted: WantedKeys | WantedSpan
    if request.cursor_span is not None:
        span = request.cursor_span
        wanted = WantedSpan(by=SpanOrder.CURSOR, after=span.after, upto=span.upto)
    elif request.key_span is not None:
        wanted = WantedSpan(by=SpanOrder.KEY, after=request.key_span.after, upto=request.key_span.upto)
    else:
        wanted = WantedKeys(keys=request.keys)
    return Reread(
        id=request.id,
        pipeline=PipelineName(request.pipeline),
        group=request.group,
        reason=request.reason,
        wanted=wanted,
        redrives=request.redrives,
    )
