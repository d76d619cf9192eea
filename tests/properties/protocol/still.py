"""What would make a schedule differ from run to run, or slow, is put aside while it is played."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import count
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pyarrow as pa
from tests.properties.protocol.world import SharedParts

from qupersync_extractor.application import committing, extract
from qupersync_extractor.infrastructure.memory.stream import StoredMessage
from qupersync_loader.application import content
from qupersync_loader.infrastructure.memory import work
from qupersync_shared.contracts import payload
from qupersync_shared.contracts.envelope import GENERATION_HEADER, BatchEnvelope


class _Envelopes:
    """Parses each event's headers once: no fault changes them."""

    def __init__(self, parse: Callable[[dict[str, str]], BatchEnvelope]) -> None:
        self._parse = parse
        self._known: dict[tuple[str | None, str | None], BatchEnvelope] = {}

    def __call__(self, headers: dict[str, str]) -> BatchEnvelope:
        key = headers.get("ce-id"), headers.get(GENERATION_HEADER)
        if key not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[key] = self._parse(headers)
        return self._known[key]


@contextmanager
def still() -> Iterator[None]:
    """No threads, no logs, ids that count up, no compression, and no deep copies of what is frozen."""
    numbers = count(1)

    async def inline(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def counted() -> UUID:
        return UUID(int=next(numbers))

    level, thresholds = logging.root.manager.disable, gc.get_threshold()
    logging.disable(logging.CRITICAL)
    gc.set_threshold(100_000, 20, 20)  # what a schedule leaves behind is small
    try:
        with ExitStack() as patches:
            patches.enter_context(patch.object(asyncio, "to_thread", inline))
            patches.enter_context(patch.object(extract, "uuid7", counted))
            patches.enter_context(patch.object(committing, "uuid7", counted))
            patches.enter_context(patch.object(work, "copy", SharedParts))
            patches.enter_context(patch.object(payload, "_OPTIONS", pa.ipc.IpcWriteOptions()))
            patches.enter_context(patch.object(content, "decode", lru_cache(512)(payload.decode)))
            patches.enter_context(patch.object(BatchEnvelope, "from_headers", _Envelopes(BatchEnvelope.from_headers)))
            patches.enter_context(patch.object(StoredMessage, "bytes", 0))  # no stream is ever full here
            yield
    finally:
        logging.disable(level)
        gc.set_threshold(*thresholds)
