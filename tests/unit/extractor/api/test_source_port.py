"""The source's port is tried rarely, however often somebody looks."""

import asyncio
from typing import Any, cast

from qupersync_extractor.interface.api.statuses import SOURCE_SECONDS, SourcePort


async def test_the_source_is_tried_once_for_many_who_look() -> None:
    tried, now = 0, 0.0

    async def ask(_: Any) -> str | None:
        nonlocal tried
        tried += 1
        await asyncio.sleep(0)
        return f"trouble {tried}"

    port, nothing = SourcePort(ask, clock=lambda: now), cast("Any", None)
    assert set(await asyncio.gather(*(port.trouble(nothing) for _ in range(20)))) == {"trouble 1"}
    now = SOURCE_SECONDS
    assert await port.trouble(nothing) == "trouble 1"
    now += 0.1
    assert await port.trouble(nothing) == "trouble 2"
