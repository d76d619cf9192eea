"""What probes and metrics tell of a loader, by how it stands."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.conformance.loader.asking import MovedClock
from tests.conformance.loader.events import pipeline

from qupersync_loader.application.ports import Parked, PipelineState
from qupersync_loader.application.serve import Tally
from qupersync_loader.application.standing import STUCK_SECONDS, Standing
from qupersync_loader.infrastructure.metrics import LoaderMetrics, loader_registry
from qupersync_shared.contracts.progress import LaneProgress
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName, uuid7

NOW = datetime(2024, 6, 1, tzinfo=UTC)
PEOPLE, NEW = PipelineName("people"), PipelineName("new")


def lane(number: int, *, seconds: float, honest: float | None) -> LaneProgress:
    return LaneProgress(
        group="main",
        pipeline=PEOPLE,
        lane=number,
        lanes=2,
        log=1,
        sequence=3,
        event_id=uuid7(),
        applied_at=NOW - timedelta(seconds=seconds),
        honest_time=None if honest is None else NOW - timedelta(seconds=honest),
    )


def standing(*, honest: Iterable[float | None] = (70, 60), **changes: Any) -> Standing:
    marks = {Lane(n): lane(n, seconds=10 + n, honest=seconds) for n, seconds in enumerate(honest)}
    state = PipelineState(lanes=2, watermarks=marks, parked=Parked(quarantined=4, dead_letters=1))
    plain = Standing(
        group=GroupName("main"),
        tally=Tally(applied=5, rows=50, foreign=1),
        lanes={PEOPLE: 2},
        served=(PEOPLE, NEW),
        states={PEOPLE: state, PipelineName("of_others"): state},
    )
    return replace(plain, **changes)


def values(now: Standing) -> dict[str, float]:
    """Metrics as `name` or `name/pipeline`."""
    registry = loader_registry(LoaderMetrics(lambda: now, clock=MovedClock(NOW), version="1.2.3"))
    return {
        "/".join([sample.name, *[value for key, value in sample.labels.items() if key == "pipeline"]]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.startswith("qupersync_")
    }


def test_metrics_are_of_the_process_and_of_its_groups_pipelines() -> None:
    assert values(standing()) == {
        "qupersync_loader_info": 1.0,
        "qupersync_loader_events_applied_total": 5.0,
        "qupersync_loader_rows_applied_total": 50.0,
        "qupersync_loader_foreign_messages_total": 1.0,
        "qupersync_loader_lanes/people": 2.0,
        "qupersync_loader_lanes/new": 0.0,
        "qupersync_loader_target_up": 1.0,
        "qupersync_loader_applied_age_seconds/people": 10.0,
        "qupersync_loader_freshness_seconds/people": 70.0,
        "qupersync_loader_quarantined_rows/people": 4.0,
        "qupersync_loader_dead_letters/people": 1.0,
    }


def test_what_is_not_known_is_not_told() -> None:
    away = values(standing(states=None))
    assert away["qupersync_loader_target_up"] == 0.0
    assert not [name for name in away if "_age_" in name or "freshness" in name or "quarantined" in name]


@pytest.mark.parametrize("honest", [(70, None), (70,)])
def test_freshness_is_told_once_every_lane_can_say(honest: tuple[float | None, ...]) -> None:
    assert not [name for name in values(standing(honest=honest)) if "freshness" in name]


@pytest.mark.parametrize(
    ("slowest", "stuck"),
    [
        (None, None),
        (((pipeline(), Lane(1)), STUCK_SECONDS - 1), None),
        (((pipeline(), Lane(1)), 400.0), "nothing has moved at lane 1 of people for 400 s"),
    ],
)
def test_a_slot_that_does_not_get_on_is_named(slowest: Any, stuck: str | None) -> None:
    assert standing(slowest=slowest).stuck == stuck
