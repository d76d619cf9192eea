"""From the configuration to the values the extractor's parts are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from qupersync_extractor.domain.maintenance import Window, Windows
from qupersync_extractor.domain.pipeline import (
    DeletePolicy,
    Pipeline,
    Relation,
    Score,
    SourceEntity,
    SourceQuery,
    SourceTable,
)
from qupersync_extractor.domain.source_budget import SourceLimits
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.settings import Configuration, NatsSection, PipelineSection
from qupersync_shared.runtime.settings.control import DAYS, clock_time
from qupersync_shared.runtime.settings.loading import require_dsn
from qupersync_shared.runtime.settings.model import split_table


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorSettings:
    """What the processes of this service need, checked and complete; the source is built from its own section."""

    outbox_dsn: str
    outbox_connections: int
    outbox_retention: timedelta
    high_water_bytes: int
    high_water_age: timedelta
    nats: NatsSection
    lease_seconds: float
    event_bytes_max: int
    page_bytes_max: int
    memory_max: int
    runs_kept: timedelta
    ledger_kept: timedelta
    pipelines: tuple[Pipeline, ...]


def extractor_settings(
    configuration: Configuration, *, only: Sequence[str] = (), path: str | None = None
) -> ExtractorSettings:
    """The settings, for all pipelines or those named; ConfigurationError names what is missing."""
    path = path or configuration.place
    if configuration.nats is None:
        raise ConfigurationError("nats is missing", place=path, cure="Write `nats: {servers: [nats://host:4222]}`")
    outbox_dsn = require_dsn("outbox", configuration.outbox, path)
    if configuration.outbox is None:  # require_dsn has refused it; this tells the type checker
        raise ConfigurationError("outbox is missing", place=path, cure="Write `outbox: {dsn: postgresql://…}`")
    for name in only:
        if name not in configuration.pipelines:
            known = ", ".join(configuration.pipelines) or "none"
            raise ConfigurationError(f"there is no pipeline {name!r}", place=path, cure=f"Known pipelines: {known}")
    if not configuration.pipelines:
        raise ConfigurationError("pipelines is missing", place=path, cure="Add a pipeline; `qupersync init` shows one")
    return ExtractorSettings(
        outbox_dsn=outbox_dsn,
        outbox_connections=configuration.outbox.connections,
        outbox_retention=configuration.outbox.retention,
        high_water_bytes=configuration.outbox.high_water_bytes,
        high_water_age=configuration.outbox.high_water_age,
        nats=configuration.nats,
        lease_seconds=configuration.extractor.lease.total_seconds(),
        event_bytes_max=configuration.extractor.event_bytes_max,
        page_bytes_max=configuration.extractor.page_bytes_max,
        memory_max=configuration.extractor.memory_max,
        runs_kept=configuration.extractor.runs_kept,
        ledger_kept=configuration.extractor.ledger_kept,
        pipelines=tuple(
            pipeline_of(name, section) for name, section in configuration.pipelines.items() if not only or name in only
        ),
    )


def pipeline_of(name: str, section: PipelineSection) -> Pipeline:
    """The domain's pipeline of a section that has been validated."""
    return Pipeline(
        name=PipelineName(name),
        relation=_relation(section),
        key=tuple(section.key),
        cursor=section.cursor,
        cursor_time_zone=section.cursor_time_zone,
        lookback=section.lookback,
        lookback_units=section.lookback_units,
        safety_lag=section.safety_lag,
        page_rows=section.page_rows,
        lanes=section.lanes,
        snapshot_every=section.snapshot_every,
        deletes=DeletePolicy(section.deletes),
        entity=section.entity,
        score=None
        if section.score is None
        else Score(model=section.score.model, version=section.score.version, into=section.score.into),
    )


def windows_of(configuration: Configuration) -> Windows:
    """When nothing may be read from the source."""
    if configuration.source is None:
        return Windows()
    return Windows(
        tuple(
            Window(
                begins=clock_time(section.from_),
                ends=clock_time(section.to),
                days=frozenset(DAYS.index(day) for day in section.days),
                zone=ZoneInfo(section.time_zone),
            )
            for section in configuration.source.maintenance
        )
    )


def limits_of(configuration: Configuration) -> SourceLimits:
    """What all extractors together may take from the source."""
    budget = None if configuration.source is None else configuration.source.budget
    if budget is None:
        return SourceLimits()
    return SourceLimits(
        reads=budget.reads, rows_per_minute=budget.rows_per_minute, bytes_per_minute=budget.bytes_per_minute
    )


def _relation(section: PipelineSection) -> Relation:
    if section.of_views is not None:
        return SourceEntity(section.of_views)
    if section.query is not None:
        return SourceQuery(section.query)
    return SourceTable(*split_table(section.from_ or ""))
