"""Probes are given their time each, however long the command itself takes to begin."""

import asyncio
import time

from qupersync_shared.runtime.cli.probing import Probe, ask_all

LIMIT_SECONDS = 0.5


async def test_what_a_probe_imports_is_no_server_that_does_not_answer() -> None:
    async def imports_first() -> str:
        time.sleep(LIMIT_SECONDS)  # noqa: ASYNC251  # as an import does
        return "imported"

    async def asks_at_once() -> str:
        await asyncio.sleep(0.01)
        return "answered"

    probes = [Probe(name="at once", ask=asks_at_once), *(Probe(name=f"{n}", ask=imports_first) for n in range(2))]
    results = await ask_all(probes, seconds_max=LIMIT_SECONDS)
    assert [result.failure for result in results] == [None, None, None]
    assert [result.answer for result in results] == ["answered", "imported", "imported"]


async def test_a_probe_that_hangs_still_ends() -> None:
    async def hangs() -> str:
        await asyncio.Event().wait()
        return "never"

    (result,) = await ask_all([Probe(name="server", ask=hangs)], seconds_max=0.05)
    assert result.failure == "server: no answer within 0.05 s"
