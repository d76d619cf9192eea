"""Answers what the extractor's side asks of parked content and rebuilds: one of the group's loaders."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from qupersync_loader.application.parked_content import ParkedDesk
from qupersync_loader.application.rebuild.told import SeenRebuilds, answer
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.nats.verification import QUEUE_GROUP
from qupersync_shared.contracts.parked import ParkedReply, ParkedRequest, parked_subject
from qupersync_shared.contracts.rebuilds import RebuildsReply, RebuildsRequest, rebuilds_subject
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.questions import QuestionServer, Topic

AT_ONCE: Final = 2  # as many sessions as it has at the target


class DeskServer:
    """Serves the parked content of the pipelines that it was last given, and the rebuilds of their group."""

    def __init__(self, connection: Connection, *, group: GroupName, parked: ParkedDesk, rebuilds: SeenRebuilds) -> None:
        self._group = group
        self._parked = parked
        self._rebuilds = rebuilds
        self._server = QuestionServer(connection, queue=QUEUE_GROUP, at_once=AT_ONCE)

    async def start(self) -> None:
        """Serves as soon as NATS is there, and again whenever it has come back."""
        await self._server.start()

    async def serve(self, pipelines: Sequence[TargetPipeline]) -> None:
        """From now on these pipelines, as they are defined here, and no others."""
        parked = [
            Topic(
                subject=parked_subject(pipeline.group, pipeline.name),
                question=ParkedRequest,
                answer=partial(self._parked.answer, pipeline),
                refusal=ParkedReply,
            )
            for pipeline in pipelines
        ]
        rebuilds = Topic(
            subject=rebuilds_subject(self._group),
            question=RebuildsRequest,
            answer=partial(answer, self._rebuilds),
            refusal=RebuildsReply,
        )
        await self._server.serve([*parked, rebuilds])

    async def stop(self) -> None:
        """Takes no more questions; what is under way is given up, and asked again of another."""
        await self._server.stop()
