"""The swap: the shadow takes the live table's name, and readers are locked out only while names change."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import asyncpg

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import quote, quote_table
from qupersync_loader.infrastructure.postgres.rebuild.clone import hand_over, portraits, sequence_of, unlike
from qupersync_loader.infrastructure.postgres.rebuild.naming import old_table, part_name
from qupersync_loader.infrastructure.postgres.rebuild.obstacles import relation
from qupersync_loader.infrastructure.postgres.rebuild.parts import (
    LATE_COMMENTS,
    Parts,
    literal,
    policies,
    row_security,
    triggers,
    view,
)
from qupersync_loader.infrastructure.postgres.rebuild.portrait import Piece, Portrait, plain_names, portrait
from qupersync_shared.kernel.errors import SchemaRefusedError, TransientError

# Below PostgreSQL's deadlock_timeout (1 s): where a reader and the swap wait for each other, the swap gives way, and no
# reader is ever ended for it. Nobody queues up behind it for longer than this at a time.
ATTEMPT_SECONDS: Final = 0.4
STILL_SECONDS: Final = 3.0
_PAUSE_SECONDS: Final = 0.2
_SAVEPOINT: Final = "SAVEPOINT qupersync_swap"
_BACK: Final = "ROLLBACK TO SAVEPOINT qupersync_swap"


class Swap:
    """One attempt inside the transaction that holds the lanes."""

    def __init__(self, driver: asyncpg.Connection, live: TargetPipeline, shadow: TargetPipeline) -> None:
        self._driver = driver
        self._live = live
        self._shadow = shadow
        self._table = quote_table(live.schema, live.table)
        self._old = old_table(live)
        self._parts = Parts(shadow)
        self._new_sequences: dict[str, str] = {}

    async def __call__(self, *, readers_seconds: float) -> float:
        """When readers began to wait (`time.monotonic`); the caller commits. Nothing here looks at a row."""
        # The statement that looks at the catalogue takes longer to plan than to run.
        await self._driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await self._keep_still()
        async with plain_names(self._driver):
            changed = await unlike(self._driver, self._live, self._shadow)
            if changed:
                raise TransientError(
                    f"{self._live.target} was changed since the shadow was prepared: {', '.join(changed)}",
                    cure="Prepare it again",
                )
            seen, own = await portraits(self._driver, self._live, self._shadow)
            await hand_over(self._driver, seen, own, self._shadow)
            self._new_sequences = {
                piece.name: await sequence_of(self._driver, self._shadow, piece.name)
                for piece in seen.of("sequence")
                if piece.definition["identity"]
            }
            began = await self._lock_out(seen, readers_seconds)
            await self._exchange(seen)
            _check(seen, await portrait(self._driver, await relation(self._driver, self._live)))
        return began

    # -------------------------------------------------------------------------------------------------- locks

    async def _keep_still(self) -> None:
        """From here on nobody alters the table or makes an index, while everybody reads and writes it.

        Autovacuum gives way to whoever has waited for `deadlock_timeout`, which the short attempts below never do.
        """
        await self._driver.execute(f"SET LOCAL lock_timeout = {int(STILL_SECONDS * 1000)}")
        try:
            await self._driver.execute(f"LOCK TABLE {self._table} IN SHARE UPDATE EXCLUSIVE MODE")
        except asyncpg.LockNotAvailableError as error:
            raise TransientError(
                f"{self._live.target} is being altered, indexed or vacuumed", cure="Try again when that has ended"
            ) from error

    async def _lock_out(self, seen: Portrait, patience_seconds: float) -> float:
        """Waits for readers in short attempts, and between them lets everybody pass."""
        deadline = time.monotonic() + patience_seconds
        while True:
            await self._driver.execute(_SAVEPOINT)
            try:
                return await self._attempt(seen)
            except asyncpg.LockNotAvailableError as error:
                await self._driver.execute(_BACK)
                if time.monotonic() >= deadline:
                    raise TransientError(
                        f"readers of {self._live.target} do not let go of it",
                        cure="Try again later; pg_stat_activity shows long transactions",
                    ) from error
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _attempt(self, seen: Portrait) -> float:
        """When readers began to wait. Rights and views can be changed until now, without any lock."""
        await self._driver.execute(f"SET LOCAL lock_timeout = {int(ATTEMPT_SECONDS * 1000)}")
        # Views first, as their readers do. An owner that stays the same changes nothing, but takes the lock; LOCK would
        # take it on every table that the view reads.
        owners = [f"ALTER VIEW {piece.name} OWNER TO {quote(piece.definition['owner'])}" for piece in seen.of("view")]
        began = time.monotonic()
        await self._driver.execute(";\n".join([*owners, f"LOCK TABLE {self._table} IN ACCESS EXCLUSIVE MODE"]))
        if await portrait(self._driver, await relation(self._driver, self._live)) != seen:
            raise TransientError(f"{self._live.target} was changed at this very moment", cure="Try again")
        # The tables that it refers to have triggers for it, which go with the old table.
        keys = [
            f"ALTER TABLE {self._table} DROP CONSTRAINT {quote(piece.name)}"
            for piece in seen.of("constraint")
            if piece.definition["type"] == "f"
        ]
        if keys:
            await self._driver.execute(";\n".join(keys))
        return began

    # ----------------------------------------------------------------------------------------------- exchange

    async def _exchange(self, before: Portrait) -> None:
        script = [
            *self._sequences(before),
            f"ALTER TABLE {self._table} RENAME TO {quote(self._old)}",
            f"ALTER TABLE {self._parts.table} RENAME TO {quote(self._live.table)}",
            *(view(piece) for piece in before.of("view")),
            f"DROP TABLE {quote_table(self._live.schema, self._old)}",
            *self._names(before),
            *policies(self._table, before.of("policy")),
            *(each for piece in before.of("row security") for each in row_security(self._table, piece)),
            *triggers(self._table, before.of("trigger")),
            *self._late_comments(before),
        ]
        try:
            await self._driver.execute(";\n".join(script))
        except asyncpg.DependentObjectsStillExistError as error:
            raise SchemaRefusedError(
                f"{self._live.target} cannot be replaced: something depends on it",
                cure="Drop what depends on it and make it again afterwards, or merge the rows (--merge)",
            ) from error

    def _sequences(self, before: Portrait) -> list[str]:
        """Serial columns keep their sequences; identity columns have new ones, which go on where the old ones are."""
        statements = []
        for piece in before.of("sequence"):
            definition = piece.definition
            old = quote_table(definition["schema"], definition["name"])
            if not definition["identity"]:
                statements.append(f"ALTER SEQUENCE {old} OWNED BY {self._parts.table}.{quote(piece.name)}")
                continue
            aside = part_name(self._shadow, "sequence", piece.name)
            new = self._new_sequences[piece.name]
            statements.append(f"ALTER SEQUENCE {old} RENAME TO {quote(aside)}")  # which also locks it against nextval
            value = f"SELECT pg_catalog.setval({literal(new)}, last_value, is_called)"
            statements.append(f"{value} FROM {quote_table(definition['schema'], aside)}")
        return statements

    def _names(self, before: Portrait) -> list[str]:
        """The names of the old table's parts, which are free now that it is gone."""
        renames = [
            f"ALTER INDEX {self._parts.qualified(self._parts.index(piece.name))} RENAME TO {quote(piece.name)}"
            for piece in before.of("index", "constraint")
            if piece.has_index
        ]
        renames += [
            f"ALTER STATISTICS {self._parts.statistics(piece)} RENAME TO {quote(piece.definition['name'])}"
            for piece in before.of("statistics")
        ]
        for piece in before.of("sequence"):
            if piece.definition["identity"]:
                new = self._new_sequences[piece.name]
                renames.append(f"ALTER SEQUENCE {new} RENAME TO {quote(piece.definition['name'])}")
        return renames

    def _late_comments(self, before: Portrait) -> list[str]:
        return [
            f"COMMENT ON {piece.definition['on']} {quote(piece.definition['name'])} ON {self._table} "
            f"IS {literal(piece.definition['text'])}"
            for piece in before.of("comment")
            if piece.definition["on"] in LATE_COMMENTS
        ]


def _check(before: Portrait, after: Portrait) -> None:
    """What stands is what stood, or nothing is changed at all."""
    differing: Sequence[Piece] = [*before.lacking(after), *after.lacking(before)]
    if differing:
        raise SchemaRefusedError(
            f"not everything could be carried over: {', '.join(sorted({str(piece) for piece in differing}))}",
            cure="Merge the rows instead (--merge), and report what is special about these",
        )
