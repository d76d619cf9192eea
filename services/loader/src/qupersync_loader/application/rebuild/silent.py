"""The port `Commands` for somebody who reads the past: nothing is asked of anybody."""

from typing import Final

from qupersync_shared.contracts.commands import (
    ForkReport,
    RereadRequest,
    ResendReply,
    ResendRequest,
    ResendStatus,
    SnapshotRequest,
)

_LATER: Final = 2**62


class SilentCommands:
    """Whatever is missing was asked for by the live lane when it came here: copies follow in the stream, or do not."""

    async def request_resend(self, request: ResendRequest) -> ResendReply | None:  # noqa: ARG002  # the port's
        # Of a generation that no event has: what cannot be used is left out, and not asked for again and again.
        return ResendReply(status=ResendStatus.REWOUND, generation=_LATER)

    async def request_snapshot(self, request: SnapshotRequest) -> bool:  # noqa: ARG002  # the port's
        return True

    async def request_reread(self, request: RereadRequest) -> bool:  # noqa: ARG002  # the port's
        return True

    async def report_fork(self, report: ForkReport) -> bool:  # noqa: ARG002  # the port's
        return True
