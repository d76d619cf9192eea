"""What every adapter of `Progress` promises."""

from datetime import UTC, datetime, timedelta
from typing import Any

from qupersync_shared.contracts.progress import ProcessHeartbeat
from qupersync_shared.kernel.ids import PipelineName

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def heartbeat(
    role: str, instance: str, *, seconds: int = 0, troubles: dict[str, str] | None = None
) -> ProcessHeartbeat:
    return ProcessHeartbeat(
        role=role,
        instance=instance,
        started_at=NOON,
        beat_at=NOON + timedelta(seconds=seconds),
        version="1.2.3",
        troubles=troubles or {},
    )


async def test_an_empty_or_missing_bucket_says_nothing(harness: Any) -> None:
    assert await harness.progress.lanes(PipelineName("cost")) == []
    assert await harness.progress.processes() == []


async def test_a_heartbeat_is_read_back_and_replaced_by_the_next(harness: Any) -> None:
    await harness.progress.beat(heartbeat("relay", "a-1", troubles={"": "NATS is away", "cost": "full"}))
    await harness.progress.beat(heartbeat("extractor", "a-1"))
    latest = heartbeat("relay", "a-1", seconds=3)
    await harness.progress.beat(latest)
    assert await harness.progress.processes() == [heartbeat("extractor", "a-1"), latest]


async def test_the_first_heartbeat_makes_a_missing_bucket(harness: Any) -> None:
    await harness.progress.beat(heartbeat("relay", "host.example.org-17"))
    assert [entry.instance for entry in await harness.progress.processes()] == ["host.example.org-17"]


async def test_lanes_of_one_pipeline_in_every_group(harness: Any, progress_entry: Any) -> None:
    await harness.stream.declare(PipelineName("cost"))
    entries = [progress_entry(group, "cost", lane, 7 + lane) for group in ("main", "second") for lane in range(4)]
    for entry in reversed(entries):
        await harness.report(entry)
    await harness.report(progress_entry("main", "cost_usage", 0, 99))
    await harness.report(progress_entry("main", "cost", 2, 50))

    found = await harness.progress.lanes(PipelineName("cost"))

    assert [(entry.group, entry.lane) for entry in found] == [(entry.group, entry.lane) for entry in entries]
    assert {entry.sequence for entry in found if (entry.group, entry.lane) == ("main", 2)} == {50}


async def test_many_lanes_come_in_one_reading(harness: Any, progress_entry: Any) -> None:
    await harness.stream.declare(PipelineName("wide"))
    for lane in range(256):
        await harness.report(progress_entry("main", "wide", lane, 1))
    assert len(await harness.progress.lanes(PipelineName("wide"))) == 256


async def test_lanes_of_several_pipelines_come_together(harness: Any, progress_entry: Any) -> None:
    names = [PipelineName(f"p{number}") for number in range(20)]
    await harness.stream.declare(names[0])
    for name in names:
        for group in ("main", "second"):
            await harness.report(progress_entry(group, name, 0, 7))
    for wanted in (names[:3], names[:19]):  # by name, and beyond so many all of them at once
        found = await harness.progress.lanes_of(wanted)
        assert {(entry.pipeline, entry.group) for entry in found} == {
            (name, group) for name in wanted for group in ("main", "second")
        }
    assert await harness.progress.lanes_of([PipelineName("unknown")]) == []
