"""The `qupersync` command. Services plug their sub-commands in, and end their own commands by `guarded` too."""

from qupersync_shared.runtime.cli.app import build_app, main
from qupersync_shared.runtime.cli.guard import guarded
from qupersync_shared.runtime.cli.invocation import Invocation, configuration, invocation
from qupersync_shared.runtime.cli.probing import run

__all__ = ["Invocation", "build_app", "configuration", "guarded", "invocation", "main", "run"]
