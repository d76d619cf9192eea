"""The only place where adapters meet use cases."""

import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.baseline import BaselineKeeper
from qupersync_loader.application.claims import ClaimKeeper
from qupersync_loader.application.loader import Loader
from qupersync_loader.application.parked import ParkedKeeper
from qupersync_loader.application.quiet import QuietLanes
from qupersync_loader.application.report import Identity, Reporter
from qupersync_loader.application.rotation import Rotation
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.troubles import Troubles
from qupersync_loader.infrastructure.nats.board import NatsProgressBoard
from qupersync_loader.infrastructure.nats.claims import NatsClaims
from qupersync_loader.infrastructure.nats.commands import NatsCommands
from qupersync_loader.infrastructure.nats.feed import NatsLaneFeed
from qupersync_loader.infrastructure.nats.verification import VerificationServer
from qupersync_loader.infrastructure.postgres.digests import PostgresDigests
from qupersync_loader.infrastructure.postgres.target import PostgresTarget
from qupersync_loader.settings import LoaderSettings
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.runtime.database import create_engine
from qupersync_shared.runtime.jetstream import Connection

_ONLOOKERS: Final = 2  # connections beside the slots: for the heartbeat's look, and one to spare
_IDLE_SECONDS_MAX: Final = 20.0
_IDLE_SHARE_OF_ACK_WAIT: Final = 1 / 3


def target_engine(settings: LoaderSettings, *, application_name: str, connections: int | None = None) -> AsyncEngine:
    """The target's engine; a session frozen inside a transaction is ended well before its lane is handed on."""
    return create_engine(
        settings.target_dsn,
        application_name=application_name,
        connections=connections or settings.slots + _ONLOOKERS,
        idle_in_transaction_seconds=min(_IDLE_SECONDS_MAX, settings.ack_wait_seconds * _IDLE_SHARE_OF_ACK_WAIT),
    )


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


@asynccontextmanager
async def verification_server(settings: LoaderSettings) -> AsyncIterator[VerificationServer]:
    """Answers questions about this group's target tables until the block ends, beside the loading."""
    connection = Connection(settings.nats, name=f"qupersync-loader-digests-{instance_name()}")
    digests = PostgresDigests(target_engine(settings, application_name="qupersync-digests", connections=1))
    server = VerificationServer(connection, digests)
    await server.serve(settings.pipelines)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        await connection.close()
        await digests.close()


def instance_name() -> str:
    """A name for this process that no other has and that fits into a KV key."""
    host = "".join(c if c.isalnum() else "-" for c in platform.node()) or "host"
    return f"{host}-{os.getpid()}-{uuid4().hex[:8]}"
