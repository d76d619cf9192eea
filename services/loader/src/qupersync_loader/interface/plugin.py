"""What the loader contributes to the `qupersync` command: commands, quarantine, checks, its part of the status."""

import typer

from qupersync_loader.interface import dead_letters, rebuild, replay
from qupersync_loader.interface.preflight import loader_checks
from qupersync_loader.interface.quarantine import target_quarantine
from qupersync_loader.interface.sampling import target_sampler
from qupersync_loader.interface.status import loader_status
from qupersync_shared.runtime.plugins import Plugin


def register(app: typer.Typer) -> None:
    """Adds this service's sub-commands."""
    dead_letters.add_commands(app)
    rebuild.add_command(app)
    replay.add_command(app)


plugin = Plugin(
    name="loader",
    register=register,
    checks=loader_checks,
    status=loader_status,
    quarantine=target_quarantine,
    samples=target_sampler,
)
