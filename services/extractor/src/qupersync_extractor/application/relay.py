"""The relay: publishes a lane's records one after the other, fenced by the stream itself, lanes concurrently."""

from contextlib import suppress
from dataclasses import dataclass, replace

from qupersync_extractor.application.ports import (
    OutboxReader,
    RelayCursors,
    Stream,
    WrongLastSequenceError,
)
from qupersync_extractor.domain.fence import StreamTop, reconcile
from qupersync_extractor.domain.records import OutboxRecord, RelayCursor
from qupersync_shared.contracts.commands import ResendReply, ResendRequest, ResendStatus
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import EventId, Generation, Lane, Log, PipelineName, Sequence

RECORDS_MAX = 16
BYTES_MAX = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one call did. `refused`: the fence held, and the cursor was reconciled with the lane's last message.

    `stored` False: the lane is no longer this relay's to publish as it stood; read its cursor again.
    """

    count: int
    refused: bool
    stored: bool

    @property
    def idle(self) -> bool:
        return self.count == 0 and not self.refused and self.stored


@dataclass(slots=True, kw_only=True)
class LaneRelay:
    """Publishes one lane under this relay's lease.

    `publish_some` publishes the lane's next existing records and stores the cursor after them. A crash in between is
    healed by the fence: the republished record is refused, the lane's last message is found to be it, and the relay
    goes on after it. Holes are not the relay's business: the loader sees them.
    """

    pipeline: PipelineName
    cursor: RelayCursor
    owner: str
    outbox: OutboxReader
    cursors: RelayCursors
    stream: Stream
    _ahead: bool = False  # of what the database has: a cursor that could not be stored is stored by the next call

    async def publish_some(self) -> Published:
        """Publishes the next records, a bounded number of them; errors come out, with the cursor stored if possible."""
        if not await self._keep():
            return Published(count=0, refused=False, stored=False)
        cursor = self.cursor
        records = await self.outbox.next_records(
            self.pipeline,
            cursor.lane,
            cursor.log,
            after=cursor.last_sequence,
            limit=RECORDS_MAX,
            bytes_max=BYTES_MAX,
        )
        if not records:
            return Published(count=0, refused=False, stored=not await self._rewound())
        published = 0
        refused = False
        try:
            for record in records:
                try:
                    self.cursor = await self._publish(record)
                except WrongLastSequenceError:
                    refused = True
                    self.cursor = reconcile(self.cursor, await self._top())
                self._ahead = True
                if refused:
                    break
                published += 1
        except QupersyncError:
            with suppress(QupersyncError):
                await self._keep()
            raise
        return Published(count=published, refused=refused, stored=await self._keep())

    async def _rewound(self) -> bool:
        """Whether the lane has to go back since the cursor was read: a lane with nothing to publish must notice.

        A resend was asked for, or the database was restored under us to a time when less was published.
        """
        current = await self.cursors.read(self.pipeline, self.cursor.lane)
        return current is not None and (
            current.generation != self.cursor.generation or current.last_sequence < self.cursor.last_sequence
        )

    async def _publish(self, record: OutboxRecord) -> RelayCursor:
        cursor = self.cursor
        sequence = await self.stream.publish(record, cursor.generation, expected=cursor.last_stream_sequence)
        return replace(cursor, last_sequence=record.sequence, last_stream_sequence=sequence)

    async def _top(self) -> StreamTop | None:
        last = await self.stream.last_message(self.pipeline, self.cursor.lane)
        if last is None:
            return None
        if last.envelope is None:
            return StreamTop(stream_sequence=last.stream_sequence, log=None, generation=Generation(0), known=None)
        record = await self.outbox.find(EventId(last.envelope.id))
        mine = record is not None and record.log == self.cursor.log and record.lane == self.cursor.lane
        return StreamTop(
            stream_sequence=last.stream_sequence,
            log=Log(last.envelope.log),
            generation=Generation(last.envelope.generation),
            known=record.sequence if record is not None and mine else None,
        )

    async def _keep(self) -> bool:
        """Stores the cursor where it is ahead; False if the lane is no longer this relay's as it stood."""
        if self._ahead:
            self._ahead = not await self.cursors.advance(self.cursor, self.owner)
        return not self._ahead


async def answer_resend(cursors: RelayCursors, request: ResendRequest) -> ResendReply:
    """Rewinds the lane for a loader that misses events; `unavailable` when the outbox no longer has them."""
    generation = await cursors.rewind(
        PipelineName(request.pipeline),
        Lane(request.lane),
        Log(request.log),
        from_sequence=Sequence(request.from_sequence),
    )
    if generation is None:
        return ResendReply(status=ResendStatus.UNAVAILABLE)
    return ResendReply(status=ResendStatus.REWOUND, generation=generation)
