"""What the commands for rebuilds and replays share: the target, the stream, and nothing of the source."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.nats.history import NatsHistory
from qupersync_loader.infrastructure.postgres.target import PostgresTarget
from qupersync_loader.settings import LoaderSettings, loader_settings
from qupersync_loader.stores import target_engine
from qupersync_shared.runtime.instance import instance_name
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """One pipeline of a loader group, its stream and its target."""

    settings: LoaderSettings
    pipeline: TargetPipeline
    target: PostgresTarget
    history: NatsHistory
    connections: int


@asynccontextmanager
async def workbench(
    configuration: Configuration, name: str, *, group: str | None, connections: int | None, doing: str
) -> AsyncIterator[Workbench]:
    """Connects when first asked; ConfigurationError for a pipeline that there is not."""
    settings = loader_settings(configuration, group=group, only=[name])
    chosen = connections or settings.slots
    application = f"qupersync-{doing}"
    target = PostgresTarget(target_engine(settings, application_name=application, connections=chosen + 1))
    connection = Connection(settings.nats, name=f"{application}-{instance_name()}")
    pipeline = settings.pipelines[0]
    try:
        yield Workbench(
            settings=settings,
            pipeline=pipeline,
            target=target,
            history=NatsHistory(connection, pipeline.name),
            connections=chosen,
        )
    finally:
        await connection.close()
        await target.close()
