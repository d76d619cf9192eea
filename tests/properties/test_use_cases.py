"""The promises under hundreds of hostile schedules of the real use cases over the in-memory adapters.

`QUPERSYNC_SIMULATION_USE_CASES` is how many, `QUPERSYNC_SIMULATION_SEED` where the seeds begin.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from tests.properties.use_cases.schedule import Schedule

from qupersync_loader.application import apply_event
from qupersync_loader.domain.judge import Apply

SCHEDULES = int(os.environ.get("QUPERSYNC_SIMULATION_USE_CASES", "150"))
SEED = int(os.environ.get("QUPERSYNC_SIMULATION_SEED", "0"))
PARTS = 10


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads would make a schedule differ from run to run."""

    async def inline(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", inline)


@pytest.mark.parametrize("part", range(PARTS))
async def test_every_promise_holds_whoever_is_killed_wherever(part: int) -> None:
    count = -(-SCHEDULES // PARTS)
    for seed in range(SEED + part * count, SEED + (part + 1) * count):
        schedule = Schedule(seed)
        try:
            await schedule.play(steps=60)
        except Exception as error:
            error.add_note("\n".join([*schedule.trace[-80:], f"seed {seed}: Schedule({seed}).play(steps=60)"]))
            raise


async def test_a_loader_that_judges_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_event, "_judge", lambda _state, _event: Apply())

    with pytest.raises(AssertionError, match=r"^(L|W|D): "):
        await _play(range(30))


async def _play(seeds: Iterable[int]) -> None:
    for seed in seeds:
        await Schedule(seed).play(steps=60)
