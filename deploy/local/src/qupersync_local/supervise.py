"""Children that die with us and directories that vanish with us, whatever ends us.

Three nets, each for what slips through the one before: the context managers of the callers; on Linux the parent-death
signal of every child; and a *reaper*, a small shell in a session of its own that waits for our end of a pipe to close
(which the kernel does even after SIGKILL), ends what is left and removes the directory. A sweep at the next start
takes directories whose reaper was killed as well.
"""

import asyncio
import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypedDict

import psutil

SOCKET_PATH_BYTES_MAX = 100  # the system's limit for the path of a socket is 104 to 108, by platform
_PREFIX = "qupersync-stack-"
_OWNER_FILE = "owner"
_CHILDREN = "children"
_PR_SET_PDEATHSIG = 1
_UNOWNED_SECONDS_MAX = 3600

# Reads until every writing end of the pipe is closed. Each file in children/ holds "SIGNAL PID".
_REAPER = r"""
trap '' HUP INT TERM QUIT
while read -r _; do :; done
alive() {
  for f in "$1"/children/*; do
    [ -f "$f" ] && read -r _ p < "$f" && kill -0 "$p" 2>/dev/null && return 0
  done
  return 1
}
[ -d "$1" ] || exit 0
for f in "$1"/children/*; do [ -f "$f" ] || continue; read -r s p < "$f"; kill -s "$s" "$p" 2>/dev/null; done
n=0
while [ $n -lt 50 ] && alive "$1"; do sleep 0.1; n=$((n + 1)); done
for f in "$1"/children/*; do [ -f "$f" ] || continue; read -r _ p < "$f"; kill -s KILL "$p" 2>/dev/null; done
rm -rf "$1"
"""


class StackError(Exception):
    """A piece of the local stack cannot be started or has ended; says which and what to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The unprivileged account that PostgreSQL runs as when we are root."""

    uid: int
    gid: int


class Identity(TypedDict, total=False):
    """Keyword arguments of the functions that start a process."""

    user: int
    group: int
    extra_groups: list[int]


@functools.cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    libc = _libc()

    def arm() -> None:  # runs in the child, after it has changed its user (which would clear the setting)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return arm


class WorkDirectory:
    """A directory of our own that is removed when we close it or end, however we end."""

    def __init__(self, path: Path, reaper: subprocess.Popen[bytes]) -> None:
        self.path = path
        self._reaper = reaper

    @classmethod
    def create(cls, parent: Path | None = None) -> Self:
        """Make a fresh directory below `parent` (default: the system's temporary directory)."""
        base = parent if parent is not None else temporary_root()
        base.mkdir(parents=True, exist_ok=True)
        sweep(base)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        if os.geteuid() == 0:
            path.chmod(0o711)  # the unprivileged account must pass through; each piece protects its own part
        (path / _CHILDREN).mkdir(mode=0o700)
        own = psutil.Process()
        (path / _OWNER_FILE).write_text(f"{own.pid} {own.create_time()}\n")
        reaper = subprocess.Popen(  # noqa: S603 - a fixed script
            ["/bin/sh", "-c", _REAPER, "qupersync-reaper", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        return cls(path, reaper)

    def close(self) -> None:
        """Remove the directory and end its reaper. The children must have been stopped before."""
        shutil.rmtree(self.path, ignore_errors=True)
        assert self._reaper.stdin is not None
        with contextlib.suppress(OSError):
            self._reaper.stdin.close()
        self._reaper.wait()

    def register(self, name: str, pid: int, death_signal: signal.Signals) -> None:
        """Name a child that the reaper must end with `death_signal` when we are gone."""
        place = self.path / _CHILDREN / name
        place.with_suffix(".new").write_text(f"{death_signal.name.removeprefix('SIG')} {pid}\n")
        place.with_suffix(".new").replace(place)

    def forget(self, name: str) -> None:
        """The child has ended: its number may be used by someone else from now on."""
        (self.path / _CHILDREN / name).unlink(missing_ok=True)


class Child:
    """One process of the stack. It ends when we end; its output goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, *, name: str, log: Path, work: WorkDirectory) -> None:
        self._process = process
        self._name = name
        self._work = work
        self.log = log

    @classmethod
    async def spawn(
        cls,
        *argv: str,
        name: str,
        log: Path,
        work: WorkDirectory,
        account: Account | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        environment: Mapping[str, str] | None = None,
        directory: Path = Path("/"),
    ) -> Self:
        """Start `argv` in `directory`. It ends with the thread of the event loop: that is what Linux ties it to."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env=None if environment is None else dict(environment),
                start_new_session=True,
                preexec_fn=_die_with(os.getpid(), death_signal),
                **identity(account),
            )
        work.register(name, process.pid, death_signal)
        return cls(process, name=name, log=log, work=work)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.returncode

    async def wait(self) -> int:
        """Returns the exit code when the child has ended."""
        code = await self._process.wait()
        self._work.forget(self._name)
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if the child has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)  # Popen.send_signal would reap before asyncio does

    async def stop(self, number: signal.Signals, *, grace_seconds: float) -> None:
        """Ask with `number`, insist with SIGKILL after `grace_seconds`; returns when the child has ended."""
        self.send(number)
        try:
            await asyncio.wait_for(self._process.wait(), grace_seconds)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self._process.wait()
        self._work.forget(self._name)

    def tail(self, bytes_max: int = 2000) -> str:
        """The end of what the child wrote, for error messages."""
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-bytes_max:].decode(errors="replace")
        return ""


def identity(account: Account | None) -> "Identity":
    """What subprocess functions need to run a child as `account`."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def passable(path: Path) -> bool:
    """Whether any user may pass through `path` and all directories above it."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents))


def temporary_root() -> Path:
    """The system's temporary directory; as root one that an unprivileged account can pass through."""
    chosen = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() != 0 or passable(chosen):
        return chosen
    return Path("/tmp").resolve()  # noqa: S108 - only the place where mkdtemp makes a directory


def sweep(base: Path) -> None:
    """Remove directories of ours below `base` whose owner has ended, and the children left in them."""
    for path in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            if path.lstat().st_uid == os.geteuid() and path.is_dir() and not path.is_symlink() and _abandoned(path):
                _end_children(path)
                shutil.rmtree(path, ignore_errors=True)


def _abandoned(path: Path) -> bool:
    owner = path / _OWNER_FILE
    if not owner.exists():  # made a moment ago, or left behind half made
        return time.time() - path.stat().st_mtime > _UNOWNED_SECONDS_MAX
    pid, started = owner.read_text().split()
    try:
        return psutil.Process(int(pid)).create_time() != float(started)
    except psutil.Error:
        return True


def _end_children(path: Path) -> None:
    for file in (path / _CHILDREN).glob("*"):
        name, pid = file.read_text().split()
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(int(pid))
            if str(path) in " ".join(process.cmdline()):  # the number may have been given to another process
                process.send_signal(signal.Signals[f"SIG{name}"])
                psutil.wait_procs([process], timeout=5)
                process.kill()


async def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory with its owners in place of `target`, which is removed first."""
    await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
    process = await asyncio.create_subprocess_exec("cp", "-a", str(source), str(target))
    if await process.wait() != 0:
        raise StackError(f"cannot copy {source} to {target}")


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_or_free(port: int) -> int:
    """The port where nobody listens on it, else a free one."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
    return port
