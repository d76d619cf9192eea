"""What a loader counts, as Prometheus scrapes it: read from the process when it is asked, kept nowhere."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from qupersync_loader.application.ports import PipelineState
from qupersync_loader.application.standing import Standing
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import PipelineName

_PER_PIPELINE: Final = ("group", "pipeline")


class LoaderMetrics(Collector):
    """Counters are of this process, since it started; gauges of what the whole group has done."""

    def __init__(self, standing: Callable[[], Standing], *, clock: Clock, version: str) -> None:
        self._standing = standing
        self._clock = clock
        self._version = version

    def describe(self) -> Iterable[Metric]:
        """Nothing: else the registry would collect in order to find out."""
        return ()

    def collect(self) -> Iterable[Metric]:
        standing = self._standing()
        yield InfoMetricFamily("qupersync_loader", "This process.", {"group": standing.group, "version": self._version})
        for name, words, value in (
            ("events_applied", "Events that this process applied.", standing.tally.applied),
            ("rows_applied", "Rows of the events that this process applied.", standing.tally.rows),
            ("foreign_messages", "Messages on lanes that are no events of theirs.", standing.tally.foreign),
        ):
            counter = CounterMetricFamily(f"qupersync_loader_{name}", words, labels=["group"])
            counter.add_metric([standing.group], value)
            yield counter
        yield _gauge(
            standing,
            "lanes",
            "Lanes that this process goes round.",
            {name: standing.lanes.get(name, 0) for name in standing.served},
        )
        yield from self._of_states(standing)

    def _of_states(self, standing: Standing) -> Iterable[Metric]:
        """What the target says; of pipelines that it does not know there is nothing to tell."""
        up = GaugeMetricFamily(
            "qupersync_loader_target_up", "Whether the target answered the last look.", labels=["group"]
        )
        up.add_metric([standing.group], float(standing.states is not None))
        yield up
        states = standing.states or {}
        known = {name: states[name] for name in standing.served if name in states}
        now = self._clock.now()
        for name, words, values in (
            (
                "applied_age_seconds",
                "Seconds since a lane of the pipeline applied an event, whichever did so last.",
                {name: _age(_applied_at(state), now) for name, state in known.items()},
            ),
            (
                "freshness_seconds",
                "Seconds since the moment up to which every lane is complete.",
                {name: _age(_honest_time(state), now) for name, state in known.items()},
            ),
            (
                "quarantined_rows",
                "Rows that the target refused and that wait for a person.",
                {name: float(state.parked.quarantined) for name, state in known.items()},
            ),
            (
                "dead_letters",
                "Events that could not be applied and that wait for a person.",
                {name: float(state.parked.dead_letters) for name, state in known.items()},
            ),
        ):
            yield _gauge(standing, name, words, values)


def loader_registry(metrics: LoaderMetrics) -> CollectorRegistry:
    """A registry with the loader's own metrics and those of its process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(metrics)
    return registry


def _gauge(standing: Standing, name: str, words: str, values: Mapping[PipelineName, float | None]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"qupersync_loader_{name}", words, labels=_PER_PIPELINE)
    for pipeline, value in values.items():
        if value is not None:
            gauge.add_metric([standing.group, pipeline], value)
    return gauge


def _age(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())


def _applied_at(state: PipelineState) -> datetime | None:
    return max((lane.applied_at for lane in state.watermarks.values()), default=None)


def _honest_time(state: PipelineState) -> datetime | None:
    """None while some lane cannot say."""
    times = [
        lane.honest_time
        for lane in state.watermarks.values()
        if lane.lanes == state.lanes and lane.honest_time is not None
    ]
    return min(times) if state.lanes is not None and len(times) == state.lanes else None
