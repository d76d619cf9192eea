"""`qupersync-loader run`: one process, until a signal, or until everything there is has been loaded."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Final

from qupersync_loader.application.loader import Finish, Loader
from qupersync_loader.bootstrap import Answers, answers, probing, workshop
from qupersync_loader.interface.preflight.at_start import start_looks
from qupersync_loader.settings import LoaderSettings, loader_settings
from qupersync_shared.runtime.configuration_file import ConfigurationFile, still_there
from qupersync_shared.runtime.http import probes_app, serve
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.quarantine import parked_reason
from qupersync_shared.runtime.settings import Configuration

_SECTIONS: Final = ("nats", "target", "loader")

_log = get_logger(__name__)


async def run_process(file: ConfigurationFile, stop: Stop, *, group: str | None, only: Sequence[str]) -> int:
    """Loads until a signal, by what the configuration file says of pipelines then; the exit code."""

    def chosen(configuration: Configuration) -> LoaderSettings:
        return loader_settings(configuration, group=group, only=still_there(only, configuration), path=str(file.path))

    settings = loader_settings(file.in_force, group=group, only=only, path=str(file.path))
    _tell_of_start(settings)
    async with workshop(settings) as loader, answers(settings) as answering:

        async def take(configuration: Configuration) -> None:
            pipelines = chosen(configuration).pipelines
            await answering.serve(pipelines)
            await loader.change(pipelines, stop)

        following = asyncio.create_task(
            file.follow(sections=_SECTIONS, check=chosen, take=take, tell=loader.tell_of_configuration)
        )
        looking = asyncio.create_task(start_looks(settings, loader).run())
        probed = asyncio.create_task(_serve_probes(settings, loader, answering, stop))
        try:
            with file.heeding_hangups():
                await loader.run(stop)
        finally:
            await end_tasks([looking, probed])
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
    return 0


async def _serve_probes(settings: LoaderSettings, loader: Loader, answering: Answers, stop: Stop) -> None:
    """Serves until the stop where the configuration says so; whatever happens to it, the loading goes on."""
    if settings.probes is None:
        return
    try:
        async with probing(settings, loader, answering.connection) as probes:
            await serve(probes_app(probes), settings.probes, stop, name="probes")
    except Exception:  # noqa: BLE001  # a defect here must not end the loading
        _log.exception("probes_failed")


async def run_until_drained(settings: LoaderSettings, stop: Stop) -> int:
    """Loads what there is: 0, or 1 when something still waits for a person."""
    _tell_of_start(settings)
    async with workshop(settings) as loader:
        finish = await loader.run_until_drained(stop)
    if finish.clean:
        return 0
    for line in report(finish):
        sys.stderr.write(f"{line}\n")
    return 1


def _tell_of_start(settings: LoaderSettings) -> None:
    names = [pipeline.name for pipeline in settings.pipelines]
    _log.info("loader_starts", group=settings.group, pipelines=names, slots=settings.slots)


def report(finish: Finish) -> list[str]:
    """What waits for a person after a drained run, and where to look."""
    lines = [f"not loaded: {reason}" for reason in finish.reasons]
    for name, parked in sorted(finish.waiting.items()):
        reason = parked_reason(name, parked.quarantined, parked.dead_letters)
        lines.append(f"{name}: {reason}")
    return lines
