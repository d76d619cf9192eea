"""The merge: the live table stays, and rows of it are written over with the shadow's where they differ."""

import itertools
from dataclasses import dataclass
from typing import Final

import asyncpg

from qupersync_loader.infrastructure.postgres.quarantine import columns
from qupersync_loader.infrastructure.postgres.rebuild.refused import Refused
from qupersync_loader.infrastructure.postgres.rebuild.rows import RowStatements
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.runtime.database import affected

_SAVEPOINT: Final = "SAVEPOINT qupersync_merge"
_BACK: Final = "ROLLBACK TO SAVEPOINT qupersync_merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """How many rows were written and removed (or marked). `left_out`: rows in quarantine could not be written."""

    written: int
    removed: int
    left_out: bool = False


async def merge(driver: asyncpg.Connection, statements: RowStatements, waiting: Refused) -> Merged:
    """Inside the transaction that holds the lanes."""
    width = len(statements.schema.key)
    keys, loaded = (columns(list(some), width) if some else [] for some in (waiting.either, waiting.loaded))
    await driver.execute("SET CONSTRAINTS ALL IMMEDIATE")
    # Deletes come first, so that a row may take over what a deleted one held of some other unique index.
    remove = statements.remove()
    removed = 0 if remove is None else affected(await driver.execute(remove, *keys))
    schema = statements.schema
    others = [name for name in schema.names if name not in schema.key]
    vacated = [row["name"] for row in await driver.fetch(statement("vacatable"), statements.live.name, others)]
    refusal: asyncpg.PostgresError | None = None
    # Rows may have exchanged values under a unique index: then all give theirs up before any takes another's. And what
    # waits in the live table's quarantine may be refused as it was before.
    for left_out, vacate in itertools.product((False, True) if keys else (False,), (False, True)):
        given = keys if left_out else loaded
        await driver.execute(_SAVEPOINT)
        try:
            if vacate and vacated:
                await driver.execute(statements.vacate(vacated, left_out=bool(given)), *given)
            written = affected(await driver.execute(statements.upsert(left_out=bool(given)), *given))
            return Merged(written=written, removed=removed, left_out=left_out)
        except asyncpg.IntegrityConstraintViolationError as error:
            await driver.execute(_BACK)
            refusal = error
    raise refusal or RuntimeError("nothing was tried")
