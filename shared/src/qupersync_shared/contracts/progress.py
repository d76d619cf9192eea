"""What stands in the KV bucket `qupersync_progress`. Owners write and renew it; readers may find it empty or stale."""

from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName

HEARTBEAT_SECONDS: Final = 3.0
STALE_SECONDS: Final = 15.0


class LaneProgress(BaseModel):
    """How far one loader group has applied one lane, and what waits there for a person: rows that the target refused,
    and events that were parked. `altered`: rows that NUL bytes were taken out of, because the owner chose so.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    group: str
    pipeline: str
    lane: int
    lanes: int
    log: int
    sequence: int
    event_id: UUID
    building: UUID | None = None
    snapshot_whole: UUID | None = None
    honest_time: datetime | None = None
    applied_at: datetime
    trouble: str | None = None
    quarantined: int = 0
    dead_letters: int = 0
    altered: int = 0


class ProcessHeartbeat(BaseModel):
    """A sign of life of one process, and what keeps it from working, per pipeline ("" is the process itself).

    `relays`: it publishes outbox records, whatever else it does. `notices`: what keeps nothing from working and a
    person should know, per pipeline.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: str
    instance: str
    group: str | None = None
    started_at: datetime
    beat_at: datetime
    version: str
    troubles: dict[str, str] = {}
    notices: dict[str, list[str]] = {}
    relays: bool = False


def lane_key(group: GroupName, pipeline: PipelineName, lane: Lane) -> str:
    return f"lane.{group}.{pipeline}.{lane}"


def process_key(role: str, instance: str) -> str:
    return f"process.{role}.{instance}"
