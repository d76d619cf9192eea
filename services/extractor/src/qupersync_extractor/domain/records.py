"""Outbox records: what a page's transaction stores for the relay to publish."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qupersync_shared.kernel.ids import EventId, Generation, Lane, Log, PipelineName, RunId, Sequence, StreamSequence

_NOTHING: Final = Sequence(0)
_EMPTY: Final = StreamSequence(0)
_FIRST: Final = Generation(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRecord:
    """One batch event as it waits for the relay: headers (without generation) and the encoded body.

    `occurred_at` is the outbox database's clock once stored; what stands here before is only a proposal.
    """

    id: EventId
    pipeline: PipelineName
    lane: Lane
    log: Log
    sequence: Sequence
    occurred_at: datetime
    correlation_id: RunId
    headers: Mapping[str, str]
    payload: bytes
    event_type: str
    event_version: int
    causation_id: EventId | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """What the ledger keeps of one page. `mode` is the event's, or `heartbeat`: an empty page, which has no run."""

    pipeline: PipelineName
    log: Log
    sequence: Sequence
    run: RunId | None
    mode: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayCursor:
    """How far the relay has published one lane of one log."""

    pipeline: PipelineName
    lane: Lane
    log: Log
    last_sequence: Sequence = _NOTHING
    last_stream_sequence: StreamSequence = _EMPTY
    generation: Generation = _FIRST
