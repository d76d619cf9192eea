"""Places where something is parked, behind one harness: in memory, at the source, and in a target over real NATS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid4

import pytest
from tests.conformance.loader.asking import NotedCommands
from tests.conformance.loader.conftest import PostgresHarness, postgres
from tests.conformance.loader.events import Extractor, ints, people, pipeline
from tests.conformance.persistence.conftest import PostgresHarness as OutboxHarness

from qupersync_extractor.application.parked import Parked, Place
from qupersync_extractor.application.parked_at_source import ParkedAtSource
from qupersync_extractor.application.quarantine import WithheldRow, row_id
from qupersync_extractor.infrastructure.jetstream.parked import ParkedInTargets
from qupersync_extractor.infrastructure.memory.parked import MemoryParked
from qupersync_loader.application.parked_content import ParkedDesk
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.nats.desk import DeskServer
from qupersync_loader.infrastructure.postgres.parked_pages import PostgresParked
from qupersync_loader.infrastructure.postgres.rebuild.listed import ListedRebuilds
from qupersync_local.stack import OUTBOX_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.parked import ParkedEntry, ParkedKind
from qupersync_shared.kernel.ids import EventId, GroupName, PipelineName, uuid7
from qupersync_shared.kernel.positions import encode_key
from qupersync_shared.runtime.jetstream import Connection
from qupersync_shared.runtime.settings import NatsSection

__all__ = ["postgres"]

PEOPLE = PipelineName("people")
ROWS, LETTERS = ParkedKind.QUARANTINE, ParkedKind.DEAD_LETTERS


class Harness(Protocol):
    parked: Parked
    place: Place
    names_who: bool
    newest_first: bool

    async def park(self, *reasons: str, kind: ParkedKind = ROWS, pipeline: PipelineName = PEOPLE) -> list[str]:
        """Parks an entry for each reason; their ids."""
        ...

    async def reread(self) -> list[set[str]]:
        """The ids of entries whose keys or events are to be read again, by request."""
        ...


class MemoryHarness:
    names_who = newest_first = True

    def __init__(self) -> None:
        self.memory = MemoryParked()
        self.parked: Parked = self.memory
        self.place = Place(pipeline=PEOPLE, group=GroupName("main"))
        self._last = 0

    async def park(self, *reasons: str, kind: ParkedKind = ROWS, pipeline: PipelineName = PEOPLE) -> list[str]:
        ids = []
        for reason in reasons:
            self._last += 1
            now = datetime.now(UTC)
            entry = ParkedEntry(
                id=str(self._last), reason=reason, first_seen=now, last_seen=now, key=encode_key(ints(self._last))
            )
            self.memory.park(Place(pipeline=pipeline, group=self.place.group), kind, entry)
            ids.append(entry.id)
        return ids

    async def reread(self) -> list[set[str]]:
        return [set(ids) for ids in self.memory.asked.values()]


class SourceHarness:
    """The extractor's own quarantine, in PostgreSQL."""

    names_who = newest_first = False

    def __init__(self, outbox: OutboxHarness) -> None:
        self.outbox = outbox
        self.parked: Parked = ParkedAtSource(outbox.quarantine, outbox.rereads)
        self.place = Place(pipeline=PEOPLE)
        self._last = 0
        self._keys: dict[str, str] = {}

    async def park(self, *reasons: str, kind: ParkedKind = ROWS, pipeline: PipelineName = PEOPLE) -> list[str]:
        assert kind is ROWS
        await self.outbox.registry.register(pipeline, 1)
        ids = []
        async with self.outbox.unit_of_work() as work:
            for reason in reasons:
                self._last += 1
                key = encode_key(ints(self._last))
                await work.quarantine.add(
                    [WithheldRow(pipeline=pipeline, key=key, reason=reason, event_id=EventId(uuid7()))]
                )
                ids.append(row_id(pipeline, key))
                self._keys[key] = ids[-1]
            await work.commit()
        return ids

    async def reread(self) -> list[set[str]]:
        async with self.outbox.unit_of_work() as work:
            return [
                {self._keys[key] for key in reread.keys_left}
                for reread in await work.rereads.waiting(self.place.pipeline)
            ]


class TargetHarness:
    """A loader's desk over a real target, asked over real NATS; only the extractor behind it is a double."""

    names_who = newest_first = True

    def __init__(self, target: PostgresHarness, connection: Connection, group: GroupName) -> None:
        self.target = target
        self.commands = NotedCommands()
        self.place = Place(pipeline=PEOPLE, group=group)
        self.parked: Parked = ParkedInTargets(connection, patience_seconds=0.2, answer_seconds=20)
        self.content = PostgresParked(target.engine, group)
        self.extractor = Extractor()
        self._last = 0
        self._keys: dict[str, str] = {}
        self._events: dict[UUID, str] = {}

    def pipeline(self, name: PipelineName) -> TargetPipeline:
        assert self.place.group is not None
        return pipeline(group=self.place.group, name=name)

    async def park(self, *reasons: str, kind: ParkedKind = ROWS, pipeline: PipelineName = PEOPLE) -> list[str]:
        add = self._row if kind is ROWS else self._letter
        return [await add(reason, pipeline) for reason in reasons]

    async def _row(self, reason: str, name: PipelineName) -> str:
        self._last += 1
        key = encode_key(ints(self._last))
        id_ = await self.target.value(
            'INSERT INTO qupersync_quarantine (group_name, pipeline, slot, key, "row", reason, event_id, log, sequence)'
            " VALUES ($1, $2, 0, $3, $4, $5, $6, 1, 1) RETURNING id",
            self.place.group,
            name,
            key,
            '{"id": 1, "name": "a secret of somebody"}',
            reason,
            uuid7(),
        )
        self._keys[key] = str(id_)
        return str(id_)

    async def _letter(self, reason: str, name: PipelineName) -> str:
        self._last += 1
        (event,) = self.extractor.reread(people(self._last, name="a secret of somebody"))
        headers = event.envelope.model_copy(update={"pipeline": name}).headers()
        id_ = await self.letter(headers, event.body, reason, event.envelope.id)
        self._events[event.envelope.id] = id_
        return id_

    async def letter(self, headers: dict[str, str], body: bytes, reason: str, event_id: UUID) -> str:
        import json

        return str(
            await self.target.value(
                "INSERT INTO qupersync_dead_letter (group_name, event_id, pipeline, lane, lanes, log, sequence,"
                " headers, payload, reason) VALUES ($1, $2, $3, 0, 1, 1, $4, $5, $6, $7) RETURNING id",
                self.place.group,
                event_id,
                headers["ce-pipeline"],
                self._last + 1,
                json.dumps(headers),
                body,
                reason,
            )
        )

    async def reread(self) -> list[set[str]]:
        asked = {request.id: request for request in self.commands.rereads}
        return [
            {self._events[id_] for id_ in request.redrives if id_ in self._events}
            or {self._keys[key] for key in request.keys}
            for request in asked.values()
        ]


@asynccontextmanager
async def opened_target(target: PostgresHarness, url: str) -> AsyncIterator[TargetHarness]:
    section = NatsSection(servers=[url])
    loader, extractor = Connection(section, name="test-loader"), Connection(section, name="test-extractor")
    made = TargetHarness(target, extractor, GroupName(f"g{uuid4().hex[:12]}"))
    assert made.place.group is not None
    desk = DeskServer(
        loader,
        group=made.place.group,
        parked=ParkedDesk(made.content, made.commands),
        rebuilds=ListedRebuilds(target.engine, made.place.group),
    )
    await desk.serve([made.pipeline(PEOPLE), made.pipeline(PipelineName("others"))])
    await desk.start()
    await loader.client()
    try:
        yield made
    finally:
        await desk.stop()
        await loader.close()
        await extractor.close()


@pytest.fixture
async def in_target(postgres: PostgresHarness, local_stack: ThreadedStack) -> AsyncIterator[TargetHarness]:
    """For what only targets have."""
    async with opened_target(postgres, local_stack.stack.nats.url) as made:
        yield made


@pytest.fixture
async def outbox(local_stack: ThreadedStack, outbox_template: str) -> AsyncIterator[OutboxHarness]:
    name = f"parked_{uuid4().hex[:12]}"
    local_stack.create_database(name, owner=OUTBOX_ROLE, template=outbox_template)
    made = OutboxHarness(local_stack.stack.dsn(OUTBOX_ROLE, name))
    try:
        yield made
    finally:
        await made.close()
        local_stack.drop_database(name)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("source", marks=pytest.mark.integration),
        pytest.param("target", marks=pytest.mark.integration),
    ]
)
def harness(request: pytest.FixtureRequest) -> Harness:
    if request.param == "memory":
        return MemoryHarness()
    if request.param == "source":
        return SourceHarness(request.getfixturevalue("outbox"))
    found: Harness = request.getfixturevalue("in_target")
    return found
