"""A pipeline in memory: pages go into its stream, the live table follows when told to, and a rebuild runs beside it."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.conformance.loader.asking import MovedClock, NotedCommands
from tests.conformance.loader.events import Event, Extractor, delivery, ints, people, pipeline

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.rebuild.level import Patience
from qupersync_loader.application.rebuild.rebuild import Rebuild, Wishes
from qupersync_loader.application.rebuild.tally import Tally
from qupersync_loader.application.rebuild.telling import Told
from qupersync_loader.infrastructure.memory.fuse import Fuse
from qupersync_loader.infrastructure.memory.history import MemoryHistory
from qupersync_loader.infrastructure.memory.shadows import MemoryShadows, ShadowedTarget
from qupersync_shared.kernel.ids import Lane

SHORT = Patience(
    hold_seconds=5,
    pause_seconds=0.001,
    standstill_seconds=0.2,
    trouble_seconds=0.2,
    wait_lock_seconds=5,
    retry_seconds=0.001,
)


class Rig:
    def __init__(self, *, lanes: int = 2, **changes: Any) -> None:
        self.pipeline = pipeline(lanes=lanes, **changes)
        self.source = Extractor(lanes=lanes)
        self.target = ShadowedTarget()
        self.shadows = MemoryShadows(target=self.target)
        self.history = MemoryHistory(self.pipeline.name)
        self.apply = ApplyEvent(self.pipeline, NotedCommands(), MovedClock())
        self.told: list[Told] = []
        self.tally = Tally()
        self.on_told: Callable[[Told], None] = lambda _: None

    # ------------------------------------------------------------------------------------------------- stream

    def publish(self, *pages: list[Event], generation: int = 0) -> None:
        for event in [event for page in pages for event in page]:
            self.history.publish(Lane(event.envelope.lane), event.headers(generation), event.body)

    async def load(self, *pages: list[Event]) -> None:
        """The live table applies these pages."""
        for event in [event for page in pages for event in page]:
            async with self.target.session(self.pipeline) as session:
                await self.apply(Lane(event.envelope.lane), delivery(event), session)

    async def both(self, *pages: list[Event]) -> None:
        self.publish(*pages)
        await self.load(*pages)

    async def snapshot(self, *ids: int, name: str = "n") -> None:
        """A snapshot of two pages, in the stream and in the live table."""
        middle = ids[len(ids) // 2]
        first = [i for i in ids if i <= middle]
        await self.both(self.source.page(people(*first, name=name), upto=ints(middle)))
        await self.both(self.source.page(people(*[i for i in ids if i > middle], name=name), after=ints(middle)))

    def last_place(self) -> int:
        return self.history.events[-1].place

    # ------------------------------------------------------------------------------------------------ rebuild

    def rebuild(self, *, fuse: Fuse | None = None, patience: Patience = SHORT, **wishes: Any) -> Rebuild:
        for one in (self.shadows, self.history, self.target):
            one.fuse = fuse or Fuse()
        return Rebuild(
            self.pipeline,
            shadows=self.shadows,
            history=self.history,
            target=self.target,
            clock=MovedClock(),
            connections=2,
            tell=self._tell,
            wishes=Wishes(**wishes),
            patience=patience,
            tally=self.tally,
        )

    def _tell(self, told: Told) -> None:
        self.told.append(told)
        self.on_told(told)

    # ------------------------------------------------------------------------------------------------- tables

    def rows(self) -> dict[int, str]:
        """What stands in the live table."""
        return _rows(self.target, "public.people")

    def damage(self, key: int, **values: Any) -> None:
        """Alters a row by hand."""
        table = self.target.store.tables["public.people"]
        row = table.rows[ints(key)]
        object.__setattr__(row, "values", {**row.values, **values})

    def lose(self, key: int) -> None:
        """Deletes a row by hand."""
        del self.target.store.tables["public.people"].rows[ints(key)]

    def marks(self) -> dict[int, int]:
        return {
            lane: mark.sequence for lane, mark in self.target.store.pipelines[self.pipeline.name].watermarks.items()
        }

    def shadow_rows(self) -> dict[int, str]:
        store = self.target.hidden[next(iter(self.target.hidden))]
        return {row.values["id"]: row.values["name"] for row in store.tables["public._qs_shadow_people"].rows.values()}


def _rows(target: ShadowedTarget, name: str) -> dict[int, str]:
    return {row.values["id"]: row.values["name"] for row in target.store.tables[name].rows.values()}


async def until(condition: Callable[[], bool]) -> None:
    """Lets others go on until it holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # of the memory twins nobody is told anything
            await asyncio.sleep(0)
