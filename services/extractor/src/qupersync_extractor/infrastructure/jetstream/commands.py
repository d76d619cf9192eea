"""Serves the commands of loaders: one of several extractors answers, and only after its handler has committed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

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
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.logs import describe, get_logger

QUEUE_GROUP: Final = "qupersync_extractor"
_PENDING_MAX: Final = 1000

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """What carries the commands out; each returns after its commit, and raises when it could not."""

    resend: Callable[[ResendRequest], Awaitable[ResendReply]]
    snapshot: Callable[[SnapshotRequest], Awaitable[Accepted]]
    fork: Callable[[ForkReport], Awaitable[Accepted]]
    reread: Callable[[RereadRequest], Awaitable[Accepted]]


class CommandServer:
    """Answers while it is started, on every client its connection ever has.

    A command that fails, or takes too long, gets no reply: it is logged, and whoever asked asks again.
    """

    def __init__(
        self, connection: Connection, handlers: Handlers, *, seconds_max: float = 10, concurrent_max: int = 16
    ) -> None:
        self._connection = connection
        self._seconds_max = seconds_max
        self._slots = asyncio.Semaphore(concurrent_max)
        self._running: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []
        self._stopped = False
        self._served: tuple[tuple[str, type[Command], Callable[[Any], Awaitable[Command]]], ...] = (
            (COMMAND_RESEND, ResendRequest, handlers.resend),
            (COMMAND_SNAPSHOT, SnapshotRequest, handlers.snapshot),
            (COMMAND_FORK, ForkReport, handlers.fork),
            (COMMAND_REREAD, RereadRequest, handlers.reread),
        )

    async def start(self) -> None:
        """Serves from the connection's next client on, or from now if it has one; does not need NATS to be there."""
        await self._connection.on_connect(self._subscribe)

    async def stop(self) -> None:
        """Takes no more commands, and returns when those under way are answered."""
        self._stopped = True
        for subscription in self._subscriptions:
            try:
                await subscription.unsubscribe()
            except nats.errors.Error as error:
                _log.debug("unsubscribe_failed", error=error)
        if self._running:
            await asyncio.wait(self._running, timeout=self._seconds_max)
        for task in self._running:
            task.cancel()

    async def _subscribe(self, client: Client) -> None:
        if self._stopped:
            return
        self._subscriptions = [
            await client.subscribe(
                subject, queue=QUEUE_GROUP, cb=self._receiver(kind, handle), pending_msgs_limit=_PENDING_MAX
            )
            for subject, kind, handle in self._served
        ]
        await client.flush()

    def _receiver(
        self, kind: type[Command], handle: Callable[[Any], Awaitable[Command]]
    ) -> Callable[[Msg], Awaitable[None]]:
        async def receive(message: Msg) -> None:
            # nats-py awaits one callback after the other: one that waits for a database must not hold the rest up.
            await self._slots.acquire()
            task = asyncio.create_task(self._answer(message, kind, handle))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            task.add_done_callback(lambda _: self._slots.release())

        return receive

    async def _answer(self, message: Msg, kind: type[Command], handle: Callable[[Any], Awaitable[Command]]) -> None:
        log = _log.bind(subject=message.subject)
        try:
            request = kind.model_validate_json(message.data)
        except ValidationError as error:
            log.warning("command_malformed", problem=error.errors()[0]["msg"])
            return
        try:
            async with asyncio.timeout(self._seconds_max):
                reply = await handle(request)
                if message.reply:
                    await message.respond(reply.model_dump_json().encode())
        except (QupersyncError, nats.errors.Error, TimeoutError, OSError) as error:
            log.warning("command_failed", error=describe(error), request=request.model_dump(mode="json"))
        except Exception:  # one command must not end the server
            log.exception("command_failed", request=request.model_dump(mode="json"))
        else:
            log.info("command_done", request=request.model_dump(mode="json"), reply=reply.model_dump(mode="json"))
