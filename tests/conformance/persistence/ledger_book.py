"""Pages of a ledger under test: written, published and applied as the test says."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from qupersync_extractor.application.ledger import LedgerEntry
from qupersync_extractor.domain.extraction import HeartbeatPage, commit_page
from qupersync_extractor.domain.records import LedgerLine
from qupersync_extractor.domain.whereabouts import Reached
from qupersync_shared.kernel.ids import EventId, GroupName, Lane, Log, PipelineName, RunId, Sequence, uuid7
from qupersync_shared.runtime.records import Query

from .conftest import LANES, PIPELINE, record

MAIN, REPORTS = GroupName("main"), GroupName("reports")


class Book:
    """Pages that are written, published and applied as the test says."""

    def __init__(self, persistence: Any, pipeline: PipelineName = PIPELINE) -> None:
        self.persistence, self.pipeline = persistence, pipeline

    async def open(self) -> "Book":
        await self.persistence.registry.register(self.pipeline, LANES)
        return self

    async def page(self, *, mode: str = "incremental", run: UUID | None = None, rows: int = 3) -> int:
        """One committed page; its sequence."""
        token = await self.persistence.registry.acquire(self.pipeline, "writer", 600)
        async with self.persistence.unit_of_work() as work:
            before = await work.extractions.lock(self.pipeline, token)
            ids = {Lane(lane): EventId(uuid7()) for lane in range(LANES)}
            state = commit_page(before, HeartbeatPage(), event_ids=ids, at=datetime.now(UTC))
            line = LedgerLine(
                pipeline=self.pipeline,
                log=state.log,
                sequence=state.sequence,
                run=None if run is None else RunId(run),
                mode=mode,
                rows=rows,
                bytes=2**33,
            )
            records = [
                record(lane, state.sequence, log=state.log, event_id=ids[lane], pipeline=self.pipeline) for lane in ids
            ]
            await work.outbox.add(records, line)
            await work.extractions.save(state)
            await work.commit()
        return state.sequence

    async def pages(self, count: int) -> None:
        for _ in range(count):
            await self.page()

    async def published(self, *lanes: int) -> None:
        """Each lane is published up to so far; what the observer sees of it."""
        for cursor, sequence in zip(
            await self.persistence.cursors.claim(self.pipeline, "relay", 600), lanes, strict=True
        ):
            assert await self.persistence.cursors.advance(replace(cursor, last_sequence=Sequence(sequence)), "relay")
        await self.persistence.marks.mark_published()

    async def applied(self, sequence: int, *, group: GroupName = MAIN, log: int = 1, at: Any = None) -> None:
        reached = Reached(log=Log(log), sequence=Sequence(sequence), at=at)
        await self.persistence.marks.mark_applied({(self.pipeline, group): reached})

    async def standing(self) -> Any:
        return (await self.persistence.ledger.whereabouts([self.pipeline]))[self.pipeline]

    async def entries(self, **filters: Any) -> list[LedgerEntry]:
        return list((await self.persistence.ledger.pages(Query(filters=filters))).items)

    async def sequences(self, **filters: Any) -> list[int]:
        return [entry.sequence for entry in await self.entries(**filters)]
