"""Holding a pipeline's lease while a run works: renewed in the background, the run cancelled when it is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qupersync_extractor.application.ports import Registry
from qupersync_shared.kernel.errors import LeaseLostError, QupersyncError
from qupersync_shared.kernel.ids import FencingToken, PipelineName


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
    lost = False
    over = asyncio.Event()

    async def renew() -> None:
        nonlocal lost
        # Not by cancellation alone: a wait_for inside a renewal may swallow it (Python before 3.12).
        while not await _set_within(over, seconds / 3):
            try:
                lost = not await registry.renew(pipeline, token, seconds)
            except QupersyncError:
                continue
            if lost:
                body.cancel()
                return

    renewing = asyncio.create_task(renew(), name=f"renew-{pipeline}")
    try:
        yield
    except BaseException as error:
        if lost and body.uncancel() == 0:
            # Whatever the body made of its cancellation.
            raise LeaseLostError(f"the lease of {pipeline} went to another extractor") from error
        raise
    else:
        if lost:
            body.uncancel()  # the body never noticed; what it committed was committed under the token
    finally:
        over.set()
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        try:
            if not lost:
                await registry.release(pipeline, token)
        except QupersyncError:
            pass  # it expires by itself


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return event.is_set()
