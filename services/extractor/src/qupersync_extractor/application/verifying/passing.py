"""Waiting until a loader group has honestly passed a moment of the source's clock."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from qupersync_extractor.application.ports import Registry
from qupersync_extractor.application.verifying.target import TargetSide
from qupersync_extractor.domain.pipeline import Pipeline

_LOOK_SECONDS: Final = 0.5
_ASK_SECONDS: Final = 15.0
_SPARE: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Asks for runs and waits, at most `seconds` each time."""

    pipeline: Pipeline
    registry: Registry
    target: TargetSide
    seconds: float

    async def __call__(self, moment: datetime) -> str | None:
        """None once the group's honest time is beyond the moment; else why it is not."""
        ends = time.monotonic() + self.seconds
        ask_at = 0.0
        while True:
            standing = await self.target.standing()
            if standing.honest_time is not None and standing.honest_time > moment:
                return None
            now = time.monotonic()
            if now > ends:
                return self._why(standing.honest_time, moment)
            if now >= ask_at:
                # Without a cursor a run is a whole snapshot: one is asked for, not one after the other.
                ask_at = now + _ASK_SECONDS if self.pipeline.cursor is not None else ends
                await self.registry.request_run(self.pipeline.name, None)
            await asyncio.sleep(_LOOK_SECONDS)

    def _why(self, honest: datetime | None, moment: datetime) -> str:
        stands = "no whole snapshot has been loaded" if honest is None else f"the target stands at {honest:%H:%M:%S}"
        return (
            f"the pipeline did not reach {moment:%Y-%m-%d %H:%M:%S} UTC within {self.seconds:.0f} s ({stands}): is "
            "`qupersync-extractor run` up, and what does `qupersync status` say?"
        )


def seconds_to_pass(pipeline: Pipeline) -> float:
    """How long a healthy pipeline takes at most until its honest time has passed a moment: two sweeps, and some."""
    return (pipeline.lookback + pipeline.safety_lag + _SPARE).total_seconds()
