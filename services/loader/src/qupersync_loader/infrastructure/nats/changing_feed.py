"""The lanes' feed of a process whose pipelines change while it runs."""

import asyncio
import contextlib

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.nats.feed import _STOP_SECONDS, NatsLaneFeed, _give_back


class ChangingLaneFeed(NatsLaneFeed):
    """The port `ChangingFeed`."""

    async def let_go(self, pipeline: TargetPipeline) -> None:
        for known in [known for known in self._subscribers if known[0] == pipeline.name]:
            subscriber = self._subscribers.pop(known)
            with contextlib.suppress(Exception):
                await asyncio.wait_for(_give_back(subscriber), _STOP_SECONDS)
                await asyncio.wait_for(subscriber.stop(), _STOP_SECONDS)
        self._declared.pop(pipeline.name, None)
