"""Lanes at rest: watched for news by requests that wait at the server, so that slots go round among the others only."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final, Protocol

from qupersync_loader.application.rotation import LaneRef, Rotation
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger

# A server that restarts forgets who waits: so long, at most, nobody is told.
WATCH_SECONDS: Final = 4.0
# Even without news a slot looks at the lane again after this time: watching is an economy, not a promise.
LOOK_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 1.0
_SLOT_SECONDS: Final = 1.0
# The server waits so long with its no; a yes comes at once.
_READY_SECONDS: Final = 0.005

_log = get_logger(__name__)


class LaneNews(Protocol):
    """Says whether a lane has a message without taking it."""

    async def news(self, pipeline: TargetPipeline, lane: Lane, *, wait_seconds: float) -> bool:
        """True as soon as the lane has a message to give, or may have; False after so long without one.

        StreamUnavailableError where NATS does not answer.
        """
        ...


class QuietLanes:
    """Keeps idle lanes out of the rotation until there is something to fetch.

    Without it the slots of a process with hundreds of lanes fetch from one idle lane after the other, for ever.
    """

    def __init__(
        self,
        news: LaneNews,
        rotation: Rotation,
        *,
        watch_seconds: float = WATCH_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._news = news
        self._rotation = rotation
        self._watch_seconds = watch_seconds
        self._look_seconds = look_seconds
        self._returned = asyncio.Event()
        self._watching: dict[asyncio.Task[None], LaneRef] = {}

    @property
    def count(self) -> int:
        """How many lanes are watched at the moment."""
        return len(self._watching)

    def watch(self, ref: LaneRef) -> None:
        """Takes the lane from its slot; it is given back to the rotation when it has news, or is due for a look."""
        task = asyncio.create_task(self._watch(ref), name=f"watch-{ref[0].name}-{ref[1]}")
        self._watching[task] = ref
        task.add_done_callback(lambda done: self._watching.pop(done, None))

    async def ready(self, refs: Sequence[LaneRef]) -> list[bool]:
        """Which of these lanes have something to fetch right now; all are asked at once."""
        asked = (self._news.news(*ref, wait_seconds=_READY_SECONDS) for ref in refs)
        # One that cannot be asked counts as ready: whoever fetches has the words for it.
        return [answer is not False for answer in await asyncio.gather(*asked, return_exceptions=True)]

    async def wait(self, stop: Stop) -> None:
        """Until a lane is given back or the stop is requested, at most a moment."""
        if stop.requested:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._returned.wait(), _SLOT_SECONDS)
        self._returned.clear()

    async def close(self) -> None:
        """Gives every lane back; nothing is watched any more."""
        await end_tasks(self._watching)

    async def leave(self, pipeline: TargetPipeline) -> None:
        """Gives the pipeline's lanes back; they are not watched any more."""
        await end_tasks([task for task, ref in self._watching.items() if ref[0] == pipeline])

    async def _watch(self, ref: LaneRef) -> None:
        busy = False
        try:
            ends = time.monotonic() + self._look_seconds
            while not busy and time.monotonic() < ends:
                busy = await self._news.news(*ref, wait_seconds=self._watch_seconds)
        except QupersyncError:
            await asyncio.sleep(_RETRY_SECONDS)  # whoever fetches next has the words for it
        except Exception:  # noqa: BLE001  # a defect here must not take the lane out of service
            _log.exception("watch_failed", pipeline=ref[0].name, lane=ref[1])
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._rotation.give_back(ref, busy=busy)
            self._returned.set()
