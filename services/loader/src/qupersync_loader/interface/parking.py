"""What the operator's commands for parked content stand on: the target, and a way to ask the extractor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from qupersync_loader.application.ports import Commands
from qupersync_loader.bootstrap import instance_name, target_engine
from qupersync_loader.domain.pipeline import DeletePolicy
from qupersync_loader.infrastructure.nats.commands import NatsCommands
from qupersync_loader.infrastructure.postgres.parked import ParkedContent
from qupersync_loader.settings import loader_settings
from qupersync_shared.kernel.errors import StreamUnavailableError
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import Configuration

_CONNECTIONS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Parking:
    """Parked content of one loader group; `keeping`: the pipelines that keep what their sources forget."""

    group: GroupName
    keeping: frozenset[str]
    content: ParkedContent
    commands: Commands


@asynccontextmanager
async def opened(configuration: Configuration, group: str | None) -> AsyncIterator[Parking]:
    """The parked content of a loader group, the configuration's if None; connects when first asked."""
    settings = loader_settings(configuration, group=group)
    engine = target_engine(settings, application_name="qupersync-parked", connections=_CONNECTIONS)
    connection = Connection(settings.nats, name=f"qupersync-parked-{instance_name()}")
    try:
        yield Parking(
            group=settings.group,
            keeping=frozenset(one.name for one in settings.pipelines if one.deletes is DeletePolicy.KEEP),
            content=ParkedContent(engine, settings.group),
            commands=NatsCommands(connection),
        )
    finally:
        await connection.close()
        await engine.dispose()


def nobody_answers() -> StreamUnavailableError:
    return StreamUnavailableError(
        "no extractor accepted the request: nothing was lost, and what waits goes on waiting",
        cure="Is `qupersync-extractor run` up, and does it know the pipeline? Then run this again",
    )
