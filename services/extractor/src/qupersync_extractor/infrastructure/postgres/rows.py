"""Between domain values and the columns that hold them; positions, keys and scalars go through the codec."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from qupersync_extractor.application.ports import Registration
from qupersync_extractor.domain.extraction import Extraction, Snapshot, SnapshotWish, SweepMark
from qupersync_extractor.domain.records import OutboxRecord, RelayCursor
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_shared.kernel.ids import (
    EventId,
    FencingToken,
    Generation,
    Lane,
    Log,
    PipelineName,
    RunId,
    Sequence,
    SnapshotId,
    StreamSequence,
)
from qupersync_shared.kernel.positions import (
    decode_key,
    decode_position,
    decode_scalar,
    encode_key,
    encode_position,
    encode_scalar,
)

Row = sa.Row[Any]

_CONTROL: Final = {
    "owner",
    "token",
    "lease_until",
    "trouble",
    "trouble_since",
    "run_requested",
    "run_mode",
    "run_ticket",
    "forked_log",
}
STATE: Final = tuple(column for column in tables.extraction.c if column.name not in _CONTROL | {"updated_at"})
REGISTRATION: Final = (*STATE, *(tables.extraction.c[name] for name in ("token", "owner", "trouble", "forked_log")))
RECORD: Final = tuple(tables.outbox.c)


def extraction_values(state: Extraction) -> dict[str, Any]:
    """The columns of a state, its pipeline included."""
    swept, snapshot, wish = state.swept, state.snapshot, state.snapshot_wish
    return {
        "pipeline": state.pipeline,
        "lanes": state.lanes,
        "log": state.log,
        "sequence": state.sequence,
        "lane_ids": {str(lane): str(event_id) for lane, event_id in state.lane_ids.items()},
        "cursor_position": encode_position(state.cursor) if state.cursor is not None else None,
        "swept_high": encode_scalar(swept.high) if swept else None,
        "swept_began_at": swept.began_at if swept else None,
        "snapshot_id": snapshot.id if snapshot else None,
        "snapshot_began_at": snapshot.began_at if snapshot else None,
        "snapshot_after": encode_key(snapshot.after) if snapshot and snapshot.after is not None else None,
        "snapshot_first": snapshot.first if snapshot else None,
        "wish_reason": plain(wish.reason) if wish else None,
        "wish_restart": wish.restart if wish else None,
        "snapshot_ended_at": state.snapshot_ended_at,
        "completed_at": state.completed_at,
        "schema_fingerprint": state.schema_fingerprint,
        "last_event_at": state.last_event_at,
    }


def extraction_of(row: Row) -> Extraction:
    """The state that `extraction_values` stored."""
    return Extraction(
        pipeline=PipelineName(row.pipeline),
        lanes=row.lanes,
        log=Log(row.log),
        sequence=Sequence(row.sequence),
        lane_ids=_lane_ids(row.lane_ids),
        cursor=decode_position(row.cursor_position) if row.cursor_position is not None else None,
        swept=_swept(row),
        snapshot=_snapshot(row),
        snapshot_wish=_wish(row),
        snapshot_ended_at=row.snapshot_ended_at,
        completed_at=row.completed_at,
        schema_fingerprint=row.schema_fingerprint,
        last_event_at=row.last_event_at,
    )


def _lane_ids(stored: Mapping[str, str]) -> dict[Lane, EventId]:
    return {Lane(int(lane)): EventId(UUID(event_id)) for lane, event_id in stored.items()}


def _swept(row: Row) -> SweepMark | None:
    if row.swept_high is None:
        return None
    return SweepMark(high=decode_scalar(row.swept_high), began_at=row.swept_began_at)


def _snapshot(row: Row) -> Snapshot | None:
    if row.snapshot_id is None:
        return None
    return Snapshot(
        id=SnapshotId(row.snapshot_id),
        began_at=row.snapshot_began_at,
        after=decode_key(row.snapshot_after) if row.snapshot_after is not None else None,
        first=row.snapshot_first,
    )


def _wish(row: Row) -> SnapshotWish | None:
    if row.wish_reason is None:
        return None
    return SnapshotWish(reason=row.wish_reason, restart=row.wish_restart)


def registration_of(row: Row) -> Registration:
    return Registration(
        pipeline=PipelineName(row.pipeline),
        lanes=row.lanes,
        token=FencingToken(row.token),
        owner=row.owner,
        trouble=row.trouble,
        state=extraction_of(row),
    )


def record_values(record: OutboxRecord) -> dict[str, Any]:
    """The columns of a record; `occurred_at` is left to the database's clock."""
    return {
        "id": record.id,
        "pipeline": record.pipeline,
        "lane": record.lane,
        "log": record.log,
        "sequence": record.sequence,
        "event_type": record.event_type,
        "event_version": record.event_version,
        "correlation_id": record.correlation_id,
        "causation_id": record.causation_id,
        "traceparent": record.traceparent,
        "headers": dict(record.headers),
        "payload": record.payload,
    }


def record_of(row: Row) -> OutboxRecord:
    return OutboxRecord(
        id=EventId(row.id),
        pipeline=PipelineName(row.pipeline),
        lane=Lane(row.lane),
        log=Log(row.log),
        sequence=Sequence(row.sequence),
        occurred_at=row.occurred_at,
        correlation_id=RunId(row.correlation_id),
        headers=row.headers,
        payload=row.payload,
        event_type=row.event_type,
        event_version=row.event_version,
        causation_id=EventId(row.causation_id) if row.causation_id is not None else None,
        traceparent=row.traceparent,
    )


def cursor_of(row: Row) -> RelayCursor:
    return RelayCursor(
        pipeline=PipelineName(row.pipeline),
        lane=Lane(row.lane),
        log=Log(row.log),
        last_sequence=Sequence(row.last_sequence),
        last_stream_sequence=StreamSequence(row.last_stream_sequence),
        generation=Generation(row.generation),
    )


def plain(text: str) -> str:
    """A text that PostgreSQL can hold: it refuses NUL, and a reason is not worth losing a transaction for."""
    return text.replace("\0", "�")
