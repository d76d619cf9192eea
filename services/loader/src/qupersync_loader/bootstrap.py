"""The only place where adapters meet use cases."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from sqlalchemy import text

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.baseline import BaselineKeeper
from qupersync_loader.application.claims import ClaimKeeper
from qupersync_loader.application.loader import Loader
from qupersync_loader.application.parked import ParkedKeeper
from qupersync_loader.application.parked_content import ParkedDesk
from qupersync_loader.application.quiet import QuietLanes
from qupersync_loader.application.report import Identity, Reporter
from qupersync_loader.application.rotation import Rotation
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.troubles import Troubles
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.metrics import LoaderMetrics, loader_registry
from qupersync_loader.infrastructure.nats.board import NatsProgressBoard
from qupersync_loader.infrastructure.nats.claims import NatsClaims
from qupersync_loader.infrastructure.nats.commands import NatsCommands
from qupersync_loader.infrastructure.nats.desk import AT_ONCE, DeskServer
from qupersync_loader.infrastructure.nats.feed import NatsLaneFeed
from qupersync_loader.infrastructure.nats.verification import VerificationServer
from qupersync_loader.infrastructure.postgres.digests import PostgresDigests
from qupersync_loader.infrastructure.postgres.parked_pages import PostgresParked
from qupersync_loader.infrastructure.postgres.rebuild.listed import ListedRebuilds
from qupersync_loader.infrastructure.postgres.target import PostgresTarget
from qupersync_loader.settings import LoaderSettings
from qupersync_loader.stores import target_engine
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.runtime.database import translated
from qupersync_shared.runtime.http import Probes, Readiness
from qupersync_shared.runtime.instance import instance_name
from qupersync_shared.runtime.jetstream import Connection


@asynccontextmanager
async def workshop(settings: LoaderSettings) -> AsyncIterator[Loader]:
    """A loader with all its parts, closed afterwards. Connects to nothing by itself."""
    instance = instance_name()
    clock = SystemClock()
    connection = Connection(settings.nats, name=f"qupersync-loader-{instance}")
    feed = NatsLaneFeed(
        settings.nats,
        connection,
        name=f"qupersync-loader-lanes-{instance}",
        ack_wait_seconds=settings.ack_wait_seconds,
    )
    target = PostgresTarget(target_engine(settings, application_name="qupersync-loader"))
    commands = NatsCommands(connection)
    troubles = Troubles()
    rotation = Rotation(settings.slots)
    identity = Identity(
        instance=instance, group=settings.group, version=version("qupersync-loader"), started_at=clock.now()
    )
    slots = Slots(
        target=target,
        feed=feed,
        use_cases={},
        rotation=rotation,
        troubles=troubles,
        ack_wait_seconds=settings.ack_wait_seconds,
        quiet=QuietLanes(feed, rotation),
    )
    try:
        yield Loader(
            group=settings.group,
            pipelines=settings.pipelines,
            target=target,
            feed=feed,
            slots=slots,
            slot_count=settings.slots,
            rotation=rotation,
            baselines=BaselineKeeper(feed, commands, troubles, clock),
            parked=ParkedKeeper(target, commands, clock),
            reporter=Reporter(identity, NatsProgressBoard(connection), troubles, clock),
            troubles=troubles,
            claims=ClaimKeeper(NatsClaims(connection, ack_wait_seconds=settings.ack_wait_seconds)),
            use_case=lambda pipeline: ApplyEvent(pipeline, commands, clock),
        )
    finally:
        await feed.close()
        await connection.close()
        await target.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one loader of a group answers to other services: about its tables, parked content and rebuilds."""

    connection: Connection
    servers: tuple[VerificationServer | DeskServer, ...]

    async def serve(self, pipelines: Sequence[TargetPipeline]) -> None:
        """From now on of these pipelines, as they are defined here, and of no others."""
        for server in self.servers:
            await server.serve(pipelines)


@asynccontextmanager
async def answers(settings: LoaderSettings) -> AsyncIterator[Answers]:
    """Answers other services until the block ends, beside the loading and with sessions of its own."""
    connection = Connection(settings.nats, name=f"qupersync-loader-answers-{instance_name()}")
    digests = PostgresDigests(target_engine(settings, application_name="qupersync-digests", connections=1))
    engine = target_engine(settings, application_name="qupersync-desk", connections=AT_ONCE)
    desk = DeskServer(
        connection,
        group=settings.group,
        parked=ParkedDesk(PostgresParked(engine, settings.group), NatsCommands(connection)),
        rebuilds=ListedRebuilds(engine, settings.group),
    )
    found = Answers(connection=connection, servers=(VerificationServer(connection, digests), desk))
    await found.serve(settings.pipelines)
    for server in found.servers:
        await server.start()
    try:
        yield found
    finally:
        for server in found.servers:
            await server.stop()
        await connection.close()
        await digests.close()
        await engine.dispose()


@asynccontextmanager
async def probing(settings: LoaderSettings, loader: Loader, nats: Connection) -> AsyncIterator[Probes]:
    """What is told of this process over HTTP; its look at the target waits behind no event."""
    released = version("qupersync-loader")
    engine = target_engine(settings, application_name="qupersync-probe", connections=1)

    async def target() -> None:
        with translated():
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

    async def connected() -> None:
        await nats.client()

    async def progress() -> str | None:
        return loader.standing.stuck

    readiness = Readiness({"target": target, "nats": connected, "progress": progress})
    metrics = LoaderMetrics(lambda: loader.standing, clock=SystemClock(), version=released)
    try:
        yield Probes(version=released, readiness=readiness, registry=loader_registry(metrics))
    finally:
        await readiness.close()
        await engine.dispose()
