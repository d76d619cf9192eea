"""Nothing is left behind, whatever ends the process that started a stack."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qupersync_local import supervise
from qupersync_local.supervise import WorkDirectory, passable

pytestmark = pytest.mark.integration
CHILD = Path(__file__).with_name("child.py")
SECONDS_MAX = 120
Start = Callable[..., tuple["subprocess.Popen[str]", dict[str, Any]]]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[subprocess.Popen[str]] = []

    def run(*argv: str, **options: Any) -> tuple["subprocess.Popen[str]", dict[str, Any]]:
        child = subprocess.Popen(argv or (sys.executable, str(CHILD)), stdout=subprocess.PIPE, text=True, **options)
        made.append(child)
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line, "the child ended before its stack had started"
        return child, json.loads(line)

    yield run
    for child in made:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def assert_gone(described: dict[str, Any]) -> None:
    wait_until(lambda: not any(_alive(pid) for pid in described["pids"]), "servers are still running")
    wait_until(lambda: not Path(described["directory"]).exists(), "the directory is still there")
    wait_until(lambda: not _family(described["directory"]), "processes of the stack are still running")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _family(directory: str) -> list[psutil.Process]:
    return [
        process for process in psutil.process_iter(["cmdline"]) if directory in " ".join(process.info["cmdline"] or [])
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_parent_leaves_nothing(start: Start, number: signal.Signals) -> None:
    child, described = start()
    assert len(_family(described["directory"])) >= 3
    child.send_signal(number)
    child.wait(SECONDS_MAX)
    assert_gone(described)


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import asyncio\n"
        "from qupersync_local.stack import LocalStack, StackOptions\n"
        "async def main():\n"
        "    async with LocalStack.start(options=StackOptions(fast=True)) as stack:\n"
        "        print(stack.directory, flush=True)\n"
        "        raise RuntimeError('on purpose')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    assert "on purpose" in done.stderr
    directory = Path(done.stdout.strip())
    assert directory.is_absolute()
    assert not directory.exists()


def test_a_directory_whose_reaper_was_killed_is_swept(start: Start) -> None:
    child, described = start()
    directory = Path(described["directory"])
    reapers = [process for process in _family(str(directory)) if "qupersync-reaper" in process.cmdline()]
    assert len(reapers) == 1
    reapers[0].kill()
    child.kill()
    child.wait(SECONDS_MAX)
    wait_until(lambda: not any(_alive(pid) for pid in described["pids"]), "servers outlived their parent")
    assert directory.exists()
    supervise.sweep(directory.parent)
    assert not directory.exists()


def test_a_directory_in_use_is_not_swept(tmp_path: Path) -> None:
    work = WorkDirectory.create(tmp_path)
    other = WorkDirectory.create(tmp_path)
    assert work.path.exists()
    other.close()
    assert work.path.exists()
    work.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_as_an_unprivileged_user(start: Start) -> None:
    interpreter = next(
        filter(_for_anybody, (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin"))), None
    )
    if interpreter is None:
        pytest.skip(
            f"another user can run neither {sys.executable} nor a Python {sys.version_info[0]}.{sys.version_info[1]} "
            "in /usr/local/bin or /usr/bin"
        )
    paths = [path for path in sys.path if path and Path(path).is_dir() and passable(Path(path).resolve())]
    child, described = start(
        interpreter,
        str(CHILD),
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert described["uid"] == 65534
    assert Path(described["directory"]).stat().st_mode & 0o777 == 0o700
    child.send_signal(signal.SIGTERM)
    child.wait(SECONDS_MAX)
    assert_gone(described)


def _for_anybody(path: str | None) -> bool:
    if path is None or not passable(Path(path).resolve().parent):
        return False
    asked = subprocess.run(
        [path, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    return asked.stdout.strip() == str(sys.version_info[:2])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_root_the_servers_run_unprivileged(start: Start) -> None:
    _, described = start()
    for pid in described["pids"][:2]:
        assert psutil.Process(pid).uids().effective != 0
