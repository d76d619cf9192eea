"""What every sub-command may ask of its invocation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qupersync_shared.runtime.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    import typer

    from qupersync_shared.runtime.settings import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The options that stand before a sub-command, and what is installed."""

    config: Path | None = None
    plugins: Plugins = field(default_factory=Plugins)


def invocation(context: typer.Context) -> Invocation:
    """The invocation of a command of the `qupersync` app."""
    found = context.find_object(Invocation)
    return found or Invocation()


def configuration(context: typer.Context, config: Path | None = None) -> Configuration:
    """The valid configuration; ConfigurationError (exit code 2) says what is wrong with it.

    `config` is a sub-command's own `--config`, which outranks the one before it.
    """
    from qupersync_shared.runtime.settings import load

    return load(config or invocation(context).config)
