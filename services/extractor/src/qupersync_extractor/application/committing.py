"""The page transaction: records of every lane, cursor and sequence, all or nothing (promise O)."""

import asyncio
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any, Final

from qupersync_extractor.application.pages import HEADERS_BYTES_MAX, PageDraft
from qupersync_extractor.application.ports import UnitOfWork, UnitOfWorkFactory
from qupersync_extractor.application.quarantine import WithheldRow
from qupersync_extractor.application.withheld import may_settle, settled
from qupersync_extractor.domain.extraction import (
    Extraction,
    HeartbeatPage,
    IncrementalPage,
    PageKind,
    RereadPage,
    SnapshotPage,
    commit_page,
    is_as_left,
)
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.records import LedgerLine, OutboxRecord
from qupersync_extractor.domain.rereads import Reread
from qupersync_shared.contracts.envelope import EVENT_TYPE, EVENT_VERSION, GENERATION_HEADER, BatchEnvelope, Mode
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.subjects import lane_subject
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.errors import PageRefusedError, TransientError
from qupersync_shared.kernel.ids import EventId, FencingToken, Lane, RunId, uuid7
from qupersync_shared.kernel.positions import encode_key

HEARTBEAT: Final = "heartbeat"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What the pages of one run have in common. `heartbeat`: an empty page that only breaks the silence."""

    run: RunId
    token: FencingToken
    schema: RowSchema
    mode: Mode
    heartbeat: bool = False
    traceparent: str | None = None

    def line(self, draft: PageDraft, after: Extraction) -> LedgerLine:
        """What the ledger keeps of the page that led to this state."""
        return LedgerLine(
            pipeline=after.pipeline,
            log=after.log,
            sequence=after.sequence,
            run=None if self.heartbeat else self.run,
            mode=HEARTBEAT if self.heartbeat else self.mode.value,
            rows=draft.rows,
            bytes=draft.bytes,
        )


async def lock_as_left(work: UnitOfWork, token: FencingToken, known: Extraction) -> Extraction:
    """The pipeline's state, locked; TransientError unless it is what this run last knew of it."""
    found = await work.extractions.lock(known.pipeline, token)
    if not is_as_left(found, known):
        raise TransientError(
            f"{known.pipeline} stands at {found.log}/{found.sequence} and this run left it at "
            f"{known.log}/{known.sequence}: the database went back",
            cure="The next run goes on from where it stands",
        )
    return found


def _check_headers(headers: dict[str, str]) -> None:
    """PageRefusedError for headers that no stream takes: in the outbox such an event would hold its lane for ever."""
    size = sum(len(name) + len(value) + 4 for name, value in headers.items())
    if size > HEADERS_BYTES_MAX:
        raise PageRefusedError(
            f"long keys make the headers of an event {size} bytes, and JetStream takes {HEADERS_BYTES_MAX}",
            cure="Choose a shorter key: a hash of it in a query, for instance",
        )


def _attributes(kind: PageKind, after: Extraction) -> dict[str, Any]:
    """What the envelope says of the page that is particular to its kind."""
    match kind:
        case SnapshotPage():
            return {
                "snapshot_id": kind.snapshot_id,
                "snapshot_first": kind.after is None,
                "snapshot_last": kind.upto is None,
                "range_from": kind.after,
                "range_to": kind.upto,
            }
        case RereadPage():
            return {
                "range_from": kind.after,
                "range_to": kind.upto,
                "range_complete": kind.complete,
                "redrives": kind.redrives,
            }
        case IncrementalPage():
            return {"after": kind.after}
        case HeartbeatPage():
            return {"after": after.cursor}  # it was read from nowhere: a position to the same position


class PageCommitter:
    """Commits drafts of one pipeline, in the order it is given them."""

    def __init__(self, pipeline: Pipeline, unit_of_work: UnitOfWorkFactory, clock: Clock) -> None:
        self._pipeline = pipeline
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def commit(
        self, draft: PageDraft, context: RunContext, known: Extraction, *, rereads: SequenceOf[Reread] = ()
    ) -> Extraction:
        """The state after the page; TransientError when the pipeline is not as `known` says, or somebody else moved on:
        the page must be thrown away.

        How far `rereads` have come with this page is stored with it.
        """
        now = self._clock.now()
        ids = {body.lane: EventId(uuid7()) for body in draft.bodies}
        async with self._unit_of_work() as work:
            before = await lock_as_left(work, context.token, known)
            try:
                after = commit_page(before, draft.kind, event_ids=ids, at=now)
            except ValueError as error:
                raise TransientError(f"a page of {self._pipeline.name} is out of date: {error}") from error
            records = self._records(draft, context, before, after, ids)
            await work.outbox.add(records, context.line(draft, after))
            await self._settle_quarantine(work, draft, context, ids)
            if rereads:
                await work.rereads.save(rereads)
            await work.extractions.save(after)
            await work.commit()
        return after

    async def _settle_quarantine(
        self, work: UnitOfWork, draft: PageDraft, context: RunContext, ids: dict[Lane, EventId]
    ) -> None:
        if may_settle(draft):
            waiting = await work.quarantine.unresolved(self._pipeline.name)
            found = await asyncio.to_thread(settled, waiting, draft, context.schema) if waiting else {}
            if found:
                await work.quarantine.resolve(self._pipeline.name, found)
        withheld = self._withheld(draft, ids)
        if withheld:
            await work.quarantine.add(withheld)

    def _records(
        self,
        draft: PageDraft,
        context: RunContext,
        before: Extraction,
        after: Extraction,
        ids: dict[Lane, EventId],
    ) -> list[OutboxRecord]:
        told = _attributes(draft.kind, after)
        records = []
        for body in draft.bodies:
            envelope = BatchEnvelope(
                id=ids[body.lane],
                source=f"qupersync/extractor/{self._pipeline.name}",
                subject=lane_subject(self._pipeline.name, body.lane),
                time=self._clock.now(),
                traceparent=context.traceparent,
                pipeline=self._pipeline.name,
                lane=body.lane,
                lanes=after.lanes,
                log=after.log,
                sequence=after.sequence,
                previous_id=before.lane_ids.get(body.lane),
                mode=context.mode,
                **told,
                row_count=body.rows,
                key_columns=self._pipeline.key,
                withheld_keys=body.withheld,
                position=after.cursor,
                honest_time=after.completed_at,
                schema_fingerprint=context.schema.fingerprint,
                checksum=body.checksum,
                correlation_id=context.run,
            )
            headers = {k: v for k, v in envelope.headers().items() if k != GENERATION_HEADER}
            _check_headers(headers)
            records.append(
                OutboxRecord(
                    id=ids[body.lane],
                    pipeline=self._pipeline.name,
                    lane=body.lane,
                    log=after.log,
                    sequence=after.sequence,
                    occurred_at=envelope.time,
                    correlation_id=context.run,
                    headers=headers,
                    payload=body.body,
                    event_type=EVENT_TYPE,
                    event_version=EVENT_VERSION,
                    traceparent=context.traceparent,
                )
            )
        return records

    def _withheld(self, draft: PageDraft, ids: dict[Lane, EventId]) -> list[WithheldRow]:
        return [
            WithheldRow(
                pipeline=self._pipeline.name,
                key=encode_key(refusal.key),
                reason=refusal.reason,
                event_id=ids[body.lane],
            )
            for body in draft.bodies
            for refusal in body.refusals
        ]
