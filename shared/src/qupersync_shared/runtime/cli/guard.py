"""Errors become one line and an exit code: 0 ok, 1 something is wrong, 2 bad configuration or usage, 130 Ctrl-C."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import typer
from typer.main import get_command

from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.records import BadCursorError, UnknownFieldError

EXIT_OK: Final = 0
EXIT_WRONG: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
DEBUG_VARIABLE: Final = "QUPERSYNC_DEBUG"

_abandoned = False


class NobodyToAskError(QupersyncError):
    """Somebody must agree to what a command is about to do, and there is no terminal to ask on."""


def guarded(main: Callable[[], object]) -> NoReturn:
    """Runs `main` (a function or a typer app) and ends the process with its exit code; an int it returns is the code.

    Errors go to stderr in one line; `--debug`, or QUPERSYNC_DEBUG=1, shows their tracebacks.
    """
    _leave(_code(main))


def called(app: typer.Typer, arguments: Sequence[str], *, name: str) -> int:
    """Calls a typer app; its exit code. What goes wrong in it is raised, for `guarded` to put into words.

    Not through `app()`, for which a reader of its output that has gone is an error.
    """
    command = get_command(app)
    try:
        with command.make_context(name, list(arguments)) as context:
            result = command.invoke(context)
    except typer.Exit as ending:
        return ending.exit_code
    except typer.TyperException as error:  # bad usage: typer's own words, with the command's usage before them
        shown: Any = error
        shown.show()
        return shown.exit_code if isinstance(shown.exit_code, int) else EXIT_USAGE
    except typer.Abort:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else EXIT_OK


def abandon_threads() -> None:
    """Lets the process end although threads hang in a driver: a probe that was given up must not hold the command."""
    global _abandoned  # noqa: PLW0603  # about the process as a whole
    _abandoned = True


def debugging() -> bool:
    """Whether tracebacks were asked for."""
    return "--debug" in sys.argv[1:] or os.environ.get(DEBUG_VARIABLE, "") not in {"", "0"}


def _code(main: Callable[[], object]) -> int:
    try:
        result = main()
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or EXIT_OK
        sys.stderr.write(f"{ending.code}\n")
        return EXIT_WRONG
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _read_by_nobody()
        return EXIT_OK
    except Exception as error:  # noqa: BLE001  # the last place that can turn it into words
        return _explain(error)
    return result if isinstance(result, int) else EXIT_OK


def _explain(error: Exception) -> int:
    if debugging():
        traceback.print_exception(error)
    match error:
        case ConfigurationError():
            of_the_call = error.place == "arguments" or error.place.startswith("-")
            sys.stderr.write(f"{'error' if of_the_call else 'configuration'}: {describe(error)}\n")
            return EXIT_USAGE
        case UnknownFieldError() | BadCursorError() | NobodyToAskError():
            sys.stderr.write(f"error: {describe(error)}\n")
            return EXIT_USAGE
        case QupersyncError():
            sys.stderr.write(f"error: {describe(error)}\n")
            return EXIT_WRONG
        case _:
            hint = "" if debugging() else " (a defect, or something unforeseen: --debug shows where)"
            sys.stderr.write(f"error: {describe(error)}{hint}\n")
            return EXIT_WRONG


def _read_by_nobody() -> None:
    """Whoever read our output has gone: nothing is wrong, and flushing at exit must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _read_by_nobody()
    if _abandoned:
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
