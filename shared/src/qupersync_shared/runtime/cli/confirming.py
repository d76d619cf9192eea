"""Asking before something is given up; a script, whom nobody can answer for, says so beforehand."""

import sys
from typing import Final

import typer

from qupersync_shared.runtime.cli.guard import EXIT_WRONG, NobodyToAskError

_AGREED: Final = frozenset({"y", "yes"})


def confirm(question: str, *, yes: bool) -> None:
    """Returns when somebody agreed, now or by `--yes`; else the command ends, and nothing was done.

    The question stands on stderr, whole: stdout is for answers, and may be read by a program.
    """
    if yes:
        return
    sys.stderr.write(f"{question} [y/N]: ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
        raise NobodyToAskError(
            "nothing was done: somebody must agree, and there is no terminal to ask on", cure="Agree with --yes"
        )
    if answer.strip().lower() not in _AGREED:
        sys.stderr.write("nothing was done\n")
        raise typer.Exit(EXIT_WRONG)
