"""`qupersync-loader run`: one process, until a signal, or until everything there is has been loaded."""

import sys

from qupersync_loader.application.loader import Finish
from qupersync_loader.bootstrap import workshop
from qupersync_loader.settings import LoaderSettings
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.quarantine import parked_reason

_log = get_logger(__name__)


async def run_process(settings: LoaderSettings, stop: Stop, *, until_drained: bool) -> int:
    """The exit code: 0 after an orderly end; 1 when, after a drained run, something still waits for a person."""
    names = [pipeline.name for pipeline in settings.pipelines]
    _log.info("loader_starts", group=settings.group, pipelines=names, slots=settings.slots)
    async with workshop(settings) as loader:
        if not until_drained:
            await loader.run(stop)
            return 0
        finish = await loader.run_until_drained(stop)
    if finish.clean:
        return 0
    for line in report(finish):
        sys.stderr.write(f"{line}\n")
    return 1


def report(finish: Finish) -> list[str]:
    """What waits for a person after a drained run, and where to look."""
    lines = [f"not loaded: {reason}" for reason in finish.reasons]
    for name, parked in sorted(finish.waiting.items()):
        reason = parked_reason(name, parked.quarantined, parked.dead_letters)
        lines.append(f"{name}: {reason}")
    return lines
