"""Answers questions about target tables: one of the group's loaders, on every client its connection ever has."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

from qupersync_loader.application.digests import TargetDigests, answer
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.verification import VerificationReply, VerificationRequest, verify_subject
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.lifecycle import end_tasks
from qupersync_shared.runtime.logs import get_logger

QUEUE_GROUP: Final = "qupersync_loader"
_LOOK_SECONDS: Final = 5.0

_log = get_logger(__name__)


class VerificationServer:
    """Serves the pipelines that it was last given. Questions follow each other: a comparison is in no hurry."""

    def __init__(self, connection: Connection, digests: TargetDigests) -> None:
        self._connection = connection
        self._digests = digests
        self._served: dict[PipelineName, TargetPipeline] = {}
        self._subscriptions: dict[PipelineName, Subscription] = {}
        self._client: Client | None = None
        self._turn = asyncio.Lock()
        self._answering: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serves as soon as NATS is there, and again whenever it has come back."""
        await self._connection.on_connect(self._subscribe_all)
        self._keeping = asyncio.create_task(self._keep_connected(), name="verification")

    async def serve(self, pipelines: Sequence[TargetPipeline]) -> None:
        """From now on these pipelines, as they are defined here, and no others."""
        self._served = {pipeline.name: pipeline for pipeline in pipelines}
        async with self._changing:
            await self._follow()

    async def stop(self) -> None:
        """Takes no more questions; what is under way is given up, and asked again of another."""
        if self._keeping is not None:
            await end_tasks([self._keeping])
        await self.serve(())
        await end_tasks(list(self._answering))

    async def _keep_connected(self) -> None:
        """Nobody else asks for this connection's client."""
        while True:
            with contextlib.suppress(QupersyncError):
                await self._connection.client()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _subscribe_all(self, client: Client) -> None:
        async with self._changing:
            self._client = client
            self._subscriptions = {}
            await self._follow()

    async def _follow(self) -> None:
        if self._client is None or self._client.is_closed:
            return
        for name in set(self._subscriptions) - set(self._served):
            try:
                await self._subscriptions.pop(name).unsubscribe()
            except nats.errors.Error as error:
                _log.debug("unsubscribe_failed", error=error)
        for name, pipeline in self._served.items():
            if name not in self._subscriptions:
                subject = verify_subject(pipeline.group, name)
                self._subscriptions[name] = await self._client.subscribe(subject, queue=QUEUE_GROUP, cb=self._receive)
        await self._client.flush()

    async def _receive(self, message: Msg) -> None:
        # nats-py awaits one callback after the other: a slow target must not hold the others of this client up.
        task = asyncio.create_task(self._answer(message))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, message: Msg) -> None:
        async with self._turn:
            try:
                reply = await self._reply_or_reason(message)
                await message.respond(reply.model_dump_json(exclude_defaults=True).encode())
            except (nats.errors.Error, OSError) as error:
                _log.info("verification_unanswered", error=error)

    async def _reply_or_reason(self, message: Msg) -> VerificationReply:
        """Silence would be taken for a loader that is missing."""
        try:
            return await self._reply(message)
        except Exception as error:  # noqa: BLE001  # one question must not end the server
            _log.exception("verification_failed")
            return VerificationReply(
                refused=f"the loader could not answer ({type(error).__name__})",
                cure="Its log has `verification_failed` with the cause",
            )

    async def _reply(self, message: Msg) -> VerificationReply:
        try:
            request = VerificationRequest.model_validate_json(message.data)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            return VerificationReply(
                refused=f"the question cannot be read: {problem}", cure="Do all services have the same version?"
            )
        pipeline = self._served.get(PipelineName(request.pipeline))
        if pipeline is None:
            return VerificationReply(refused="this loader has just let the pipeline go", passing=True)
        return await answer(self._digests, pipeline, request)
