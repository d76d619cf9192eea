"""The outbox database's revisions: brought up to date by `migrate`, never by a service that runs."""

from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.infrastructure.postgres.partitions import RETENTION, OutboxPartitions
from qupersync_extractor.infrastructure.postgres.tables import SCHEMA
from qupersync_shared.runtime.database import create_engine
from qupersync_shared.runtime.migrations import migrate, pending

SCRIPT_LOCATION: Final = "qupersync_extractor.infrastructure.postgres:migrations"
VERSION_TABLE: Final = "qupersync_extractor_version"


async def migrate_outbox(dsn: str, *, retention: timedelta = RETENTION) -> list[str]:
    """Brings schema and partitions up to date; the revisions applied. Safe from several processes at once."""
    applied = await migrate(
        dsn, script_location=SCRIPT_LOCATION, version_table=VERSION_TABLE, lock_name=VERSION_TABLE, schema=SCHEMA
    )
    engine = create_engine(dsn, application_name="qupersync-migrate", connections=0)
    try:
        await OutboxPartitions(engine, retention).ensure_ahead()
    finally:
        await engine.dispose()
    return applied


async def pending_revisions(engine: AsyncEngine) -> list[str]:
    """The revisions that `migrate_outbox` would apply; changes nothing."""
    return await pending(engine, script_location=SCRIPT_LOCATION, version_table=VERSION_TABLE, schema=SCHEMA)
