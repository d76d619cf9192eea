"""The outbox database's adapters, and what people may do on it: all that commands need, without what processes do."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.operations import Operations
from qupersync_extractor.infrastructure.postgres.actions import PostgresActions
from qupersync_extractor.infrastructure.postgres.control import PostgresControlWork
from qupersync_extractor.infrastructure.postgres.idempotency import PostgresRequests
from qupersync_extractor.infrastructure.postgres.last_runs import PostgresLastRuns
from qupersync_extractor.infrastructure.postgres.ledger import PostgresLedger
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
from qupersync_extractor.settings import ExtractorSettings
from qupersync_shared.runtime.database import create_engine

IDLE_SHARE_OF_LEASE: Final = 0.6
CONTROL_CONNECTIONS: Final = 2
PAGES_WAIT_SECONDS: Final = 60.0  # a page or a lane waits its turn; only a database that is stuck makes it wait longer


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
    ledger: PostgresLedger
    last_runs: PostgresLastRuns
    actions: PostgresActions
    requests: PostgresRequests
    rereads: PostgresRereads
    remembered: PostgresRemembered
    withheld: PostgresWithheldRows
    verifications: PostgresVerifications
    unit_of_work: PostgresUnitOfWorkFactory

    def controls(self) -> PostgresControlWork:
        """A unit of work on what people decide of pipelines."""
        return PostgresControlWork(self.control)

    @property
    def operations(self) -> Operations:
        """What people may do to pipelines, on this database."""
        return Operations(
            controls=self.controls,
            registry=self.registry,
            outbox=self.outbox,
            actions=self.actions,
            runs=self.runs,
            ledger=self.ledger,
        )

    async def close(self) -> None:
        """Closes every connection."""
        await self.signals.close()
        await self.engine.dispose()
        await self.control.dispose()


def stores(settings: ExtractorSettings, *, application_name: str) -> Stores:
    """The adapters of the outbox database; nothing is connected yet."""
    idle_seconds = settings.lease_seconds * IDLE_SHARE_OF_LEASE
    engine = create_engine(
        settings.outbox_dsn,
        name="outbox",
        application_name=application_name,
        connections=settings.outbox_connections,
        idle_in_transaction_seconds=idle_seconds,
        pool_wait_seconds=PAGES_WAIT_SECONDS,
    )
    control = create_engine(
        settings.outbox_dsn,
        name="outbox",
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
        ledger=PostgresLedger(engine),
        last_runs=PostgresLastRuns(control),
        actions=PostgresActions(engine),
        requests=PostgresRequests(engine),
        rereads=PostgresRereads(engine),
        remembered=PostgresRemembered(engine),
        withheld=PostgresWithheldRows(engine),
        verifications=PostgresVerifications(engine),
        unit_of_work=PostgresUnitOfWorkFactory(engine, partitions),
    )
