"""Holding a pipeline's lease while a run works: renewed in the background, the run cancelled when it is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from qupersync_extractor.application.ports import Registry
from qupersync_shared.kernel.errors import LeaseLostError, QupersyncError
from qupersync_shared.kernel.ids import FencingToken, PipelineName

LEASE_MAX: Final = timedelta(hours=2)
"""Nothing is leased for so long: what would last longer was given before the database's clock was put back."""


class _Renewal:
    """Renews a lease until it is over, or cancels `body` when the lease turns out to be lost."""

    def __init__(self, registry: Registry, pipeline: PipelineName, token: FencingToken, seconds: float) -> None:
        self.lost = False
        self._registry = registry
        self._pipeline = pipeline
        self._token = token
        self._seconds = seconds
        self._over = asyncio.Event()

    async def until_over(self, body: asyncio.Task[Any]) -> None:
        # Not until cancelled: a wait_for inside a renewal may swallow that (Python before 3.12).
        while not await self._waited():
            try:
                self.lost = not await self._registry.renew(self._pipeline, self._token, self._seconds)
            except QupersyncError:
                continue
            if self.lost:
                body.cancel()
                return

    async def end(self, renewing: asyncio.Task[None]) -> None:
        """Ends the renewals, and the lease if it is still ours."""
        self._over.set()
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        if not self.lost:
            with suppress(QupersyncError):  # it expires by itself
                await self._registry.release(self._pipeline, self._token)

    async def _waited(self) -> bool:
        """Whether it is over, after a third of the lease at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds / 3):
                await self._over.wait()
        return self._over.is_set()


@asynccontextmanager
async def held(
    registry: Registry, pipeline: PipelineName, token: FencingToken, *, seconds: float
) -> AsyncIterator[None]:
    """The body runs under the lease; LeaseLostError out of it when a renewal says that the token is void.

    The fencing token, not this task, is what keeps a late process from committing: renewals only keep others away.
    """
    body = asyncio.current_task()
    if body is None:
        raise RuntimeError("held() needs a task")
    renewal = _Renewal(registry, pipeline, token, seconds)
    renewing = asyncio.create_task(renewal.until_over(body), name=f"renew-{pipeline}")
    try:
        yield
    except BaseException as error:
        if renewal.lost and body.uncancel() == 0:
            # Whatever the body made of its cancellation.
            raise LeaseLostError(f"the lease of {pipeline} went to another extractor") from error
        raise
    else:
        if renewal.lost:
            body.uncancel()  # the body never noticed; what it committed was committed under the token
    finally:
        await renewal.end(renewing)
