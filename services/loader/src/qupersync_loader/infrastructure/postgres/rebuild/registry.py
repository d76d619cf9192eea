"""The table `qupersync_rebuild` and the shadow's own rows beside it: who rebuilds what, and how far it is."""

import os
import platform
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import asyncpg

from qupersync_loader.application.shadows import LanePair, Phase
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_loader.infrastructure.postgres.names import quote_table
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.infrastructure.postgres.work import watermark_of
from qupersync_shared.kernel.errors import LeaseLostError, SchemaRefusedError, TransientError
from qupersync_shared.kernel.ids import Lane, uuid7

_FORGETTING: Final = ("forget_shadow_rows", "forget_shadow_letters", "forget_shadow")


def who() -> str:
    """Host and process id, for people."""
    return f"{platform.node() or 'host'}/{os.getpid()}"


class Registry:
    """The rows of one rebuild. Every method takes the connection whose transaction it is part of."""

    def __init__(self, live: TargetPipeline, shadow: TargetPipeline, claim: UUID) -> None:
        self._live = live
        self._shadow = shadow
        self._claim = claim
        self._names = (live.group, live.name)
        self._both = (live.group, shadow.group, live.name)

    async def open(self, driver: asyncpg.Connection) -> tuple[UUID, Phase] | None:
        """The rebuild that has not ended."""
        row = await driver.fetchrow(statement("rebuild_open"), *self._names)
        return None if row is None else (row["id"], Phase(row["phase"]))

    async def begin(self, driver: asyncpg.Connection) -> UUID:
        """A rebuild with a registered shadow, whose table was made in the same transaction."""
        id_ = uuid7()
        shadow = self._shadow
        await driver.execute(
            statement("register_shadow"), shadow.group, shadow.name, shadow.schema, shadow.table, self._live.group
        )
        await driver.execute(
            statement("rebuild_begin"),
            id_,
            *self._names,
            shadow.schema,
            shadow.table,
            Phase.READING,
            self._claim,
            who(),
        )
        return id_

    async def take(self, driver: asyncpg.Connection, id_: UUID) -> None:
        await driver.execute(statement("rebuild_take"), id_, self._claim, who())

    async def lock(self, driver: asyncpg.Connection) -> None:
        """Nobody else's from here on; LeaseLostError where it is so already."""
        if await driver.fetchval(statement("rebuild_lock"), *self._names, self._claim) is None:
            raise LeaseLostError(
                f"the rebuild of {self._live.name} is not this process's any more", cure="Begin it again: it goes on"
            )

    async def note(self, driver: asyncpg.Connection, id_: UUID, phase: Phase, rows: int, detail: str) -> None:
        await driver.execute(statement("rebuild_note"), id_, phase, rows, detail, self._claim)

    async def end(self, driver: asyncpg.Connection, phase: Phase, rows: int = 0) -> None:
        """Nothing is left of the shadow but its table, which the caller has taken away or made the live one."""
        for name in _FORGETTING:
            await driver.execute(statement(name), self._shadow.group, self._shadow.name)
        await driver.execute(statement("rebuild_end"), *self._names, phase, rows)

    # -------------------------------------------------------------------------------------------------- lanes

    async def is_registered(self, driver: asyncpg.Connection) -> bool:
        """Whether there is a shadow. SchemaRefusedError if the live table is none of the pipeline's."""
        rows = {r["group_name"]: r for r in await driver.fetch(statement("registrations"), *self._both)}
        live = rows.get(self._live.group)
        if live is None or (live["target_schema"], live["target_table"]) != (self._live.schema, self._live.table):
            raise SchemaRefusedError(
                f"loader group {self._live.group} has not loaded {self._live.name} into {self._live.target}",
                cure="Let a loader run first: there is nothing to rebuild yet",
            )
        return self._shadow.group in rows

    async def left(self, driver: asyncpg.Connection) -> list[str]:
        """The table of the registered shadow, quoted: another one's, where `into` has changed since it was made."""
        rows = await driver.fetch(statement("registrations"), *self._both)
        shadows = [row for row in rows if row["group_name"] == self._shadow.group]
        return [quote_table(row["target_schema"], row["target_table"]) for row in shadows]

    async def lanes(self, driver: asyncpg.Connection) -> Mapping[Lane, LanePair]:
        """Where both stand, by lane."""
        rows = await driver.fetch(statement("lane_pairs"), *self._both)
        marks = {(row["group_name"], row["lane"]): watermark_of(row) for row in rows}
        return {
            Lane(lane): LanePair(live=marks.get((self._live.group, lane)), shadow=marks.get((self._shadow.group, lane)))
            for lane in sorted({lane for _, lane in marks})
        }

    async def check_level(self, driver: asyncpg.Connection) -> None:
        """TransientError unless both have applied the same events in every lane, and the shadow a whole snapshot."""
        rows = {r["group_name"]: r for r in await driver.fetch(statement("registrations"), *self._both)}
        live, shadow = rows.get(self._live.group), rows.get(self._shadow.group)
        pairs = await self.lanes(driver)
        if live is None or shadow is None or live["lanes"] is None:
            raise TransientError(f"nothing has been applied yet on both sides of the rebuild of {self._live.name}")
        same = (live["log"], live["lanes"]) == (shadow["log"], shadow["lanes"])
        whole = range(live["lanes"])
        if not same or sorted(pairs) != list(whole) or not all(pair.level for pair in pairs.values()):
            raise TransientError(f"the shadow of {self._live.name} is not level with the live table in every lane")
        if any(pair.shadow is not None and pair.shadow.building is not None for pair in pairs.values()):
            raise TransientError(
                f"the shadow of {self._live.name} has not seen its snapshot's last page",
                cure="Wait until the snapshot is whole",
            )

    async def inherit(self, driver: asyncpg.Connection, *, settles_rows: bool = True) -> None:
        """The live lanes say what is true of the shadow's rows, and what waits in the shadow waits in the live name.

        `settles_rows`: what waits in the live table's quarantine alone does so no more.
        """
        # Sources that forget may not have said again what waits in the live name alone.
        settles = self._live.deletes is not DeletePolicy.KEEP
        backwards = (self._live.group, self._live.name, self._shadow.group)
        await driver.execute(statement("inherit_discarded_rows"), *self._both)
        if settles and settles_rows:
            await driver.execute(statement("inherit_settled_rows"), *backwards)
        if settles:
            await driver.execute(statement("inherit_settled_letters"), *backwards)
        for name in ("known_rows", "rows", "known_letters", "letters", "watermarks"):
            await driver.execute(statement(f"inherit_{name}"), *self._both)
