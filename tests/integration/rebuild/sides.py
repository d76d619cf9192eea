"""The live table and its shadow at work: the same events are handed to both, as loader and rebuild do."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.conformance.loader.asking import MovedClock, NotedCommands
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import PEOPLE, Event, Extractor, delivery

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.outcome import Ack
from qupersync_loader.application.shadows import Comparison, LanePair, Obstacle, Shadow, Swapped, Way
from qupersync_loader.infrastructure.postgres.rebuild.hold import Patience
from qupersync_loader.infrastructure.postgres.rebuild.shadows import PostgresShadows
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.ids import Lane

Page = list[Event]


class Sides:
    """One pipeline. `told` is all that the stream has; the shadow begins at its last snapshot."""

    def __init__(self, postgres: PostgresHarness, *, rows: RowSchema = PEOPLE, lanes: int = 2, **changes: Any) -> None:
        self.postgres = postgres
        self.schema = rows
        self.source = Extractor(rows, lanes=lanes)
        self.live = Lanes(postgres.target, lanes=lanes, **changes)
        self.shadows = PostgresShadows(postgres.dsn, Patience(loaders_seconds=20, readers_seconds=20))
        self.told: list[Page] = []

    @property
    def impatient(self) -> PostgresShadows:
        """Gives up after a moment."""
        return PostgresShadows(self.postgres.dsn, Patience(loaders_seconds=0.5, readers_seconds=0.5))

    async def snapshot(self, rows: Sequence[dict[str, Any]]) -> None:
        await self.tell(self.source.page(rows))

    async def change(self, rows: Sequence[dict[str, Any]]) -> None:
        await self.tell(self.source.incremental(rows))

    async def tell(self, page: Page) -> None:
        self.told.append(page)
        await self.live.load(page)

    async def catch_up(self, shadow: Shadow, *, pages: Sequence[Page] | None = None) -> None:
        """Every event that the stream has is handed to the shadow; what it has applied, it leaves out."""
        apply = ApplyEvent(shadow.pipeline, NotedCommands(), MovedClock())
        for event in itertools.chain.from_iterable(self.told if pages is None else pages):
            async with self.postgres.target.session(shadow.pipeline) as session:
                outcome = await apply(Lane(event.envelope.lane), delivery(event), session)
                assert isinstance(outcome, Ack), outcome

    async def catch_up_with_live(self, shadow: Shadow, lanes: Mapping[Lane, LanePair], start: int = 0) -> int:
        """The same from one page on and no further than the live lanes; which page comes next."""
        upto = min(pair.live.sequence for pair in lanes.values() if pair.live is not None)
        most = max(pair.live.sequence for pair in lanes.values() if pair.live is not None)
        pages = [
            [e for e in page if (live := lanes[Lane(e.envelope.lane)].live) and e.envelope.sequence <= live.sequence]
            for page in self.told[start:most]
        ]
        await self.catch_up(shadow, pages=pages)
        return int(upto)

    async def ready(self, shadow: Shadow) -> None:
        """A shadow that could take the live table's place now."""
        await shadow.make()
        await self.catch_up(shadow)
        await shadow.prepare()

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[Shadow]:
        async with self.shadows.claim(self.live.pipeline) as shadow:
            await self.ready(shadow)
            yield shadow

    async def rebuild(self, way: Way = Way.SWAP) -> Swapped:
        async with self.prepared() as shadow:
            return await self.put(shadow, way)

    async def put(self, shadow: Shadow, way: Way = Way.SWAP) -> Swapped:
        async with shadow.hold() as held:
            return await held.put_in_place(way, self.schema)

    async def look(self, shadow: Shadow) -> Comparison:
        """Both tables as they stand now."""
        async with shadow.hold() as held, held.moment() as moment:
            return await moment.compare(self.schema)

    async def obstacles(self) -> Sequence[Obstacle]:
        async with self.shadows.claim(self.live.pipeline) as shadow:
            return await shadow.obstacles(self.schema)

    async def rows(self) -> list[dict[str, Any]]:
        return await self.postgres.rows(self.live.pipeline)

    async def leftovers(self) -> list[str]:
        """Whatever still bears a name that rebuilds give, and rows of shadows."""
        found = await self.postgres.fetch(
            "SELECT relname::text FROM pg_class WHERE relname ~ '^_qs_(shadow|old|part)' UNION ALL "
            "SELECT stxname FROM pg_statistic_ext WHERE stxname LIKE '\\_qs\\_%' UNION ALL "
            "SELECT group_name FROM qupersync_pipeline WHERE group_name LIKE '%~%' UNION ALL "
            "SELECT group_name FROM qupersync_watermark WHERE group_name LIKE '%~%' UNION ALL "
            "SELECT group_name FROM qupersync_quarantine WHERE group_name LIKE '%~%' UNION ALL "
            "SELECT group_name FROM qupersync_dead_letter WHERE group_name LIKE '%~%'"
        )
        return [row[0] for row in found]
