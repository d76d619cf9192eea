"""Foreign keys of a shadow: it is loaded without them, and its rows are looked at when they have all come."""

from typing import Final

import asyncpg

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import SLOT, quote, quote_table
from qupersync_loader.infrastructure.postgres.rebuild.clone import awaiting_validation
from qupersync_loader.infrastructure.postgres.rebuild.obstacles import relation
from qupersync_loader.infrastructure.postgres.rebuild.parts import Parts
from qupersync_loader.infrastructure.postgres.rebuild.portrait import Piece, plain_names
from qupersync_loader.infrastructure.postgres.sql import statement

_SAVEPOINT: Final = "SAVEPOINT qupersync_reference"
_BACK: Final = "ROLLBACK TO SAVEPOINT qupersync_reference"


async def validate(driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline) -> None:
    """Looks at the rows of foreign keys that the live table's rows are known to keep; in a transaction of its own.

    A row that the live table was refused for such a key is in the shadow, which was loaded without: it waits in the
    shadow's quarantine from now on.
    """
    parts = Parts(shadow)
    async with plain_names(driver):
        for piece in await awaiting_validation(driver, live, shadow):
            await driver.execute(_SAVEPOINT)
            try:
                await driver.execute(parts.validate(piece))
            except asyncpg.ForeignKeyViolationError:
                await driver.execute(_BACK)
                await _set_aside(driver, live, shadow, piece)
                await driver.execute(parts.validate(piece))


async def _set_aside(driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline, piece: Piece) -> None:
    key = await driver.fetchrow(statement("foreign_key"), await relation(driver, shadow), piece.name)
    pairs = list(zip(key["own"], key["referred"], strict=True))
    given = " AND ".join(f"t.{quote(own)} IS NOT NULL" for own, _ in pairs)
    same = " AND ".join(f"r.{quote(referred)} = t.{quote(own)}" for own, referred in pairs)
    gone = await driver.fetch(
        f"DELETE FROM {quote_table(shadow.schema, shadow.table)} AS t WHERE {given} "  # noqa: S608  # quoted
        f"AND NOT EXISTS (SELECT FROM {quote_table(key['schema'], key['table'])} AS r WHERE {same}) "
        f"AND t.{SLOT} IN (SELECT q.slot FROM public.qupersync_quarantine AS q "
        f"WHERE q.group_name = $1 AND q.pipeline = $2 AND q.resolved_at IS NULL) RETURNING t.{SLOT}",
        live.group,
        live.name,
    )
    slots = sorted({row[0] for row in gone})
    await driver.execute(statement("share_quarantine"), live.group, shadow.group, live.name, slots)
