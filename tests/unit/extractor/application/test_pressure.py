"""Above the high-water mark no page is read, the reason is shown, and extraction goes on by itself."""

from datetime import UTC, datetime, timedelta

from qupersync_extractor.application.ports import OutboxDepth
from qupersync_extractor.application.pressure import OutboxGauge
from qupersync_shared.kernel.ids import PipelineName

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class FixedClock:
    def now(self) -> datetime:
        return NOW


class Outbox:
    """Answers with one depth after the other; `wait` stands for the relay's work."""

    def __init__(self, *depths: OutboxDepth) -> None:
        self.depths = list(depths)
        self.waits = 0

    async def depth(self, pipeline: PipelineName) -> OutboxDepth:
        return self.depths.pop(0)

    async def wait(self, seconds: float) -> None:
        self.waits += 1


def depth(size: int, age_seconds: float = 0) -> OutboxDepth:
    return OutboxDepth(records=1, bytes=size, oldest=NOW - timedelta(seconds=age_seconds))


def gauge(outbox: Outbox, told: list[str | None]) -> OutboxGauge:
    return OutboxGauge(
        pipeline=PipelineName("p"),
        outbox=outbox,  # type: ignore[arg-type]
        clock=FixedClock(),
        high_water_bytes=1000,
        high_water_age=timedelta(seconds=60),
        report=told.append,
    )


async def test_room_is_found_at_once_below_the_mark() -> None:
    told: list[str | None] = []
    outbox = Outbox(depth(999))
    await gauge(outbox, told).room()
    assert (outbox.waits, told) == (0, [])


async def test_bytes_above_the_mark_wait_and_say_why() -> None:
    told: list[str | None] = []
    outbox = Outbox(depth(5000), depth(4000), depth(10))
    await gauge(outbox, told).room()
    assert outbox.waits == 2
    assert "high-water mark" in (told[0] or "")
    assert told[-1] is None


async def test_age_above_the_mark_waits_too() -> None:
    told: list[str | None] = []
    outbox = Outbox(depth(1, age_seconds=61), depth(1))
    await gauge(outbox, told).room()
    assert outbox.waits == 1


async def test_an_empty_outbox_has_room() -> None:
    told: list[str | None] = []
    outbox = Outbox(OutboxDepth(records=0, bytes=0, oldest=None))
    await gauge(outbox, told).room()
    assert told == []
