"""Which snapshots stand in a stream from their first to their last page, told from the headers of its events. Pure."""

from dataclasses import dataclass, field
from datetime import datetime

from qupersync_loader.application.rebuild.history import StoredEvent, WholeSnapshot
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.kernel.errors import EventRefusedError
from qupersync_shared.kernel.ids import Lane, Log, PipelineName, SnapshotId


@dataclass(slots=True, kw_only=True)
class _Seen:
    log: Log
    lanes: int
    at: datetime
    first: dict[Lane, int] = field(default_factory=dict)
    last: set[Lane] = field(default_factory=set)


class SnapshotsSeen:
    """Takes a stream's events in order. Streams lose their oldest events first, so who has first pages has the rest."""

    def __init__(self) -> None:
        self._seen: dict[SnapshotId, _Seen] = {}

    def see(self, pipeline: PipelineName, event: StoredEvent) -> None:
        """Takes note of an event; one that is not the pipeline's own says nothing."""
        envelope = own_envelope(pipeline, event)
        if envelope is None or envelope.snapshot_id is None:
            return
        id_ = SnapshotId(envelope.snapshot_id)
        if envelope.snapshot_first:
            known = self._seen.setdefault(id_, _Seen(log=Log(envelope.log), lanes=envelope.lanes, at=event.at))
            known.first.setdefault(event.lane, event.place)
        if envelope.snapshot_last and id_ in self._seen:
            self._seen[id_].last.add(event.lane)

    def whole(self, log: Log) -> list[WholeSnapshot]:
        """The snapshots of a log that are all there, oldest first."""
        return [
            WholeSnapshot(id=id_, log=one.log, lanes=one.lanes, at=one.at, first=dict(one.first))
            for id_, one in self._seen.items()
            if one.log == log and len(one.first) == one.lanes == len(one.last)
        ]


def own_envelope(pipeline: PipelineName, event: StoredEvent) -> BatchEnvelope | None:
    """The event's envelope; None for a foreign message."""
    try:
        envelope = BatchEnvelope.from_headers(dict(event.headers))
    except EventRefusedError:
        return None
    return envelope if (envelope.pipeline, envelope.lane) == (pipeline, event.lane) else None
