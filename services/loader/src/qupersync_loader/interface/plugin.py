"""What the loader contributes to the `qupersync` command: dead letters, quarantine, checks, its part of the status."""

import typer

from qupersync_loader.interface.checks import loader_checks
from qupersync_loader.interface.dead_letters import add_commands
from qupersync_loader.interface.quarantine import target_quarantine
from qupersync_loader.interface.status import loader_status
from qupersync_shared.runtime.plugins import Plugin


def register(app: typer.Typer) -> None:
    """Adds this service's sub-commands."""
    add_commands(app)


plugin = Plugin(
    name="loader", register=register, checks=loader_checks, status=loader_status, quarantine=target_quarantine
)
