"""A pipeline's world, and what each side's checks say of it, by row."""

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.e2e.world import World, opened

from qupersync_extractor.interface.migrating import migrate_all as migrate_extractor
from qupersync_extractor.interface.preflight import extractor_checks
from qupersync_loader.interface.migrating import migrate_all as migrate_loader
from qupersync_loader.interface.preflight import loader_checks
from qupersync_loader.settings import loader_settings
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.runtime.plugins import CheckRow, Verdict
from qupersync_shared.runtime.preflight import ORDINARY, Bounds, Preflight, SchemaBoard
from qupersync_shared.runtime.preflight.nats import check_nats
from qupersync_shared.runtime.settings import Configuration, load

Checks = Callable[[Preflight], Coroutine[Any, Any, list[CheckRow]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflown:
    """A world, and the rows of its checks by (area, subject)."""

    world: World
    board: SchemaBoard = field(default_factory=SchemaBoard)

    @property
    def configuration(self) -> Configuration:
        return load(self.world.services.configuration)

    async def source(self, bounds: Bounds = ORDINARY) -> dict[str, CheckRow]:
        """The pipeline's rows at its source, by subject."""
        return self._mine(await self.rows(extractor_checks, bounds))

    async def target(self) -> dict[str, CheckRow]:
        """The pipeline's rows at its target, by subject, once the source has told its columns."""
        await self.rows(extractor_checks, ORDINARY)
        return self._mine(await self.rows(loader_checks, ORDINARY))

    async def area(self, checks: Checks, area: str) -> dict[str, CheckRow]:
        return {row.subject: row for row in await self.rows(checks, ORDINARY) if row.area == area}

    async def nats(self) -> dict[str, CheckRow]:
        return await self.area(check_nats, "nats")

    async def rows(self, checks: Checks, bounds: Bounds) -> list[CheckRow]:
        return await checks(Preflight(configuration=self.configuration, bounds=bounds, schemas=self.board))

    def _mine(self, rows: list[CheckRow]) -> dict[str, CheckRow]:
        assert not [row for row in rows if row.verdict is Verdict.FAILED and row.area in {"source", "outbox"}], rows
        return {row.subject: row for row in rows if row.area == self.world.name}


async def migrate(world: World) -> None:
    """Both services' migrations, in this process."""
    configuration = load(world.services.configuration)
    await migrate_extractor(configuration, path="qupersync.yaml")
    await migrate_loader(loader_settings(configuration))


@pytest.fixture
async def preflown(local_stack: ThreadedStack) -> AsyncIterator[Preflown]:
    """Migrated, with 200 rows at the source and nothing at the target."""
    async with opened(local_stack) as world:
        await migrate(world)
        await world.insert(1, 200, moment="timestamp '2024-01-01' + n * interval '1 second'")
        yield Preflown(world=world)
