"""A short soak, so that the long one cannot rot."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.long]
ROOT = Path(__file__).parents[2]


async def _soak(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.soak", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.mark.timeout(900)
async def test_no_loss_in_a_minute_of_random_kills(tmp_path: Path) -> None:
    report = tmp_path / "soak.md"
    seed = os.environ["QUPERSYNC_E2E_SEED"]
    process = await _soak("--minutes", "0.7", "--rows", "500", "--seed", seed, "--json", "--report", str(report))
    out, _ = await process.communicate()
    told = json.loads(out.decode().strip().splitlines()[-1])
    assert process.returncode == 0, told["complaints"]
    assert told["passed"]
    assert told["differences"] == {}
    assert told["seed"] == int(seed)
    assert told["figures"]["rows equal at the end"] > 0
    assert sum(told["faults"].values()) > 3, "hardly anything was hurt"
    assert sum(told["changes"].values()) > 100, "hardly anything was changed"
    assert told["figures"]["looks at watermarks"] > 20, "the watermarks were hardly looked at"
    assert f"| seed | {seed} |" in report.read_text("utf-8")


@pytest.mark.timeout(400)
async def test_an_interrupt_ends_it_in_order(tmp_path: Path) -> None:
    report = tmp_path / "soak.md"
    process = await _soak("--minutes", "5", "--rows", "200", "--pipelines", "2", "--report", str(report))
    assert process.stdout is not None
    while b"migrating" not in (line := await process.stdout.readline()):
        assert line, "it ended before it began"
    process.send_signal(signal.SIGINT)
    rest = (await process.stdout.read()).decode()
    assert await process.wait() == 130, rest
    assert "Traceback" not in rest
    assert "stopped before its end" in report.read_text("utf-8")
