"""Both adapters of the target, behind one harness that says what tests do besides the port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import uuid4

import asyncpg
import pytest
from tests.conformance.loader.asking import MovedClock, NotedCommands
from tests.conformance.loader.events import Event, SentDelivery, delivery, pipeline

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.outcome import Ack, Outcome
from qupersync_loader.application.ports import Applied, LaneState, Target
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.memory.target import MemoryTarget
from qupersync_loader.infrastructure.postgres.target import PostgresTarget
from qupersync_local.stack import TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.database import connect, create_engine

_OWN = ("synced_at", "_qs_sequence", "_qs_slot", "_qs_deleted_at")


class Harness(Protocol):
    target: Target

    async def rows(self, pipeline: TargetPipeline) -> list[dict[str, Any]]:
        """The source columns of rows that are not marked deleted, ordered by their first column."""
        ...

    async def versions(self, pipeline: TargetPipeline) -> dict[Any, Any]:
        """By the first column: what changes whenever the row is rewritten."""
        ...

    async def marked_deleted(self, pipeline: TargetPipeline) -> list[Any]:
        """The first column of rows marked deleted."""
        ...

    async def refuse_names(self, *names: str) -> None:
        """From now on no row of `people` may bear one of these names."""
        ...

    async def quarantine(self) -> list[tuple[str, str | None]]:
        """The names of quarantined rows and their resolutions."""
        ...

    async def letters(self) -> list[tuple[int, str]]:
        """Sequence and reason of parked events."""
        ...

    async def resolutions(self) -> list[tuple[int, str | None]]:
        """Sequence and resolution of parked events, oldest first."""
        ...

    async def columns(self, pipeline: TargetPipeline) -> dict[str, str]:
        """The types of source columns."""
        ...


class MemoryHarness:
    def __init__(self) -> None:
        self.memory = MemoryTarget()
        self.target: Target = self.memory

    async def rows(self, pipeline: TargetPipeline) -> list[dict[str, Any]]:
        table = self.memory.store.tables.get(pipeline.target)
        if table is None:
            return []
        found = [{name: row.values.get(name) for name in table.types} for row in table.rows.values() if not row.deleted]
        return sorted(found, key=lambda row: next(iter(row.values())))

    async def versions(self, pipeline: TargetPipeline) -> dict[Any, Any]:
        table = self.memory.store.tables[pipeline.target]
        return {next(iter(row.values.values())): row.version for row in table.rows.values()}

    async def marked_deleted(self, pipeline: TargetPipeline) -> list[Any]:
        table = self.memory.store.tables[pipeline.target]
        return sorted(next(iter(row.values.values())) for row in table.rows.values() if row.deleted)

    async def refuse_names(self, *names: str) -> None:
        self.memory.store.refuse = lambda row: "not this name" if row["name"] in names else None

    async def quarantine(self) -> list[tuple[str, str | None]]:
        rows = [row for known in self.memory.store.pipelines.values() for row in known.quarantine]
        return sorted((row.content["name"], row.resolution) for row in rows)

    async def letters(self) -> list[tuple[int, str]]:
        return [(x.sequence, x.reason) for known in self.memory.store.pipelines.values() for x in known.letters]

    async def resolutions(self) -> list[tuple[int, str | None]]:
        letters = [x for known in self.memory.store.pipelines.values() for x in known.letters]
        return [(x.sequence, x.resolution) for x in sorted(letters, key=lambda x: (x.log, x.sequence, x.lane))]

    async def columns(self, pipeline: TargetPipeline) -> dict[str, str]:
        return dict(self.memory.store.tables[pipeline.target].types)

    async def close(self) -> None:
        await self.target.close()


class PostgresHarness:
    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.engine = create_engine(dsn, application_name="qupersync-test", connections=8, lock_timeout_seconds=20)
        self.target: Target = PostgresTarget(self.engine)

    async def rows(self, pipeline: TargetPipeline) -> list[dict[str, Any]]:
        if await self.value("SELECT to_regclass($1)", pipeline.target) is None:
            return []
        deleted = "_qs_deleted_at" in await self._names(pipeline)
        found = await self.fetch(
            f"SELECT * FROM {pipeline.target} {'WHERE _qs_deleted_at IS NULL' if deleted else ''} ORDER BY 1"
        )
        return [{name: value for name, value in row.items() if name not in _OWN} for row in found]

    async def versions(self, pipeline: TargetPipeline) -> dict[Any, Any]:
        return {row[1]: row[0] for row in await self.fetch(f"SELECT xmin::text, * FROM {pipeline.target}")}

    async def marked_deleted(self, pipeline: TargetPipeline) -> list[Any]:
        found = await self.fetch(f"SELECT * FROM {pipeline.target} WHERE _qs_deleted_at IS NOT NULL ORDER BY 1")
        return [row[0] for row in found]

    async def refuse_names(self, *names: str) -> None:
        await self.execute("ALTER TABLE public.people DROP CONSTRAINT IF EXISTS not_this_name")
        for name in names:
            assert "'" not in name
        listed = ", ".join(f"'{name}'" for name in names)
        if names:
            await self.execute(
                f"ALTER TABLE public.people ADD CONSTRAINT not_this_name CHECK (name NOT IN ({listed})) NOT VALID"
            )

    async def quarantine(self) -> list[tuple[str, str | None]]:
        found = await self.fetch(
            "SELECT \"row\"->>'name', resolution FROM qupersync_quarantine ORDER BY 1, 2 NULLS LAST"
        )
        return [(row[0], row[1]) for row in found]

    async def letters(self) -> list[tuple[int, str]]:
        return [tuple(r) for r in await self.fetch("SELECT sequence, reason FROM qupersync_dead_letter ORDER BY 1")]

    async def resolutions(self) -> list[tuple[int, str | None]]:
        found = await self.fetch("SELECT sequence, resolution FROM qupersync_dead_letter ORDER BY log, sequence, lane")
        return [tuple(row) for row in found]

    async def columns(self, pipeline: TargetPipeline) -> dict[str, str]:
        found = await self.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            pipeline.target,
        )
        return {row[0]: row[1] for row in found if row[0] not in _OWN}

    async def _names(self, pipeline: TargetPipeline) -> list[str]:
        found = await self.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass", pipeline.target
        )
        return [row[0] for row in found]

    async def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        async with self.connected() as connection:
            found: list[asyncpg.Record] = await connection.fetch(sql, *values)
            return found

    async def value(self, sql: str, *values: Any) -> Any:
        async with self.connected() as connection:
            return await connection.fetchval(sql, *values)

    async def execute(self, sql: str) -> None:
        async with self.connected() as connection:
            await connection.execute(sql)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await connect(self.dsn, application_name="qupersync-test")
        try:
            yield connection
        finally:
            await connection.close()

    async def close(self) -> None:
        await self.target.close()


@asynccontextmanager
async def _postgres(stack: ThreadedStack, template: str) -> AsyncIterator[PostgresHarness]:
    name = f"loader_{uuid4().hex[:12]}"
    stack.create_database(name, owner=TARGET_ROLE, template=template)
    harness = PostgresHarness(stack.stack.dsn(TARGET_ROLE, name))
    try:
        yield harness
    finally:
        await harness.close()
        stack.drop_database(name)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    if request.param == "memory":
        made = MemoryHarness()
        yield made
        await made.close()
        return
    async with _postgres(request.getfixturevalue("local_stack"), request.getfixturevalue("target_template")) as real:
        yield real


@pytest.fixture
async def postgres(local_stack: ThreadedStack, target_template: str) -> AsyncIterator[PostgresHarness]:
    """For what only PostgreSQL has."""
    async with _postgres(local_stack, target_template) as real:
        yield real


class Lanes:
    """One pipeline's lanes at work, without a stream: events are handed to the use case one by one."""

    def __init__(self, target: Target, **changes: Any) -> None:
        self.pipeline = pipeline(**changes)
        self.commands = NotedCommands()
        self.clock = MovedClock()
        self.target = target
        self.use_case = ApplyEvent(self.pipeline, self.commands, self.clock)

    async def give(self, event: Event, *, generation: int = 0, attempt: int = 1) -> Outcome:
        return await self.hand(event.envelope.lane, delivery(event, generation=generation, attempt=attempt))

    async def hand(self, lane: int, sent: SentDelivery) -> Outcome:
        async with self.target.session(self.pipeline) as session:
            return await self.use_case(Lane(lane), sent, session)

    async def load(self, *pages: list[Event]) -> Applied:
        """Every event of the pages must be applied; the sum of what they did."""
        done = Applied()
        for event in [event for page in pages for event in page]:
            outcome = await self.give(event)
            assert isinstance(outcome, Ack), outcome
            assert outcome.cause in {"applied", "parked"}, outcome
            more = outcome.applied
            done = Applied(
                rows=done.rows + more.rows,
                written=done.written + more.written,
                removed=done.removed + more.removed,
                quarantined=done.quarantined + more.quarantined,
                resolved=done.resolved + more.resolved,
            )
        return done

    async def state(self, lane: int = 0) -> LaneState:
        async with self.target.session(self.pipeline) as session, session.work(Lane(lane)) as work:
            return await work.look()

    async def sequence(self, lane: int = 0) -> int | None:
        watermark = (await self.state(lane)).watermark
        return None if watermark is None else watermark.sequence


@pytest.fixture
def lanes(harness: Harness) -> Lanes:
    return Lanes(harness.target)
