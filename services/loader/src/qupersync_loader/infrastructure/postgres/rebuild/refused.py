"""Rows that one of both tables was refused: what the live table has of them stays, as far as it can."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.quarantine import columns, storable
from qupersync_loader.infrastructure.postgres.rebuild.rows import RowStatements
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import SchemaRefusedError
from qupersync_shared.kernel.positions import Key, decode_key, encode_key

_SAVEPOINT: Final = "SAVEPOINT qupersync_keeping"
_BACK: Final = "ROLLBACK TO SAVEPOINT qupersync_keeping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Keys that wait in quarantine: on `either` side, and those of them that the live table `loaded` after all."""

    either: Sequence[Key]
    loaded: Sequence[Key] = ()


async def excepted_keys(
    driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline, schema: RowSchema
) -> list[Key]:
    """Keys that wait in quarantine on either side and that a row of today's key columns can have."""
    return await _keys(driver, "keys_in_quarantine", live, shadow, schema)


async def refused(
    driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline, statements: RowStatements
) -> Refused:
    """Lanes overtake each other: the shadow may be refused a value that another row of it has not given up yet, where
    the live table was not. The lanes are level, so the live table's row is the newest there is.
    """
    schema = statements.schema
    either = await excepted_keys(driver, live, shadow, schema)
    alone = await _keys(driver, "loaded_keys", live, shadow, schema)
    if not alone:
        return Refused(either=either)
    found = await driver.fetch(statements.held_keys(), *columns(alone, len(schema.key)))
    return Refused(either=either, loaded=[alone[row[0] - 1] for row in found])


async def keep(driver: asyncpg.Connection, statements: RowStatements, keys: Refused) -> None:
    """Takes the live table's rows over to the shadow: those that it loaded, whatever the shadow has, and others where
    the shadow has none. SchemaRefusedError where one has no room there: no row that readers see now is given up.
    """
    loaded = set(keys.loaded)
    await driver.execute("SET CONSTRAINTS ALL IMMEDIATE")
    await _take(driver, statements, keys.loaded, statements.give_up(), statements.keep_excepted())
    await _take(driver, statements, [key for key in keys.either if key not in loaded], statements.keep_excepted())


async def settle(driver: asyncpg.Connection, shadow: TargetPipeline, keys: Sequence[Key]) -> None:
    """What the live table has loaded waits in no quarantine."""
    digests = [hashlib.md5(encode_key(key).encode(), usedforsecurity=False).hexdigest() for key in keys]
    if digests:
        await driver.execute(statement("forget_keys"), shadow.group, shadow.name, digests)


async def _take(driver: asyncpg.Connection, statements: RowStatements, keys: Sequence[Key], *each: str) -> None:
    """All at once; one by one only to say which has no room."""
    if not keys or await _tried(driver, statements, keys, each):
        return
    for key in keys:
        if not await _tried(driver, statements, [key], each):
            raise SchemaRefusedError(
                f"the row of {statements.pipeline.target} with key ({', '.join(scalar.text for scalar in key)}), which "
                "is in quarantine or breaks a constraint, has no room beside the rebuilt rows",
                cure="Merge the rows instead (--merge), which leaves such rows as they are; or mend what they break",
            )


async def _tried(
    driver: asyncpg.Connection, statements: RowStatements, keys: Sequence[Key], each: Sequence[str]
) -> bool:
    given = columns(list(keys), len(statements.schema.key))
    await driver.execute(_SAVEPOINT)
    try:
        for sql in each:
            await driver.execute(sql, *given)
    except asyncpg.IntegrityConstraintViolationError:
        await driver.execute(_BACK)
        return False
    return True


async def _keys(
    driver: asyncpg.Connection, which: str, live: TargetPipeline, shadow: TargetPipeline, schema: RowSchema
) -> list[Key]:
    rows = await driver.fetch(statement(which), live.group, shadow.group, live.name)
    kinds = [column.type.scalar for column in schema.key_columns]
    keys = [decode_key(row["key"]) for row in rows]
    return [key for key in keys if [scalar.kind for scalar in key] == kinds and storable(key)]
