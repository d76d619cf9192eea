"""The page transaction on PostgreSQL: extraction row, outbox records and source quarantine, both or neither."""

import contextlib
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import asdict
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.records import LedgerLine, OutboxRecord
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.partitions import OutboxPartitions
from qupersync_extractor.infrastructure.postgres.quarantine import SourceQuarantine
from qupersync_extractor.infrastructure.postgres.rereads import RereadQueue
from qupersync_extractor.infrastructure.postgres.rows import STATE, extraction_of, extraction_values, record_values
from qupersync_extractor.infrastructure.postgres.signals import OUTBOX_CHANNEL
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.errors import DatabaseUnavailableError, LeaseLostError, QupersyncError
from qupersync_shared.kernel.ids import FencingToken, PipelineName
from qupersync_shared.runtime.database import DATABASE_ERRORS, sqlstate, translate, translated

_NOTIFY: Final = sa.text("SELECT pg_notify(:channel, :payload)")
_LINE: Final = statement("ledger_line")
_CHECK_VIOLATION: Final = "23514"


class PostgresUnitOfWork:
    """One transaction on one connection of the engine."""

    def __init__(self, engine: AsyncEngine, partitions: OutboxPartitions) -> None:
        self._engine = engine
        self._partitions = partitions
        self._connection: AsyncConnection | None = None
        self._failed = False
        self._extractions = _Extractions(self)
        self._outbox = _OutboxWriter(self)
        self._quarantine = SourceQuarantine(self.working)
        self._rereads = RereadQueue(self.working)

    @property
    def extractions(self) -> "_Extractions":
        return self._extractions

    @property
    def outbox(self) -> "_OutboxWriter":
        return self._outbox

    @property
    def quarantine(self) -> SourceQuarantine:
        return self._quarantine

    @property
    def rereads(self) -> RereadQueue:
        return self._rereads

    @property
    def partitions(self) -> OutboxPartitions:
        return self._partitions

    async def commit(self) -> None:
        """Keeps everything; transient errors may mean that it is kept nevertheless.

        Refused after any failed statement: PostgreSQL answers the COMMIT of a failed transaction without an error,
        and rolls back.
        """
        if self._failed:
            raise DatabaseUnavailableError("a statement of this transaction failed before: nothing is committed")
        with self.working() as connection:
            await connection.commit()
        self._failed = True  # a unit of work commits once

    async def __aenter__(self) -> Self:
        await self._partitions.ensure_if_due()
        with translated():
            self._connection = await self._engine.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(*DATABASE_ERRORS):
            # Rolls back what was not committed, shielded from cancellation. A connection that is gone has done so too.
            await connection.__aexit__(kind, error, trace)

    @contextlib.contextmanager
    def working(self) -> Iterator[AsyncConnection]:
        """The connection for one statement; a failure leaves it translated and forbids the commit."""
        if self._connection is None:
            raise RuntimeError("the unit of work was not entered, or has ended")
        try:
            yield self._connection
        except DATABASE_ERRORS as error:
            self._failed = True
            raise translate(error) from error
        except BaseException:
            self._failed = True
            raise


class PostgresUnitOfWorkFactory:
    """Makes units of work over one engine; keeps partitions ahead of them."""

    def __init__(self, engine: AsyncEngine, partitions: OutboxPartitions | None = None) -> None:
        self._engine = engine
        self._partitions = partitions or OutboxPartitions(engine)

    def __call__(self) -> PostgresUnitOfWork:
        return PostgresUnitOfWork(self._engine, self._partitions)


class _Extractions:
    def __init__(self, work: PostgresUnitOfWork) -> None:
        self._work = work
        self._locked: set[PipelineName] = set()

    async def lock(self, pipeline: PipelineName, token: FencingToken) -> Extraction:
        table = tables.extraction
        query = sa.select(*STATE, table.c.token, table.c.owner).where(table.c.pipeline == pipeline).with_for_update()
        with self._work.working() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise LeaseLostError(f"{pipeline} is no longer registered in the outbox database")
        if row.token != token or row.owner is None:
            raise LeaseLostError(f"the lease of {pipeline} is held by {row.owner or 'nobody'} under another token")
        self._locked.add(pipeline)
        return extraction_of(row)

    async def save(self, state: Extraction) -> None:
        if state.pipeline not in self._locked:
            raise RuntimeError(f"{state.pipeline} was not locked in this unit of work")
        table = tables.extraction
        values = extraction_values(state) | {"updated_at": sa.func.clock_timestamp()}
        with self._work.working() as connection:
            await connection.execute(sa.update(table).where(table.c.pipeline == state.pipeline).values(values))


class _OutboxWriter:
    """INSERT, not COPY: it is as fast for a page's few large records, and the server can end it when we freeze."""

    def __init__(self, work: PostgresUnitOfWork) -> None:
        self._work = work

    async def add(self, records: SequenceOf[OutboxRecord], line: LedgerLine | None = None) -> None:
        if not records:
            return
        with self._work.working() as connection:
            try:
                await connection.execute(sa.insert(tables.outbox), [record_values(record) for record in records])
            except DATABASE_ERRORS as error:
                raise self._without_partition(error) or error from error
            told = {"channel": OUTBOX_CHANNEL, "payload": records[0].pipeline}
            if line is None:
                await connection.execute(_NOTIFY, told)
            else:
                await connection.execute(_LINE, told | asdict(line))

    def _without_partition(self, error: BaseException) -> QupersyncError | None:
        if sqlstate(error) != _CHECK_VIOLATION or "no partition of relation" not in str(error):
            return None
        self._work.partitions.mark_missed()
        return DatabaseUnavailableError(
            "the outbox has no partition for the database's time", cure="The next attempt makes it"
        )
