"""`qupersync demo --keep --stall` as a shell runs it, for as long as somebody looks at its page."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qupersync_local.services import plain_environment

_COMMAND: Final = "from qupersync_shared.runtime.cli import main; main()"
_STOP_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDemo:
    """Where it is found: the page's address, the configuration file, and the databases as their services know them."""

    page: str
    configuration: Path
    outbox_dsn: str
    target_dsn: str
    nats: str


@contextmanager
def running_demo(*arguments: str) -> Iterator[RunningDemo]:
    """A demo that has compared source and target, and goes on; ended in order afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "demo", "--rows", "3000", "--keep", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=plain_environment(),
    ) as process:
        yield from _until_looked(process)


def _until_looked(process: subprocess.Popen[str]) -> Iterator[RunningDemo]:
    try:
        said: list[str] = []
        assert process.stdout is not None
        while not said or "Ctrl-C" not in said[-1]:
            line = process.stdout.readline()
            assert line, f"the demo ended: {''.join(said)}"
            said.append(line)
        yield _described("".join(said))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        finally:
            process.kill()
            process.wait()


def _described(said: str) -> RunningDemo:
    def found(pattern: str) -> str:
        match = re.search(pattern, said, re.MULTILINE)
        assert match, said
        return match[1]

    return RunningDemo(
        page=found(r"^status page\s+(\S+)$"),
        configuration=Path(found(r"QUPERSYNC_CONFIG=(\S+)")),
        outbox_dsn=found(r"^outbox\s+psql (\S+)$"),
        target_dsn=found(r"^target\s+psql (\S+)$"),
        nats=found(r"^NATS\s+(\S+)$"),
    )
