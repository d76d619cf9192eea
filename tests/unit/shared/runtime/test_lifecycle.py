"""Processes end at the first signal in order, at the second at once. Real processes, real signals."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped

HEAD = """
import asyncio, sys, threading, time
from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped

def say(word):
    print(word, flush=True)
"""


@contextmanager
def process(body: str) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen([sys.executable, "-c", HEAD + body], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running
    finally:
        running.kill()
        running.communicate()


async def test_waiting_ends_with_the_request_or_the_time() -> None:
    stop = Stop()
    assert not stop.requested
    assert await stop.wait(0.01) is False
    asyncio.get_running_loop().call_soon(stop.request)
    assert await stop.wait(30) is True
    assert await stop.wait() is True
    assert stop.requested


def test_the_exit_code_is_what_main_returns() -> None:
    async def main(stop: Stop) -> int:
        assert not stop.requested
        return 3

    assert run_until_stopped(main) == 3


ORDERLY = """
async def main(stop):
    say("ready")
    await stop.wait()
    say("finishing")
    return 5
sys.exit(run_until_stopped(main))
"""


def test_sigterm_and_sigint_let_main_finish() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with process(ORDERLY) as running:
            running.send_signal(number)
            output, _ = running.communicate(timeout=20)
            assert (output, running.returncode) == ("finishing\n", 5)


STUBBORN = """
async def main(stop):
    say("ready")
    await stop.wait()
    say("stopping")
    try:
        await asyncio.sleep(600)
    finally:
        say("cancelled")
    return 0
sys.exit(run_until_stopped(main, grace_seconds=GRACE))
"""


def test_a_second_signal_ends_what_does_not_finish() -> None:
    with process(STUBBORN.replace("GRACE", "600")) as running:
        assert running.stdout is not None
        running.send_signal(signal.SIGTERM)
        assert running.stdout.readline() == "stopping\n"
        running.send_signal(signal.SIGTERM)
        output, _ = running.communicate(timeout=20)
        assert (output, running.returncode) == ("cancelled\n", 128 + signal.SIGTERM)


def test_the_deadline_ends_what_does_not_finish() -> None:
    with process(STUBBORN.replace("GRACE", "0.2")) as running:
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=20)
        assert (output, running.returncode) == ("stopping\ncancelled\n", 128 + signal.SIGINT)


HANGING = """
async def main(stop):
    loop = asyncio.get_running_loop()
    hanging = loop.run_in_executor(None, time.sleep, 600)
    say("ready")
    await hanging
    return 0
sys.exit(run_until_stopped(main, grace_seconds=0.2))
"""


def test_a_thread_that_hangs_in_a_driver_does_not_keep_the_process() -> None:
    with process(HANGING) as running:
        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=30)
        assert running.returncode == 128 + signal.SIGTERM
        assert time.monotonic() - began < 15


def test_an_error_of_main_is_raised() -> None:
    async def main(stop: Stop) -> int:
        await stop.wait(0)
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        run_until_stopped(main)


async def test_a_narrower_stop_ends_a_part_of_the_work_and_ends_with_the_whole() -> None:
    whole = Stop()
    part, other = whole.narrower(), whole.narrower()
    part.request()
    assert (whole.requested, part.requested, other.requested) == (False, True, False)
    whole.request()
    assert other.requested
    assert whole.narrower().requested, "made too late"
