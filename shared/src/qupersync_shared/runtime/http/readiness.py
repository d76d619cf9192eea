"""Whether a process can do its work now: named checks, each within a time limit, asked once however many ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from qupersync_shared.kernel.clock import Clock, SystemClock
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.lifecycle import end_tasks
from qupersync_shared.runtime.logs import describe, get_logger

SECONDS_MAX: Final = 2.0
KEEP_SECONDS: Final = 1.0

_log = get_logger(__name__)

Check = Callable[[], Awaitable[str | None]]
"""Returns None where all is well, else why not; what it raises is a reason, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check has found; `reason` None: all is well."""

    reason: str | None = None

    @property
    def ok(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """All verdicts of one look, and when it was."""

    checks: Mapping[str, Verdict] = field(default_factory=dict)
    as_of: datetime

    @property
    def ready(self) -> bool:
        return all(verdict.ok for verdict in self.checks.values())


class Readiness:
    """Runs its checks side by side. A look is good for a second: whoever asks more often gets the same answer.

    A check that does not return is given up after its time, and not begun again before it has returned.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        clock: Clock | None = None,
        seconds_max: float = SECONDS_MAX,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._checks = dict(checks)
        self._clock = clock or SystemClock()
        self._seconds_max = seconds_max
        self._keep_seconds = keep_seconds
        self._running: dict[str, asyncio.Task[Verdict]] = {}
        self._looking: asyncio.Task[Ready] | None = None
        self._seen: tuple[float, Ready] | None = None

    async def look(self) -> Ready:
        """The verdicts as of at most a second ago; never raises, and returns within the time limit."""
        if self._seen is not None and time.monotonic() - self._seen[0] < self._keep_seconds:
            return self._seen[1]
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def close(self) -> None:
        """Gives up what is under way."""
        looking = [self._looking] if self._looking is not None else []
        await end_tasks([*looking, *self._running.values()])

    async def _look(self) -> Ready:
        as_of = self._clock.now()
        verdicts = await asyncio.gather(*(self._verdict(name) for name in self._checks))
        ready = Ready(checks=dict(zip(self._checks, verdicts, strict=True)), as_of=as_of)
        self._seen = (time.monotonic(), ready)
        return ready

    async def _verdict(self, name: str) -> Verdict:
        task = self._running.get(name)
        if task is None or task.done():
            task = self._running[name] = asyncio.create_task(self._run(name))
        done, _ = await asyncio.wait({task}, timeout=self._seconds_max)
        if not done:
            task.cancel()  # it is not waited for: a frozen server may hold the cancellation up as well
        if not done or task.cancelled():  # given up now, or by an earlier look
            return Verdict(reason=f"no answer within {self._seconds_max:g} s")
        return task.result()

    async def _run(self, name: str) -> Verdict:
        try:
            return Verdict(reason=await self._checks[name]())
        except (QupersyncError, OSError) as error:
            return Verdict(reason=describe(error))
        except Exception as error:  # noqa: BLE001  # a defect of a check is no defect of the process
            _log.exception("readiness_check_failed", check=name)
            return Verdict(reason=describe(error))
