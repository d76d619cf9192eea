"""The port `Commands`: requests to the extractor's side on `qupersync.cmd.>`."""

from typing import TypeVar

from qupersync_shared.contracts.commands import (
    Accepted,
    Command,
    ForkReport,
    RereadRequest,
    ResendReply,
    ResendRequest,
    SnapshotRequest,
)
from qupersync_shared.contracts.subjects import COMMAND_FORK, COMMAND_REREAD, COMMAND_RESEND, COMMAND_SNAPSHOT
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.commands import ask
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.logs import get_logger

_Reply = TypeVar("_Reply", bound=Command)

_log = get_logger(__name__)


class NatsCommands:
    """Asks once; whoever gets no answer asks again later."""

    def __init__(self, connection: Connection, *, timeout_seconds: float = 5) -> None:
        self._connection = connection
        self._timeout_seconds = timeout_seconds

    async def request_resend(self, request: ResendRequest) -> ResendReply | None:
        return await self._ask(COMMAND_RESEND, request, ResendReply)

    async def request_snapshot(self, request: SnapshotRequest) -> bool:
        return await self._ask(COMMAND_SNAPSHOT, request, Accepted) is not None

    async def request_reread(self, request: RereadRequest) -> bool:
        return await self.standing(request) is not None

    async def standing(self, request: RereadRequest) -> Accepted | None:
        """The answer to a reread, which tells of one that was asked for before what has come of it."""
        return await self._ask(COMMAND_REREAD, request, Accepted)

    async def report_fork(self, report: ForkReport) -> bool:
        return await self._ask(COMMAND_FORK, report, Accepted) is not None

    async def _ask(self, subject: str, request: Command, reply: type[_Reply]) -> _Reply | None:
        try:
            client = await self._connection.client()
            return await ask(client, subject, request, reply, timeout=self._timeout_seconds)
        except QupersyncError as error:
            _log.info("command_unanswered", subject=subject, error=error)
            return None
