"""The outbox's partitions: made ahead of time, and dropped when published and old. No record is deleted by itself."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.database import DATABASE_ERRORS, sqlstate, translate, translated
from qupersync_shared.runtime.logs import get_logger

RETENTION: Final = timedelta(hours=72)
# Each divides the one before it, so that partitions of different widths never overlap in part.
_WIDTHS_SECONDS: Final = (21_600, 10_800, 3_600, 1_800, 900, 300, 60, 30, 10, 5, 1)
_PARTITIONS_A_RETENTION: Final = 12
_AHEAD_WIDTHS: Final = (8, 30)
_AHEAD_LEAST: Final = timedelta(minutes=5)
_RETRY_SECONDS: Final = 60.0
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtext('qupersync.outbox partitions'))")
_SHORT_WAIT: Final = text("SET LOCAL lock_timeout = '2s'")
_STOP_WRITERS: Final = text("LOCK TABLE ONLY qupersync.outbox IN ACCESS EXCLUSIVE MODE")
_LOCK_NOT_AVAILABLE: Final = "55P03"
_log = get_logger(__name__)


def partition_width(retention: timedelta) -> timedelta:
    """How much time one partition holds: at most six hours, and so little that dropping whole ones keeps near the
    retention.
    """
    wanted = retention.total_seconds() / _PARTITIONS_A_RETENTION
    fitting = (seconds for seconds in _WIDTHS_SECONDS if seconds <= wanted)
    return timedelta(seconds=next(fitting, _WIDTHS_SECONDS[-1]))


class OutboxPartitions:
    """Partition maintenance, by the outbox database's clock.

    `ahead` is how far partitions are made in advance: eight of them, and five minutes at least unless that were more
    than thirty.
    """

    def __init__(self, engine: AsyncEngine, retention: timedelta = RETENTION) -> None:
        self._engine = engine
        self.retention = retention
        self.width = partition_width(retention)
        least, most = (count * self.width for count in _AHEAD_WIDTHS)
        self.ahead = max(least, min(_AHEAD_LEAST, most))
        self._due_seconds = self.ahead.total_seconds() / 48
        self._due_at = float("-inf")
        self._missed = False

    async def ensure_ahead(self) -> list[str]:
        """Makes the partitions of the time ahead; the statements run. Safe at any time, from several processes."""
        ran: list[str] = []
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(_LOCK)
                missing = await connection.execute(
                    statement("missing_partitions"),
                    {"width_seconds": self.width.total_seconds(), "ahead_seconds": self.ahead.total_seconds()},
                )
                for row in missing.all():
                    for ddl in (row.make, row.attach):
                        await connection.exec_driver_sql(ddl)
                        ran.append(ddl)
        self._due_at = asyncio.get_running_loop().time() + self._due_seconds
        self._missed = False
        return ran

    async def ensure_if_due(self) -> None:
        """`ensure_ahead`, 48 times in the time that is made ahead (each hour by default). A failure is only logged, and
        tried again soon, as long as no record has found its partition missing: there is time left.
        """
        now = asyncio.get_running_loop().time()
        if now < self._due_at:
            return
        try:
            await self.ensure_ahead()
        except QupersyncError as error:
            if self._missed:
                raise
            self._due_at = now + min(_RETRY_SECONDS, self._due_seconds)
            _log.warning("outbox_partitions_not_made", reason=str(error))

    def mark_missed(self) -> None:
        """A record found no partition: the server's clock has jumped, or partitions could not be made for days."""
        self._missed = True
        self._due_at = float("-inf")

    async def drop_published(self, retention: timedelta | None = None) -> list[str]:
        """Drops partitions wholly older than the retention with nothing left to publish; their names, oldest first.

        Writers and relays wait while one is dropped; where that lock is not to be had at once, the rest waits for the
        next call.
        """
        dropped: list[str] = []
        with translated():
            async with self._engine.connect() as connection:
                found = await connection.execute(
                    statement("old_partitions"),
                    {"retention_seconds": (self.retention if retention is None else retention).total_seconds()},
                )
                partitions = found.all()
                await connection.rollback()
                for partition in partitions:
                    if not await self._drop(connection, partition.drop, partition.lower, partition.upper):
                        break
                    dropped.append(partition.name)
        return dropped

    async def _drop(self, connection: AsyncConnection, ddl: str, lower: datetime, upper: datetime) -> bool:
        bounds = {"lower": lower, "upper": upper}
        try:
            async with connection.begin():
                await connection.execute(statement("by_index"))
                if (await connection.execute(statement("unpublished"), bounds)).scalar_one():
                    return False
                await connection.execute(_SHORT_WAIT)
                await connection.execute(_STOP_WRITERS)
                # Again, now that no rewind can come between: it reads the outbox too.
                if (await connection.execute(statement("unpublished"), bounds)).scalar_one():
                    return False
                await connection.exec_driver_sql(ddl)
        except DATABASE_ERRORS as error:
            if sqlstate(error) == _LOCK_NOT_AVAILABLE:
                return False
            raise translate(error) from error
        return True
