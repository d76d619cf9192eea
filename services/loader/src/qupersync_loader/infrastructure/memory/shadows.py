"""The port `Shadows` in memory. A shadow has a store of its own; the live table's lock is what holds loaders."""

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

from qupersync_loader.application.shadows import (
    Comparison,
    LaneDifference,
    LanePair,
    Obstacle,
    Phase,
    ShadowState,
    Swapped,
    Way,
)
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.memory.fuse import Fuse
from qupersync_loader.infrastructure.memory.store import MemoryStore
from qupersync_loader.infrastructure.memory.tables import PipelineStore, StoredRow, Table
from qupersync_loader.infrastructure.memory.target import MemorySession, MemoryTarget
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import lane_of_slot
from qupersync_shared.kernel.errors import ConflictError, DatabaseUnavailableError, LeaseLostError, TransientError
from qupersync_shared.kernel.ids import GroupName, Lane, uuid7
from qupersync_shared.kernel.positions import Key, encode_key

_KEYS_MAX = 5
_HIDDEN = "~"


class ShadowedTarget(MemoryTarget):
    """A target whose hidden loader groups have stores of their own; the next `away` times they get no session."""

    def __init__(self, store: MemoryStore | None = None, *, fuse: Fuse | None = None) -> None:
        super().__init__(store)
        self.hidden: dict[GroupName, MemoryStore] = {}
        self.fuse = fuse or Fuse()
        self.away = 0

    @asynccontextmanager
    async def session(self, pipeline: TargetPipeline) -> AsyncIterator[MemorySession]:
        if _HIDDEN not in pipeline.group:
            async with super().session(pipeline) as session:
                yield session
            return
        await self.fuse.burn()
        if self.away:
            self.away -= 1
            raise DatabaseUnavailableError("the target is away")
        store = self.hidden.setdefault(pipeline.group, MemoryStore())
        store.refuse = self.store.refuse
        yield MemorySession(store, pipeline)


@dataclass(slots=True)
class _Known:
    """What the target knows of a pipeline's rebuild."""

    id: UUID
    phase: Phase = Phase.READING


@dataclass(slots=True, kw_only=True)
class MemoryShadows:
    """`obstacles` are in the way of a swap; the next `busy` times readers do not let go of the live table; the next
    `away` times nobody can be asked; `lost`: another process has every claim.
    """

    target: ShadowedTarget
    fuse: Fuse = field(default_factory=Fuse)
    obstacles: Sequence[Obstacle] = ()
    busy: int = 0
    away: int = 0
    lost: bool = False
    phases: list[Phase] = field(default_factory=list)
    known: dict[str, _Known] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Whether the target answers, and the claim is still held."""
        if self.lost:
            raise LeaseLostError("the rebuild is another process's now")
        if self.away:
            self.away -= 1
            raise DatabaseUnavailableError("the target is away")

    @asynccontextmanager
    async def claim(self, pipeline: TargetPipeline) -> AsyncIterator["MemoryShadow"]:
        if pipeline.name in self.claimed:
            raise ConflictError(f"{pipeline.name} is being rebuilt by somebody else")
        self.claimed.add(pipeline.name)
        try:
            yield MemoryShadow(self, pipeline)
        finally:
            self.claimed.discard(pipeline.name)


class MemoryShadow:
    """The port `Shadow`."""

    def __init__(self, shadows: MemoryShadows, pipeline: TargetPipeline) -> None:
        self._shadows = shadows
        self.live = pipeline
        self.pipeline = replace(
            pipeline, group=GroupName(f"{pipeline.group}~rebuild"), table=f"_qs_shadow_{pipeline.table}"
        )

    @property
    def store(self) -> MemoryStore:
        """The shadow's own."""
        return self._shadows.target.hidden.setdefault(self.pipeline.group, MemoryStore())

    async def obstacles(self, schema: RowSchema) -> Sequence[Obstacle]:  # noqa: ARG002  # the obstacles are given
        await self._shadows.fuse.burn()
        return self._shadows.obstacles

    async def found(self) -> ShadowState | None:
        await self._shadows.fuse.burn()
        known = self._shadows.known.get(self.live.name)
        if known is None:
            return None
        return ShadowState(id=known.id, phase=known.phase, table=self.pipeline.target, lanes=self.pairs())

    async def make(self) -> ShadowState:
        await self._shadows.fuse.burn()
        if self.live.name not in self._shadows.known:
            live = self._shadows.target.store.tables[self.live.target]
            self.store.tables[self.pipeline.target] = Table(key=live.key, types=dict(live.types))
            filled = self._shadows.target.store.pipelines[self.live.name].filled
            self.store.pipelines[self.live.name] = PipelineStore(target=self.pipeline.target, made=True, filled=filled)
            self._shadows.known[self.live.name] = _Known(uuid7())
        known = self._shadows.known[self.live.name]
        return ShadowState(id=known.id, phase=known.phase, table=self.pipeline.target, lanes=self.pairs())

    async def prepare(self) -> None:
        await self._shadows.fuse.burn()

    async def discard(self) -> None:
        await self._shadows.fuse.burn()
        self.forget()

    def forget(self) -> None:
        """Nothing of the shadow is left."""
        self._shadows.target.hidden.pop(self.pipeline.group, None)
        self._shadows.known.pop(self.live.name, None)

    async def lanes(self) -> Mapping[Lane, LanePair]:
        await self._shadows.fuse.burn()
        self._shadows.check()
        return self.pairs()

    def pairs(self) -> dict[Lane, LanePair]:
        """Where both stand now."""
        live = self._shadows.target.store.pipelines.get(self.live.name, PipelineStore(target="")).watermarks
        hidden = self._shadows.target.hidden.get(self.pipeline.group, MemoryStore())
        own = hidden.pipelines.get(self.live.name, PipelineStore(target="")).watermarks
        return {Lane(n): LanePair(live=live.get(n), shadow=own.get(n)) for n in sorted(live.keys() | own.keys())}

    async def note(self, phase: Phase, *, rows: int = 0, detail: str = "") -> None:  # noqa: ARG002  # nobody reads them
        await self._shadows.fuse.burn()
        self._shadows.check()
        self._shadows.phases.append(phase)
        if self.live.name in self._shadows.known:
            self._shadows.known[self.live.name].phase = phase

    @asynccontextmanager
    async def hold(self) -> AsyncIterator["MemoryHeld"]:
        await self._shadows.fuse.burn()
        self._shadows.check()
        async with self._shadows.target.store.lock:
            yield MemoryHeld(self, self._shadows)


class MemoryHeld:
    """The port `Held`."""

    def __init__(self, shadow: MemoryShadow, shadows: MemoryShadows) -> None:
        self._shadow = shadow
        self._shadows = shadows
        self.lanes: Mapping[Lane, LanePair] = shadow.pairs()

    async def look(self) -> Mapping[Lane, LanePair]:
        await self._shadows.fuse.burn()
        return self._shadow.pairs()

    @asynccontextmanager
    async def moment(self) -> AsyncIterator["MemoryMoment"]:
        await self._shadows.fuse.burn()
        yield MemoryMoment(self._shadow, self._shadows)

    async def put_in_place(self, way: Way, schema: RowSchema) -> Swapped:  # noqa: ARG002  # rows are taken as they are
        await self._shadows.fuse.burn()
        pairs = self._shadow.pairs()
        if not all(pair.level for pair in pairs.values()):
            raise TransientError("the lanes are not level")
        if self._shadows.busy:
            self._shadows.busy -= 1
            raise TransientError("readers do not let go of the table")
        live, shadow = self._shadows.target.store, self._shadow.store
        before = live.tables[self._shadow.live.target]
        table = shadow.tables[self._shadow.pipeline.target]
        written = sum(_content(before, key) != _content(table, key) for key in table.rows)
        removed = len(before.rows.keys() - table.rows.keys())
        live.tables[self._shadow.live.target] = table
        store = shadow.pipelines[self._shadow.live.name]
        store.target = self._shadow.live.target
        live.pipelines[self._shadow.live.name] = store
        self._shadow.forget()
        await asyncio.sleep(0)
        return Swapped(
            way=way, rows=len(table.rows), locked_seconds=0, paused_seconds=0, written=written, removed=removed
        )


class MemoryMoment:
    """The port `Moment`: copies of both tables."""

    def __init__(self, shadow: MemoryShadow, shadows: MemoryShadows) -> None:
        self._fuse = shadows.fuse
        live, own = shadows.target.store, shadow.store
        self._lanes = live.pipelines[shadow.live.name].lanes or 1
        self._live = copy.deepcopy(live.tables[shadow.live.target])
        self._shadow = copy.deepcopy(own.tables[shadow.pipeline.target])
        stores = (live.pipelines[shadow.live.name], own.pipelines[shadow.live.name])
        self._excepted = {row.key for store in stores for row in store.quarantine if row.resolution is None}

    async def compare(self, schema: RowSchema) -> Comparison:  # noqa: ARG002  # all columns are the source's
        await self._fuse.burn()
        keys = (self._live.rows.keys() | self._shadow.rows.keys()) - self._excepted
        different = sorted(
            (key for key in keys if _content(self._live, key) != _content(self._shadow, key)), key=encode_key
        )
        by_lane: dict[int, list[Key]] = {}
        for key in different:
            row = self._live.rows.get(key) or self._shadow.rows[key]
            by_lane.setdefault(lane_of_slot(row.slot, self._lanes), []).append(key)
        return Comparison(
            live_rows=len(_alive(self._live)),
            shadow_rows=len(_alive(self._shadow)),
            excepted_keys=len(self._excepted),
            differences=[self._difference(Lane(lane), found) for lane, found in sorted(by_lane.items())],
        )

    def _difference(self, lane: Lane, keys: list[Key]) -> LaneDifference:
        def count(table: Table) -> int:
            return sum(lane_of_slot(row.slot, self._lanes) == lane for row in _alive(table))

        return LaneDifference(
            lane=lane,
            live_rows=count(self._live),
            shadow_rows=count(self._shadow),
            ranges=1,
            keys=[encode_key(key) for key in keys[:_KEYS_MAX]],
        )


def _alive(table: Table) -> list[StoredRow]:
    return [row for row in table.rows.values() if not row.deleted]


def _content(table: Table, key: Key) -> object:
    row = table.rows.get(key)
    return None if row is None or row.deleted else row.values
