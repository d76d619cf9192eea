"""What the loader contributes to the `qupersync` command: checks and its part of the status."""

import typer

from qupersync_loader.interface.checks import loader_checks
from qupersync_loader.interface.status import loader_status
from qupersync_shared.runtime.plugins import Plugin


def register(_app: typer.Typer) -> None:
    """The loader has no sub-commands of its own yet."""


plugin = Plugin(name="loader", register=register, checks=loader_checks, status=loader_status)
