"""All lanes of a shadow, brought to where the live lanes stand, round after round."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from qupersync_loader.application.rebuild.lane_reader import Filling, LaneReader
from qupersync_loader.application.rebuild.stand import Ended, live_reaches
from qupersync_loader.application.shadows import LanePair
from qupersync_shared.kernel.ids import Lane


class CatchUp:
    """One reader a lane; lanes that the live table's log no longer has are left alone."""

    def __init__(self, filling: Filling, *, begin: Mapping[Lane, int]) -> None:
        self._filling = filling
        self._begin = begin
        self._readers: dict[Lane, LaneReader] = {}
        self._alone = asyncio.Lock()

    async def measure(self) -> None:
        """Sees how much waits on each lane."""

        async def look(lane: Lane, begin: int) -> None:
            async with self._filling.slots, self._filling.history.reading(lane, begin=begin) as reading:
                self._filling.tally.waiting[lane] = reading.waiting

        await all_of(look(lane, begin) for lane, begin in self._begin.items())

    async def round(self, pairs: Mapping[Lane, LanePair]) -> dict[Lane, Ended]:
        """Brings every lane to where its live lane was seen, as far as the stream allows."""
        reaches = live_reaches(pairs)
        self._filling.tally.aims = {lane: (reach.live.log, reach.live.sequence) for lane, reach in reaches.items()}
        ended: dict[Lane, Ended] = {}

        async def advance(lane: Lane) -> None:
            ended[lane] = await self._reader(lane).advance(reaches[lane])

        async with self._alone:
            await all_of(advance(lane) for lane in sorted(reaches))
        return ended

    def _reader(self, lane: Lane) -> LaneReader:
        if lane not in self._readers:
            # A lane of a later log has its baseline somewhere behind the snapshot that all began with.
            begin = self._begin.get(lane, min(self._begin.values(), default=1))
            self._readers[lane] = LaneReader(lane, self._filling, begin=begin)
        return self._readers[lane]


async def all_of(works: Iterable[Awaitable[Any]]) -> None:
    """Does them at once; the first failure ends the others and is raised as it is."""

    async def one(work: Awaitable[Any]) -> None:
        await work

    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(one(work))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
