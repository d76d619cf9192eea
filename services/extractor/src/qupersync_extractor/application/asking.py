"""What is asked of the pipelines of a process: one listener and one query for all of them."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from qupersync_extractor.application.ports import Asked, Registry
from qupersync_extractor.application.troubles import PROCESS, Troubles
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.lifecycle import Stop
from qupersync_shared.runtime.logs import get_logger

POLL_SECONDS = 5.0
_PART = "requests"
_log = get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class RequestBoard:
    """Knows what the database asks of each pipeline, and wakes the ones that something was asked of.

    A hundred idle pipelines cost one query every few seconds, and one for each request.
    """

    registry: Registry
    troubles: Troubles
    _asked: Mapping[PipelineName, Asked] = field(default_factory=dict)
    _bells: dict[PipelineName, asyncio.Event] = field(default_factory=dict)
    _looked: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, stop: Stop) -> None:
        """Until the stop is requested, which wakes everybody, or until cancelled."""
        watching = asyncio.create_task(self._ring_at(stop), name="requests-stop")
        try:
            while not stop.requested:
                await self.look()
                with suppress(QupersyncError):  # the next look says what is wrong
                    await self.registry.wait_for_request(POLL_SECONDS)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def asked(self, pipeline: PipelineName) -> Asked:
        """What is asked of the pipeline, as of the last look."""
        return self._asked.get(pipeline, Asked())

    def done(self, pipeline: PipelineName, *, run: bool = False, rereads: bool = False) -> None:
        """The pipeline has done what was asked; whatever is asked from now on is news."""
        asked = self.asked(pipeline)
        left = replace(asked, run=asked.run and not run, rereads=asked.rereads and not rereads)
        self._asked = {**self._asked, pipeline: left}

    async def until_paused(self, pipeline: PipelineName) -> None:
        """Returns when the pipeline is paused, as of the last look."""
        while not self.asked(pipeline).paused:
            await self._looked.wait()

    async def wait(self, pipeline: PipelineName, seconds: float) -> None:
        """Until something is asked of the pipeline, at most so many seconds."""
        bell = self._bell(pipeline)
        with suppress(TimeoutError):
            await asyncio.wait_for(bell.wait(), seconds)
        bell.clear()

    def wake(self, pipeline: PipelineName) -> None:
        """Whoever waits for the pipeline goes on: something is to be done for it."""
        self._bell(pipeline).set()

    async def look(self) -> bool:
        """Asks the database once, and tells whether it answered; what it says wakes those whom it concerns."""
        try:
            self._asked = await self.registry.asked_for()
        except QupersyncError as error:
            if self.troubles.set(PROCESS, _PART, f"requests are not seen: {error}"):
                _log.warning("requests_not_seen", reason=str(error))
            return False
        self.troubles.clear(PROCESS, _PART)
        self._looked.set()
        self._looked = asyncio.Event()
        for pipeline in self._asked:
            self._bell(pipeline).set()
        return True

    async def _ring_at(self, stop: Stop) -> None:
        await stop.wait()
        for bell in self._bells.values():
            bell.set()

    def _bell(self, pipeline: PipelineName) -> asyncio.Event:
        return self._bells.setdefault(pipeline, asyncio.Event())
