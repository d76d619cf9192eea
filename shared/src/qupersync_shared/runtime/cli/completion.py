"""`qupersync completion`: the script that lets a shell complete commands, options and pipelines."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Final

import typer

from qupersync_shared.runtime.cli.guard import EXIT_OK

PROGRAM: Final = "qupersync"
VARIABLE: Final = "_QUPERSYNC_COMPLETE"


class Shell(StrEnum):
    """Shells for which there is a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Whose script.")]) -> None:
    """Print the script that lets a shell complete commands, options and pipeline names.

    Pipelines are read from the configuration that the command line names, else from $QUPERSYNC_CONFIG or
    ./qupersync.yaml.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # typer's own users have it so

    sys.stdout.write(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value) + "\n")
    raise typer.Exit(EXIT_OK)


def answer_shell(app: Callable[[], typer.Typer]) -> None:
    """Ends the process with completions, if it is the shell that calls; without a word where something is wrong."""
    if not os.environ.get(VARIABLE):
        return
    from typer.completion import completion_init  # type: ignore[attr-defined]  # typer's own users have it so

    completion_init()
    with suppress(Exception):
        app()(prog_name=PROGRAM, complete_var=VARIABLE)
    sys.exit(EXIT_OK)
