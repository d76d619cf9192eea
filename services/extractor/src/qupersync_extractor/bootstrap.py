"""The only place where adapters meet use cases."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from qupersync_extractor.application.asking import RequestBoard
from qupersync_extractor.application.budget import ByteBudget
from qupersync_extractor.application.extract import ExtractPipeline
from qupersync_extractor.application.guarding import SourceGuard, guard_of
from qupersync_extractor.application.one_run import ExtractorPorts
from qupersync_extractor.application.parked_at_source import ParkedAtSource
from qupersync_extractor.application.parked_everywhere import ParkedEverywhere, WhereItWaits
from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.pressure import OutboxGauge
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.application.relaying import Bell, PipelineRelay
from qupersync_extractor.application.retention import StreamKeeper
from qupersync_extractor.application.scoring.ports import FeatureSource, ModelRegistry
from qupersync_extractor.application.scoring.scoring import Scoring
from qupersync_extractor.application.serving import PipelineService
from qupersync_extractor.application.source_gate import Calendar, Tell
from qupersync_extractor.application.source_turns import SourceTurns
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.application.verifying.passing import seconds_to_pass
from qupersync_extractor.application.verifying.verify import VerificationPorts, Verify, check_comparable
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_extractor.infrastructure.jetstream.parked import ParkedInTargets, RebuildsInTargets
from qupersync_extractor.infrastructure.jetstream.progress import JetStreamProgress
from qupersync_extractor.infrastructure.jetstream.retention import JetStreamRetention
from qupersync_extractor.infrastructure.jetstream.stream import JetStreamStream
from qupersync_extractor.infrastructure.jetstream.verification import NatsLoaders
from qupersync_extractor.infrastructure.models.registry import FileModelRegistry
from qupersync_extractor.infrastructure.postgres.source_use import PostgresSourceUse
from qupersync_extractor.infrastructure.scheduling.agenda import ScheduledAgenda
from qupersync_extractor.infrastructure.scheduling.timetables import timetable
from qupersync_extractor.infrastructure.sources import build_source
from qupersync_extractor.infrastructure.sources.digests.opening import open_digests
from qupersync_extractor.settings import ExtractorSettings, extractor_settings, limits_of, windows_of
from qupersync_extractor.stores import Stores, stores
from qupersync_shared.kernel.clock import SystemClock
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import GroupName
from qupersync_shared.runtime.instance import instance_name
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.settings import Configuration, DuckDbSource, Schedule

_log = get_logger(__name__)


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
    agenda: ScheduledAgenda
    models: ModelRegistry | None = None
    features: FeatureSource | None = None
    guard: SourceGuard | None = None

    def source(self) -> Source:
        """The source of the configuration; ConfigurationError where it is missing or has no secret."""
        if self.configuration.source is None:
            raise ConfigurationError(
                "source is missing", place=self.configuration.place, cure="Write `source: {kind: redshift, host: …}`"
            )
        return build_source(self.configuration.source, self.configuration.place, remembered=self.stores.remembered)

    def service(
        self, pipeline: Pipeline, source: Source, schedule: Schedule | None = None, *, joined_late: bool = False
    ) -> PipelineService:
        """The loop that runs one pipeline, by `schedule` or the one it had when the process started."""
        schedule = schedule or self.configuration.pipelines[pipeline.name].schedule
        guarded = self.guard.of_runs(source, pipeline.name) if self.guard is not None else None
        ports = ExtractorPorts(
            source=guarded or source,
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
            PageReader(
                pipeline,
                guarded or source,
                sizer,
                room=gauge.room,
                budget=self.budget,
                additions=self._scoring(pipeline),
                admitted=guarded.admitted if guarded is not None else None,
            ),
            owner=self.instance,
            lease_seconds=self.settings.lease_seconds,
        )
        return PipelineService(
            use_case=use_case,
            registry=self.stores.registry,
            timetable=timetable(schedule),
            agenda=self.agenda,
            last_runs=self.stores.last_runs,
            clock=self.clock,
            troubles=self.troubles,
            runs=self.stores.runs,
            board=self.requests,
            closed=self.guard.calendar.words if self.guard is not None else lambda: None,
            joined_late=joined_late,
        )

    def parked(self, kept: Stores) -> ParkedEverywhere:
        """What waits for a person, at the source and in every target, as seen over the stores `kept`."""
        return ParkedEverywhere(
            source=ParkedAtSource(kept.withheld, kept.rereads), targets=ParkedInTargets(self.connection)
        )

    def where_parked(self, kept: Stores) -> WhereItWaits:
        """Where something waits."""
        return WhereItWaits(self.progress, kept.withheld)

    def rebuilds(self) -> RebuildsInTargets:
        """The rebuilds of loader groups."""
        return RebuildsInTargets(self.connection)

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


@asynccontextmanager
async def workshop(
    configuration: Configuration, *, role: str, only: Sequence[str] = (), path: str | None = None
) -> AsyncIterator[Workshop]:
    """The parts of a process, closed afterwards. Connects to nothing by itself; ConfigurationError where one is due."""
    settings = extractor_settings(configuration, only=only, path=path)
    instance = instance_name()
    kept = stores(settings, application_name=f"qupersync-{role}")
    connection = Connection(settings.nats, name=f"qupersync-{role}-{instance}")
    troubles = Troubles()
    agenda = ScheduledAgenda(SystemClock())
    guard = source_guard(configuration, kept, settings, owner=instance, troubles=troubles)
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
            agenda=agenda,
            models=model_registry(configuration),
            features=feature_source(configuration),
            guard=guard,
        )
    finally:
        await agenda.close()
        if guard is not None:
            await guard.close()
        await connection.close()
        await kept.close()


def source_guard(
    configuration: Configuration, kept: Stores, settings: ExtractorSettings, *, owner: str, troubles: Troubles
) -> SourceGuard | None:
    """What keeps the source budget and the maintenance windows; None where the configuration has neither."""
    use = PostgresSourceUse(kept.control, kept.signals)
    turns = SourceTurns(use=use, owner=owner, limits=limits_of(configuration), seconds=settings.lease_seconds)
    return guard_of(Calendar(windows=windows_of(configuration), clock=SystemClock()), turns, troubles)


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
    guard: SourceGuard | None,
    seconds: float | None = None,
    tell: Tell | None = None,
) -> AsyncIterator[Verify]:
    """One comparison's parts, with a source of its own; ConfigurationError for what cannot be compared.

    `tell` is told while the guard makes it wait; without it the pipeline's notices are.
    """
    check_comparable(pipeline)
    if configuration.source is None:
        raise ConfigurationError(
            "source is missing", place=configuration.place, cure="Write `source: {kind: redshift, host: …}`"
        )
    source, digests = open_digests(configuration.source, configuration.place)
    if guard is not None:
        source, digests = guard.of_comparison(source, digests, pipeline.name, tell)
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
