"""The loader's own tables in the target database: brought up to date, and looked at."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_shared.runtime.migrations import migrate, pending

_LOCATION: Final = "qupersync_loader.infrastructure.postgres:migrations"
_VERSION_TABLE: Final = "qupersync_loader_version"


async def migrate_target(dsn: str) -> list[str]:
    """The revisions applied now; safe to run twice, and twice at once."""
    return await migrate(dsn, script_location=_LOCATION, version_table=_VERSION_TABLE, lock_name="loader")


async def pending_revisions(engine: AsyncEngine) -> list[str]:
    """The revisions that `migrate_target` would apply."""
    return await pending(engine, script_location=_LOCATION, version_table=_VERSION_TABLE)
