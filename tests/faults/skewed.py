"""Runs a module with a wall clock that is off: `python -m tests.faults.skewed FILE MODULE ARGUMENTS…`.

FILE holds the seconds and may change while the module runs, as a clock does that somebody sets. Only the wall clock of
this process moves: the monotonic one never does, and servers have their own.
"""

import ctypes
import gc
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any


def skew(seconds: Callable[[], float]) -> None:
    """From now on `time.time` and `datetime.now`, whoever has imported them, say the time so many seconds off."""
    seconds_now, nanoseconds_now, moment_now = time.time, time.time_ns, datetime.now

    def now(_: type[datetime], tz: tzinfo | None = None) -> datetime:
        return moment_now(tz) + timedelta(seconds=seconds())

    def utcnow(_: type[datetime]) -> datetime:
        return now(datetime, UTC).replace(tzinfo=None)

    def today(_: type[datetime]) -> datetime:
        return now(datetime)

    time.time = lambda: seconds_now() + seconds()
    time.time_ns = lambda: nanoseconds_now() + int(seconds() * 1_000_000_000)
    # A class in C cannot be changed from Python, and a class in its place would not be the one that others check for.
    own: Mapping[str, Any] = datetime.__dict__
    (names,) = gc.get_referents(own)
    names |= {"now": classmethod(now), "utcnow": classmethod(utcnow), "today": classmethod(today)}
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))


def main() -> None:
    place, module, *arguments = sys.argv[1:]
    skew(lambda: float(Path(place).read_text("ascii")))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
