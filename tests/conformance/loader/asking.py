"""Commands that are noted and answered as the test says, and a clock that the test moves."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from qupersync_shared.contracts.commands import (
    ForkReport,
    RereadRequest,
    ResendReply,
    ResendRequest,
    ResendStatus,
    SnapshotRequest,
)


@dataclass(kw_only=True)
class NotedCommands:
    """`resend` None and `accepts` False: nobody answers."""

    resend: ResendReply | None = None
    accepts: bool = True
    resends: list[ResendRequest] = field(default_factory=list)
    snapshots: list[SnapshotRequest] = field(default_factory=list)
    forks: list[ForkReport] = field(default_factory=list)
    rereads: list[RereadRequest] = field(default_factory=list)

    def rewinds(self, generation: int) -> None:
        self.resend = ResendReply(status=ResendStatus.REWOUND, generation=generation)

    def lacks(self) -> None:
        self.resend = ResendReply(status=ResendStatus.UNAVAILABLE)

    async def request_resend(self, request: ResendRequest) -> ResendReply | None:
        self.resends.append(request)
        return self.resend

    async def request_snapshot(self, request: SnapshotRequest) -> bool:
        self.snapshots.append(request)
        return self.accepts

    async def request_reread(self, request: RereadRequest) -> bool:
        self.rereads.append(request)
        return self.accepts

    async def report_fork(self, report: ForkReport) -> bool:
        self.forks.append(report)
        return self.accepts


@dataclass
class MovedClock:
    moment: datetime = datetime(2024, 6, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def move(self, **by: float) -> None:
        self.moment += timedelta(**by)
