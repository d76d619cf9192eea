"""Answers questions about target tables: one of the group's loaders."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from qupersync_loader.application.digests import TargetDigests, answer
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.verification import VerificationReply, VerificationRequest, verify_subject
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.questions import QuestionServer, Topic

QUEUE_GROUP: Final = "qupersync_loader"


class VerificationServer:
    """Serves the pipelines that it was last given. Questions follow each other: a comparison is in no hurry."""

    def __init__(self, connection: Connection, digests: TargetDigests) -> None:
        self._digests = digests
        self._server = QuestionServer(connection, queue=QUEUE_GROUP)

    async def start(self) -> None:
        """Serves as soon as NATS is there, and again whenever it has come back."""
        await self._server.start()

    async def serve(self, pipelines: Sequence[TargetPipeline]) -> None:
        """From now on these pipelines, as they are defined here, and no others."""
        await self._server.serve([self._topic(pipeline) for pipeline in pipelines])

    async def stop(self) -> None:
        """Takes no more questions; what is under way is given up, and asked again of another."""
        await self._server.stop()

    def _topic(self, pipeline: TargetPipeline) -> Topic:
        return Topic(
            subject=verify_subject(pipeline.group, pipeline.name),
            question=VerificationRequest,
            answer=partial(answer, self._digests, pipeline),
            refusal=VerificationReply,
            failure="verification_failed",
        )
