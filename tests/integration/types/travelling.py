"""The way of a table's rows without stream and processes: source adapter, pages, events, COPY and upsert."""

from dataclasses import dataclass

import numpy as np
from tests.conformance.loader.conftest import Lanes
from tests.conformance.loader.events import Event, Extractor

from qupersync_extractor.application.pages import PageDraft, draft_pages, read_rows
from qupersync_extractor.application.ports import KeyRange, ReadRequest, Source
from qupersync_extractor.domain.extraction import SnapshotPage
from qupersync_extractor.domain.pipeline import Relation
from qupersync_shared.contracts.envelope import Mode
from qupersync_shared.contracts.payload import decode
from qupersync_shared.contracts.schema import SLOT_COLUMN, RowSchema
from qupersync_shared.contracts.slots import slot_of_key
from qupersync_shared.kernel.ids import Lane, SnapshotId, uuid7
from qupersync_shared.kernel.positions import Key

EVENT_BYTES_MAX = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What became of one snapshot on its way: the rows that no event could carry, by key, and why."""

    withheld: dict[Key, str]


class Sender(Extractor):
    """Events of drafts, with the very bodies that were drafted."""

    def events(self, draft: PageDraft) -> list[Event]:
        assert isinstance(draft.kind, SnapshotPage)
        self.sequence += 1
        return [self._sent(draft.kind, body.body, body.checksum, body.withheld, body.lane) for body in draft.bodies]

    def _sent(self, kind: SnapshotPage, body: bytes, checksum: str, withheld: tuple[Key, ...], lane: int) -> Event:
        assert all(slot_of_key(key) % self.lanes == lane for key in withheld)
        batch = decode(body)
        told = {
            "snapshot_id": kind.snapshot_id,
            "snapshot_first": kind.after is None,
            "snapshot_last": kind.upto is None,
            "range_from": kind.after,
            "range_to": kind.upto,
            "withheld_keys": withheld,
        }
        slots = batch.column(SLOT_COLUMN).to_numpy() if batch.num_rows else np.empty(0, np.int16)
        event = self._event(batch, slots, Lane(lane), Mode.SNAPSHOT, told)
        return Event(envelope=event.envelope.model_copy(update={"checksum": checksum}), body=body)


async def carry(source: Source, relation: Relation, lanes: Lanes, sender: Sender) -> Carried:
    """One snapshot of the whole relation, in one read, applied to the target."""
    schema = RowSchema(columns=await source.describe(relation), key=("id",))
    sender.schema = schema
    batch = await source.read(ReadRequest(relation=relation, schema=schema, range=KeyRange(after=None), limit=100_000))
    kind = SnapshotPage(snapshot_id=SnapshotId(uuid7()), after=None, upto=None)
    drafts = draft_pages(read_rows(batch, schema), kind, lanes=sender.lanes, event_bytes_max=EVENT_BYTES_MAX)
    for draft in drafts:
        await lanes.load(sender.events(draft))
    refusals = [refusal for draft in drafts for body in draft.bodies for refusal in body.refusals]
    return Carried(withheld={refusal.key: refusal.reason for refusal in refusals})
