"""The control API in a process: served beside its pipelines, or alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from qupersync_extractor.application.parked import ParkedOperations
from qupersync_extractor.application.troubles import PROCESS, Troubles
from qupersync_extractor.bootstrap import Workshop, workshop
from qupersync_extractor.infrastructure.postgres.schema import pending_revisions
from qupersync_extractor.interface.api.app import LOOPBACK_NAMES, build_app
from qupersync_extractor.interface.api.board import StatusBoard
from qupersync_extractor.interface.api.desk import Desk
from qupersync_extractor.interface.api.metering import RequestMeter
from qupersync_extractor.interface.api.security import Gatekeeper
from qupersync_extractor.interface.api.statuses import SourcePort, Statuses
from qupersync_extractor.interface.api.tokens import Tokens
from qupersync_extractor.interface.page import ROUTERS
from qupersync_extractor.settings import extractor_settings
from qupersync_extractor.stores import Stores, stores
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.configuration_file import ConfigurationFile
from qupersync_shared.runtime.http import Check, Probes, Readiness, serve
from qupersync_shared.runtime.jetstream import translated
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.settings import Configuration
from qupersync_shared.runtime.settings.control import ControlSection

CONNECTIONS: Final = 4
SECTIONS: Final = ("source", "outbox", "nats", "extractor", "control")
_SECONDS: Final = 2

_log = get_logger(__name__)


def check_tokens(configuration: Configuration) -> ControlSection:
    """The section; ConfigurationError where there is none, and for tokens that nobody could use."""
    if configuration.control is None:
        raise ConfigurationError("control is missing", place="control", cure="Write `control: {port: 8700}`")
    Tokens(configuration.control.tokens).check()
    return configuration.control


async def serve_api(
    shop: Workshop, configured: Callable[[], Configuration], stop: Stop, section: ControlSection
) -> None:
    """Serves the API until the stop; whatever happens to it, nothing is raised."""
    try:
        await _serve(shop, configured, stop, section)
    except Exception:  # noqa: BLE001  # a defect here must not end the pipelines
        _log.exception("control_failed")


async def _serve(shop: Workshop, configured: Callable[[], Configuration], stop: Stop, section: ControlSection) -> None:
    async with application(shop, configured, section, stop) as app:
        await serve(app, section, stop, name="control")


async def run_api(file: ConfigurationFile, stop: Stop, *, path: str) -> int:
    """A process that serves the API and nothing else; ConfigurationError as `check_tokens`."""
    configuration = file.in_force
    try:
        section = check_tokens(configuration)
        async with workshop(configuration, role="control", path=path) as shop:
            following = asyncio.create_task(_follow(file, shop.troubles), name="configuration")
            try:
                with file.heeding_hangups():
                    await _serve(shop, lambda: file.in_force, stop, section)
            finally:
                await end_tasks([following])
    except ConfigurationError as error:
        raise error.within(path) from None
    return 0


async def _follow(file: ConfigurationFile, troubles: Troubles) -> None:
    async def take(_: Configuration) -> None:
        """Whoever asks next is answered by it."""

    def tell(trouble: str | None) -> None:
        if trouble is None:
            troubles.clear(PROCESS, "configuration")
        else:
            troubles.set(PROCESS, "configuration", trouble)

    check = partial(extractor_settings, path=str(file.path))
    await file.follow(sections=SECTIONS, check=check, take=take, tell=tell)


@asynccontextmanager
async def application(
    shop: Workshop, configured: Callable[[], Configuration], section: ControlSection, stop: Stop
) -> AsyncIterator[FastAPI]:
    """The application on connections of its own: whoever looks must not hold up pages or leases."""
    kept = stores(replace(shop.settings, outbox_connections=CONNECTIONS), application_name="qupersync-control")
    port = SourcePort()
    statuses = Statuses(configured=configured, stores=kept, connection=shop.connection, source=port)
    board = StatusBoard(statuses.read)
    readiness = Readiness(_checks(shop, kept, configured, port))
    meter = RequestMeter()
    gatekeeper = Gatekeeper(Tokens(section.tokens))
    if gatekeeper.open:
        _log.info("control_open", host=section.host, reason="without tokens only this machine is answered, and may act")
    released = version("qupersync-extractor")
    keeping = asyncio.create_task(board.keep(stop), name="status-board")
    try:
        yield build_app(
            desk_of(shop, kept, board, configured),
            gatekeeper=gatekeeper,
            probes=Probes(version=released, readiness=readiness, registry=meter.registry),
            meter=meter,
            version=released,
            hosts=(*LOOPBACK_NAMES, section.host),
            further=ROUTERS,
        )
    finally:
        await end_tasks([keeping])
        await readiness.close()
        await kept.close()


def desk_of(shop: Workshop, kept: Stores, board: StatusBoard, configured: Callable[[], Configuration]) -> Desk:
    """What the routes work with."""
    parked = shop.parked(kept)
    return Desk(
        configured=configured,
        board=board,
        operations=kept.operations,
        controls=kept.controls,
        requests=kept.requests,
        runs=kept.runs,
        actions=kept.actions,
        ledger=kept.ledger,
        parked=ParkedOperations(parked=parked, actions=kept.actions),
        where_parked=shop.where_parked(kept),
        rebuilds=shop.rebuilds(),
    )


def _checks(
    shop: Workshop, kept: Stores, configured: Callable[[], Configuration], port: SourcePort
) -> dict[str, Check]:
    async def source() -> str | None:
        return await port.trouble(configured())

    async def outbox() -> str | None:
        waiting = await pending_revisions(kept.engine)
        return "the outbox database is not migrated: run `qupersync-extractor migrate`" if waiting else None

    async def nats() -> None:
        client = await shop.connection.client()
        with translated("ask NATS whether it is there"):
            await client.flush(timeout=_SECONDS)

    async def progress() -> str | None:
        await bucket.server_time(await shop.connection.client(), timeout=_SECONDS)
        return shop.troubles.by_pipeline().get(PROCESS)

    return {"source": source, "outbox": outbox, "nats": nats, "progress": progress}
