"""The status document, built once for everybody who asks for it, and in the background while somebody does."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qupersync_shared.runtime.lifecycle import Stop, end_tasks
from qupersync_shared.runtime.logs import get_logger

REFRESH_SECONDS: Final = 2.0
OLD_SECONDS: Final = 5.0
WATCHED_SECONDS: Final = 30.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A document, as it was built and as it is sent; `begun` is when its building began, by the process's clock.

    `views` keeps what is made of it for several askers, by name.
    """

    document: Mapping[str, Any]
    body: bytes
    etag: str
    begun: float
    views: dict[str, bytes] = field(default_factory=dict)

    def view(self, name: str, make: Callable[[Mapping[str, Any]], bytes]) -> bytes:
        """What `make` makes of the document, made once."""
        if name not in self.views:
            self.views[name] = make(self.document)
        return self.views[name]


class StatusBoard:
    """Keeps the document fresh while it is asked for: whoever asks waits only for the first one, or after a change.

    `build` says for itself what it could not learn; it does not raise.
    """

    def __init__(
        self,
        build: Callable[[], Awaitable[Mapping[str, Any]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build = build
        self._clock = clock
        self._shown: Shown | None = None
        self._building: asyncio.Task[Shown] | None = None
        self._asked = float("-inf")
        self._outdated = float("-inf")
        self._wanted = asyncio.Event()

    async def look(self) -> Shown:
        """The document: at most some seconds old, and not from before the last `outdate`."""
        asked = self._asked = self._clock()
        self._wanted.set()
        while True:
            shown = self._shown
            if shown is not None and shown.begun >= min(asked, max(asked - OLD_SECONDS, self._outdated)):
                return shown
            await self._refreshed()

    def outdate(self) -> None:
        """Something was changed: whoever asks from now on is shown what is so afterwards."""
        self._outdated = self._clock()

    async def keep(self, stop: Stop) -> None:
        """Builds the document anew every two seconds, until the stop, while somebody asks for it."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.requested:
                if self._clock() - self._asked > WATCHED_SECONDS:
                    self._wanted.clear()
                    waking = asyncio.create_task(self._wanted.wait())
                    await asyncio.wait({waking, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    await end_tasks([waking])
                    continue
                try:
                    await self._refreshed()
                except Exception:  # noqa: BLE001  # a defect here must not end what else the process does
                    _log.exception("status_not_built")
                await stop.wait(REFRESH_SECONDS)
        finally:
            await end_tasks([stopping, *([self._building] if self._building is not None else [])])

    async def _refreshed(self) -> Shown:
        if self._building is None or self._building.done():
            self._building = asyncio.create_task(self._built(), name="status")
        return await asyncio.shield(self._building)

    async def _built(self) -> Shown:
        begun = self._clock()
        document = await self._build()
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        shown = self._shown = Shown(document=document, body=body, etag=etag, begun=begun)
        return shown
