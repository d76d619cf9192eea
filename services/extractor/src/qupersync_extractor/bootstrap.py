"""The only place where adapters meet use cases."""

import os
import platform
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.asking import RequestBoard
from qupersync_extractor.application.budget import ByteBudget
from qupersync_extractor.application.extract import ExtractPipeline
from qupersync_extractor.application.one_run import ExtractorPorts
from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.pressure import OutboxGauge
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.application.relaying import Bell, PipelineRelay
from qupersync_extractor.application.retention import StreamKeeper
from qupersync_extractor.application.scoring.ports import FeatureSource, ModelRegistry
from qupersync_extractor.application.scoring.scoring import Scoring
from qupersync_extractor.application.serving import PipelineService
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.application.verifying.passing import seconds_to_pass
from qupersync_extractor.application.verifying.verify import VerificationPorts, Verify, check_comparable
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_extractor.infrastructure.jetstream.progress import JetStreamProgress
from qupersync_extractor.infrastructure.jetstream.retention import JetStreamRetention
from qupersync_extractor.infrastructure.jetstream.stream import JetStreamStream
from qupersync_extractor.infrastructure.jetstream.verification import NatsLoaders
from qupersync_extractor.infrastructure.models.registry import FileModelRegistry
from qupersync_extractor.infrastructure.postgres.control import PostgresControlWork
from qupersync_extractor.infrastructure.postgres.outbox import PostgresOutboxReader
from qupersync_extractor.infrastructure.postgres.partitions import OutboxPartitions
from qupersync_extractor.infrastructure.postgres.quarantine import PostgresWithheldRows
from qupersync_extractor.infrastructure.postgres.registry import PostgresRegistry
from qupersync_extractor.infrastructure.postgres.relay_cursors import PostgresRelayCursors
from qupersync_extractor.infrastructure.postgres.remembered import PostgresRemembered
from qupersync_extractor.infrastructure.postgres.rereads import PostgresRereads
from qupersync_extractor.infrastructure.postgres.runs import PostgresRuns
from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_extractor.infrastructure.postgres.unit_of_work import PostgresUnitOfWorkFactory
from qupersync_extractor.infrastructure.postgres.verifications import PostgresVerifications
from qupersync_extractor.infrastructure.sources import build_source
from qupersync_extractor.infrastructure.sources.digests.opening import open_digests
from qupersync_extractor.infrastructure.timetable import timetable
from qupersync_extractor.settings import ExtractorSettings, extractor_settings, pipeline_of
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.database import create_engine
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.settings import Configuration, DuckDbSource, Schedule

IDLE_SHARE_OF_LEASE = 0.6
CONTROL_CONNECTIONS = 2
PAGES_WAIT_SECONDS = 60.0  # a page or a lane waits its turn; only a database that is stuck makes it wait longer
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The outbox database's adapters.

    Leases and requests have sessions of their own: they must not wait behind a hundred pipelines' pages.
    """

    engine: AsyncEngine
    control: AsyncEngine
    signals: PostgresSignals
    registry: PostgresRegistry
    outbox: PostgresOutboxReader
    cursors: PostgresRelayCursors
    partitions: OutboxPartitions
    runs: PostgresRuns
    rereads: PostgresRereads
    remembered: PostgresRemembered
    withheld: PostgresWithheldRows
    verifications: PostgresVerifications
    unit_of_work: PostgresUnitOfWorkFactory

    def controls(self) -> PostgresControlWork:
        """A unit of work on what people decide of pipelines."""
        return PostgresControlWork(self.control)

    async def close(self) -> None:
        """Closes every connection."""
        await self.signals.close()
        await self.engine.dispose()
        await self.control.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Everything one process of this service is made of."""

    configuration: Configuration
    settings: ExtractorSettings
    instance: str
    stores: Stores
    connection: Connection
    stream: JetStreamStream
    progress: JetStreamProgress
    troubles: Troubles
    requests: RequestBoard
    budget: ByteBudget
    clock: SystemClock
    models: ModelRegistry | None = None
    features: FeatureSource | None = None

    def source(self) -> Source:
        """The source of the configuration; ConfigurationError where it is missing or has no secret."""
        if self.configuration.source is None:
            raise ConfigurationError(
                "source is missing", place="qupersync.yaml", cure="Write `source: {kind: redshift, host: …}`"
            )
        return build_source(self.configuration.source, remembered=self.stores.remembered)

    def service(
        self, pipeline: Pipeline, source: Source, schedule: Schedule | None = None, *, joined_late: bool = False
    ) -> PipelineService:
        """The loop that runs one pipeline, by `schedule` or the one it had when the process started."""
        schedule = schedule or self.configuration.pipelines[pipeline.name].schedule
        ports = ExtractorPorts(
            source=source,
            registry=self.stores.registry,
            unit_of_work=self.stores.unit_of_work,
            stream=self.stream,
            progress=self.progress,
            clock=self.clock,
        )
        gauge = OutboxGauge(
            pipeline=pipeline.name,
            outbox=self.stores.outbox,
            clock=self.clock,
            high_water_bytes=self.settings.high_water_bytes,
            high_water_age=self.settings.high_water_age,
            report=lambda reason: self._pressure(pipeline, reason),
        )
        sizer = PageSizer(
            rows_max=pipeline.page_rows,
            page_bytes_max=self.settings.page_bytes_max,
            event_bytes_max=self.settings.event_bytes_max,
        )
        use_case = ExtractPipeline(
            pipeline,
            ports,
            PageReader(pipeline, source, sizer, room=gauge.room, budget=self.budget, additions=self._scoring(pipeline)),
            owner=self.instance,
            lease_seconds=self.settings.lease_seconds,
        )
        return PipelineService(
            use_case=use_case,
            registry=self.stores.registry,
            timetable=timetable(schedule),
            clock=self.clock,
            troubles=self.troubles,
            runs=self.stores.runs,
            board=self.requests,
            joined_late=joined_late,
        )

    def _scoring(self, pipeline: Pipeline) -> Scoring | None:
        return Scoring(pipeline, pipeline.score, self.models, self.features) if pipeline.score is not None else None

    def relay(self, pipeline: Pipeline, bell: Bell) -> PipelineRelay:
        """The relay of one pipeline's lanes."""
        return PipelineRelay(
            pipeline=pipeline.name,
            owner=self.instance,
            outbox=self.stores.outbox,
            cursors=self.stores.cursors,
            stream=self.stream,
            bell=bell,
            troubles=self.troubles,
            lease_seconds=self.settings.lease_seconds,
        )

    def keeper(self, pipeline: Pipeline) -> StreamKeeper:
        """What keeps the pipeline's stream within its limit."""
        return StreamKeeper(
            pipeline=pipeline.name,
            deletes=pipeline.deletes,
            stream=JetStreamRetention(self.connection),
            board=self.progress,
            progress=self.progress,
            registry=self.stores.registry,
            cursors=self.stores.cursors,
            troubles=self.troubles,
            replay_retention=self.settings.nats.replay_retention,
        )

    def _pressure(self, pipeline: Pipeline, reason: str | None) -> None:
        if reason is None:
            self.troubles.clear(pipeline.name, "outbox")
            _log.info("outbox_has_room", pipeline=pipeline.name)
            return
        if self.troubles.clear(pipeline.name, "outbox"):
            _log.debug("extraction_waits_still", pipeline=pipeline.name, reason=reason)
        else:
            _log.warning("extraction_waits", pipeline=pipeline.name, reason=reason)
        self.troubles.set(pipeline.name, "outbox", reason)


def check_schedules(configuration: Configuration) -> None:
    """ConfigurationError for a crontab expression that nobody can follow."""
    for name, section in configuration.pipelines.items():
        if section.verify is not None:
            check_comparable(pipeline_of(name, section))
        for place, schedule in (("schedule", section.schedule), ("verify", section.verify)):
            if schedule is None:
                continue
            try:
                timetable(schedule)
            except ValueError as error:
                raise ConfigurationError(
                    f"{schedule.cron!r} is not a crontab expression: {error}",
                    place=f"pipelines.{name}.{place}.cron",
                    cure='Write five fields, such as "*/5 * * * *"',
                ) from None


def stores(settings: ExtractorSettings, *, application_name: str) -> Stores:
    """The adapters of the outbox database; nothing is connected yet."""
    idle_seconds = settings.lease_seconds * IDLE_SHARE_OF_LEASE
    engine = create_engine(
        settings.outbox_dsn,
        application_name=application_name,
        connections=settings.outbox_connections,
        idle_in_transaction_seconds=idle_seconds,
        pool_wait_seconds=PAGES_WAIT_SECONDS,
    )
    control = create_engine(
        settings.outbox_dsn,
        application_name=application_name,
        connections=CONTROL_CONNECTIONS,
        idle_in_transaction_seconds=idle_seconds,
    )
    signals = PostgresSignals(settings.outbox_dsn)
    partitions = OutboxPartitions(engine, settings.outbox_retention)
    return Stores(
        engine=engine,
        control=control,
        signals=signals,
        registry=PostgresRegistry(control, signals),
        outbox=PostgresOutboxReader(engine, signals),
        cursors=PostgresRelayCursors(engine, control),
        partitions=partitions,
        runs=PostgresRuns(engine),
        rereads=PostgresRereads(engine),
        remembered=PostgresRemembered(engine),
        withheld=PostgresWithheldRows(engine),
        verifications=PostgresVerifications(engine),
        unit_of_work=PostgresUnitOfWorkFactory(engine, partitions),
    )


@asynccontextmanager
async def workshop(
    configuration: Configuration, *, role: str, only: Sequence[str] = (), path: str = "qupersync.yaml"
) -> AsyncIterator[Workshop]:
    """The parts of a process, closed afterwards. Connects to nothing by itself; ConfigurationError where one is due."""
    settings = extractor_settings(configuration, only=only, path=path)
    instance = instance_name()
    kept = stores(settings, application_name=f"qupersync-{role}")
    connection = Connection(settings.nats, name=f"qupersync-{role}-{instance}")
    troubles = Troubles()
    try:
        yield Workshop(
            configuration=configuration,
            settings=settings,
            instance=instance,
            stores=kept,
            connection=connection,
            stream=JetStreamStream(connection, settings.nats),
            progress=JetStreamProgress(connection, replicas=settings.nats.replicas),
            troubles=troubles,
            requests=RequestBoard(registry=kept.registry, troubles=troubles),
            budget=ByteBudget(settings.memory_max),
            clock=SystemClock(),
            models=model_registry(configuration),
            features=feature_source(configuration),
        )
    finally:
        await connection.close()
        await kept.close()


def model_registry(configuration: Configuration) -> ModelRegistry | None:
    """The models of the configuration, one registry a process: pipelines share what is opened."""
    return FileModelRegistry(configuration.models.path) if configuration.models is not None else None


def feature_source(configuration: Configuration) -> FeatureSource | None:
    """What scores may be computed from besides the rows themselves: DuckDB's warehouse, where it is the source."""
    section = configuration.source
    if not isinstance(section, DuckDbSource) or section.path is None:
        return None
    from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
    from qupersync_extractor.infrastructure.warehouse.features import WarehouseFeatures

    return WarehouseFeatures(DuckDbFile(section.path))


@asynccontextmanager
async def comparison(
    configuration: Configuration,
    pipeline: Pipeline,
    group: GroupName,
    kept: Stores,
    connection: Connection,
    *,
    seconds: float | None = None,
) -> AsyncIterator[Verify]:
    """One comparison's parts, with a source of its own; ConfigurationError for what cannot be compared."""
    check_comparable(pipeline)
    if configuration.source is None:
        raise ConfigurationError(
            "source is missing", place="qupersync.yaml", cure="Write `source: {kind: redshift, host: …}`"
        )
    source, digests = open_digests(configuration.source)
    try:
        yield Verify(
            pipeline=pipeline,
            group=group,
            ports=VerificationPorts(
                source=source,
                digests=digests,
                loaders=NatsLoaders(connection, group, pipeline.name),
                registry=kept.registry,
                rereads=kept.rereads,
                verifications=kept.verifications,
            ),
            withheld=await kept.withheld.keys(pipeline.name),
            seconds=seconds_to_pass(pipeline) if seconds is None else seconds,
            without_nul=configuration.pipelines[pipeline.name].nul_bytes == "remove",
        )
    finally:
        await source.close()


def instance_name() -> str:
    """A name for this process that no other has and that fits into a KV key."""
    host = "".join(c if c.isalnum() else "-" for c in platform.node()) or "host"
    return f"{host}-{os.getpid()}-{uuid4().hex[:8]}"
