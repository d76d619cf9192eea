"""Errors become one line and an exit code: 0 ok, 1 something is wrong, 2 bad configuration or usage."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.records import BadCursorError, UnknownFieldError

EXIT_OK: Final = 0
EXIT_WRONG: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
DEBUG_VARIABLE: Final = "QUPERSYNC_DEBUG"

_abandoned = False


def guarded(main: Callable[[], object]) -> NoReturn:
    """Runs `main` (a function or a typer app) and ends the process with its exit code; an int it returns is the code.

    Errors go to stderr in one line; `--debug`, or QUPERSYNC_DEBUG=1, shows their tracebacks.
    """
    _leave(_code(main))


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
        # Whoever read our output has gone: nothing is wrong, and flushing at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:  # noqa: BLE001  # the last place that can turn it into words
        return _explain(error)
    return result if isinstance(result, int) else EXIT_OK


def _explain(error: Exception) -> int:
    if debugging():
        traceback.print_exception(error)
    match error:
        case ConfigurationError():
            sys.stderr.write(f"configuration: {describe(error)}\n")
            return EXIT_USAGE
        case UnknownFieldError() | BadCursorError():
            sys.stderr.write(f"error: {describe(error)}\n")
            return EXIT_USAGE
        case QupersyncError():
            sys.stderr.write(f"error: {describe(error)}\n")
            return EXIT_WRONG
        case _:
            hint = "" if debugging() else " (a defect, or something unforeseen: --debug shows where)"
            sys.stderr.write(f"error: {describe(error)}{hint}\n")
            return EXIT_WRONG


def _leave(code: int) -> NoReturn:
    if _abandoned:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
