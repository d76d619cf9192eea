"""Requests to read keys or ranges again: what the use cases need of the place that keeps them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from qupersync_extractor.domain.rereads import Reread, RereadCounts
from qupersync_shared.kernel.ids import PipelineName


class RereadQueue(Protocol):
    """Rereads that were asked for, inside a unit of work."""

    async def waiting(self, pipeline: PipelineName) -> list[Reread]:
        """Those that are not done, the oldest first, a bounded number of them. Locks nothing."""
        ...

    async def save(self, rereads: Sequence[Reread]) -> None:
        """Stores how far they have come."""
        ...


class Rereads(Protocol):
    """Requests to read again, as those see them who ask and who tidy up; each call is a transaction of its own."""

    async def request(self, reread: Reread) -> bool:
        """Stores the request and wakes the extractors; False if the pipeline is unknown. The same id twice is once.

        TransientError while too many of the pipeline's wait.
        """
        ...

    async def get(self, reread: UUID) -> Reread | None: ...

    async def counts(self, pipeline: PipelineName) -> RereadCounts: ...

    async def forget(self, *, older_than: timedelta) -> int:
        """Removes requests that were done longer ago; how many there were."""
        ...
