"""What this service's commands share: a pipeline of the configuration, and the outbox database for one task."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from qupersync_extractor.settings import extractor_settings
from qupersync_extractor.stores import Stores, stores
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.settings import Configuration

Answer = TypeVar("Answer")


def known(settings: Configuration, pipeline: str) -> PipelineName:
    """The pipeline, which is configured; ConfigurationError naming those that are."""
    if pipeline not in settings.pipelines:
        listed = ", ".join(sorted(settings.pipelines)) or "none"
        raise ConfigurationError(
            f"there is no pipeline {pipeline!r}", place="pipelines", cure=f"Known pipelines: {listed}"
        )
    return PipelineName(pipeline)


def with_stores(settings: Configuration, work: Callable[[Stores], Awaitable[Answer]]) -> Answer:
    """What the work answers that is done on the outbox database; its connections are closed afterwards."""

    async def worked() -> Answer:
        kept = stores(extractor_settings(settings), application_name="qupersync-cli")
        try:
            return await work(kept)
        finally:
            await kept.close()

    return asyncio.run(worked())
