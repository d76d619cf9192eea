"""What the configuration says of pipelines: from where to where, how often, and how old a target may be by that."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from qupersync_extractor.interface.page.words import span
from qupersync_shared.runtime.settings import Configuration, PipelineSection, RedshiftSource, Schedule

# An idle pipeline says once a minute that nothing changed; half a minute for that to be carried to the target.
_SIGN_OF_LIFE: Final = timedelta(seconds=90)
_MISSED_SHARE: Final = 1.5  # a run may take half as long as the next one is away
_CONTINUOUS: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A pipeline as its section has it. `objective_seconds`: an older target than this is late; None by crontab."""

    name: str
    source: str
    target: str
    schedule: str
    cursor: str | None
    lanes: int
    key: str
    snapshot_every: str | None
    objective_seconds: float | None


def describe_pipelines(configuration: Configuration) -> dict[str, Described]:
    """All configured pipelines by name."""
    return {
        name: Described(
            name=name,
            source=_source(section),
            target=section.into,
            schedule=schedule_text(section.schedule),
            cursor=section.cursor,
            lanes=section.lanes,
            key=", ".join(section.key),
            snapshot_every=None if section.snapshot_every is None else span(section.snapshot_every.total_seconds()),
            objective_seconds=objective_seconds(section),
        )
        for name, section in configuration.pipelines.items()
    }


def describe_source(configuration: Configuration) -> str:
    """Where rows come from: `Redshift dev at host:5439`, or a DuckDB file."""
    source = configuration.source
    if isinstance(source, RedshiftSource):
        return f"{source.database} at {source.host}:{source.port}"
    if source is None:
        return "no source is configured"
    return str(source.path) if source.path is not None else "DuckDB"


def source_kind(configuration: Configuration) -> str:
    """What the source is called on the page."""
    return "Redshift" if isinstance(configuration.source, RedshiftSource) else "DuckDB"


def objective_seconds(section: PipelineSection) -> float | None:
    """How old the target may be while all works as configured: the way from one sweep to the next, and half as much.

    Freshness is the moment up to which the target is complete: the start of the last whole sweep, less the safety
    lag; sweeps follow each other at most half a lookback apart, or as often as the pipeline runs.
    """
    schedule = section.schedule
    if schedule.cron is not None:
        return None
    between = _CONTINUOUS if schedule.continuous else schedule.every or _CONTINUOUS
    if section.cursor is None:
        return (between * _MISSED_SHARE + schedule.jitter + _SIGN_OF_LIFE).total_seconds()
    swept = max(between, section.lookback / 2)
    return ((swept + section.safety_lag) * _MISSED_SHARE + schedule.jitter + _SIGN_OF_LIFE).total_seconds()


def schedule_text(schedule: Schedule) -> str:
    """When it runs, in words."""
    if schedule.cron is not None:
        return f"{schedule.cron} ({schedule.time_zone})"
    return "continuous" if schedule.every is None else f"every {span(schedule.every.total_seconds())}"


def _source(section: PipelineSection) -> str:
    if section.from_ is not None:
        return section.from_
    return f"entity {section.entity}" if section.entity is not None else "a query"
