"""Back-pressure: above the outbox's high-water mark no page is read, and the reason is shown."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from qupersync_extractor.application.ports import OutboxReader
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import PipelineName

_LOOK_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class OutboxGauge:
    """Waits until the outbox has room for one more page of the pipeline; looks at most once a second."""

    pipeline: PipelineName
    outbox: OutboxReader
    clock: Clock
    high_water_bytes: int
    high_water_age: timedelta
    report: Callable[[str | None], None]
    _looked: float = field(default=float("-inf"))
    _full: bool = False

    async def room(self) -> None:
        """Returns when there is room; the reason of a wait is reported, and taken back afterwards."""
        while True:
            now = self.clock.now()
            if not self._full and abs(now.timestamp() - self._looked) < _LOOK_SECONDS:
                return
            depth = await self.outbox.depth(self.pipeline)
            self._looked = now.timestamp()
            age = timedelta(0) if depth.oldest is None else now - depth.oldest
            if depth.bytes < self.high_water_bytes and age < self.high_water_age:
                if self._full:
                    self._full = False
                    self.report(None)
                return
            self._full = True
            self.report(
                f"the outbox is above its high-water mark ({depth.records} records, {depth.bytes} bytes, the oldest "
                f"{age.total_seconds():.0f} s old): extraction waits for the relay"
            )
            await self.outbox.wait(_LOOK_SECONDS)
