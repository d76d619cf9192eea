"""The extractor's part of `qupersync status`: cursors, outbox depth, and what keeps a pipeline from extracting."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from qupersync_extractor.application.control import PipelineControl
from qupersync_extractor.application.ports import OutboxDepth, Registration
from qupersync_extractor.domain.extraction import Extraction, Health
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.records import RelayCursor
from qupersync_extractor.domain.rereads import RereadCounts
from qupersync_extractor.domain.timeline import TEMPORAL
from qupersync_extractor.infrastructure.postgres.overview import Overview, left_behind, overview
from qupersync_extractor.interface.ledger_shown import whereabouts_shown
from qupersync_extractor.interface.runs_shown import run_shown
from qupersync_extractor.interface.schedules import schedule_shown
from qupersync_extractor.interface.source_status import is_closed, source_sections
from qupersync_extractor.interface.verification_words import verifications_shown
from qupersync_extractor.settings import extractor_settings
from qupersync_extractor.stores import Stores, stores
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.kernel.positions import ScalarKind, encode_position
from qupersync_shared.runtime.plugins import StatusPart
from qupersync_shared.runtime.settings import Configuration, RedshiftSource

PROBE_SECONDS = 2.5
AskSource = Callable[[Configuration], Awaitable[str | None]]


async def extractor_status(configuration: Configuration) -> StatusPart:
    """Reads the outbox database, and tries whether the source's port answers; reasons where either does not."""
    if configuration.outbox is None or configuration.nats is None or not configuration.pipelines:
        return StatusPart()
    kept = stores(extractor_settings(configuration), application_name="qupersync-status")
    try:
        return await extractor_part(configuration, kept)
    finally:
        await kept.close()


async def extractor_part(
    configuration: Configuration, kept: Stores, *, ask_source: AskSource | None = None
) -> StatusPart:
    """The same, over connections that are there already; `ask_source` in the place of `source_trouble`."""
    settings = extractor_settings(configuration)
    source = asyncio.ensure_future((ask_source or source_trouble)(configuration))
    sparing = asyncio.create_task(source_sections(configuration, kept, seconds_max=PROBE_SECONDS))
    fragments: dict[str, dict[str, Any]] = {pipeline.name: {"state": "unknown"} for pipeline in settings.pipelines}
    reasons: list[str] = []
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            names = [pipeline.name for pipeline in settings.pipelines]
            found = await overview(kept.engine, names)
            reasons += _left(await left_behind(kept.engine, names, longer_than=settings.outbox_retention))
    except (QupersyncError, TimeoutError) as error:
        reasons.append(f"outbox: {str(error) or 'no answer in time'}")
    else:
        fragments = {
            pipeline.name: _fragment(pipeline, found.get(pipeline.name))
            | {"schedule": schedule_shown(configuration, pipeline.name, found.get(pipeline.name))}
            for pipeline in settings.pipelines
        }
    trouble = await source
    return StatusPart(pipelines=fragments, reasons=[*reasons, *([trouble] if trouble else [])], sections=await sparing)


def _left(pipelines: Mapping[PipelineName, datetime]) -> list[str]:
    return [
        f"{name} is not configured here, and what was extracted of it waits to be published since "
        f"{oldest.isoformat(timespec='seconds')}: no later record of any pipeline leaves the outbox. Configure it "
        f"again until it is published, or give it up with `qupersync retire {name}`"
        for name, oldest in pipelines.items()
    ]


def _fragment(pipeline: Pipeline, seen: Overview | None) -> dict[str, Any]:
    if seen is None:
        return {"state": Health.NEW.value, "reason": None, "extraction": None}
    registration, depth, rereads = seen.registration, seen.depth, seen.rereads
    state = registration.state
    now = datetime.now(UTC)
    return {
        "state": _health(registration, seen.control).value,
        "control": _control(seen.control),
        "reason": registration.trouble
        or _paused(seen.control)
        or _lanes_changed(registration, pipeline)
        or _withheld(seen.withheld, pipeline)
        or _unreadable(rereads),
        "ledger": None if seen.whereabouts is None else whereabouts_shown(seen.whereabouts),
        "last_run": None if seen.newest_run is None else run_shown(seen.newest_run),
        "verifications": verifications_shown(seen.verifications),
        "withheld_rows": seen.withheld,
        "rereads": {
            "waiting": rereads.waiting,
            "refused": rereads.refused,
            "oldest": _text(rereads.oldest),
            "unreadable": rereads.unreadable,
        },
        "extraction": {
            "log": state.log,
            "sequence": state.sequence,
            "cursor": encode_position(state.cursor) if state.cursor else None,
            "snapshot": str(state.snapshot.id) if state.snapshot else None,
            "snapshot_ended_at": _text(state.snapshot_ended_at),
            "completed_at": _text(state.completed_at),
            "owner": registration.owner,
        },
        "outbox": {"records": depth.records, "bytes": depth.bytes, "oldest": _text(depth.oldest)},
        "lanes": [_lane(Lane(lane), seen.cursors.get(Lane(lane))) for lane in range(registration.lanes)],
        "lag": {
            "source_seconds": _source_lag(state, now, pipeline.cursor_time_zone),
            "outbox_records": depth.records,
            "outbox_bytes": depth.bytes,
            "outbox_seconds": _age(depth, now),
        },
    }


def _lane(lane: Lane, cursor: RelayCursor | None) -> dict[str, Any]:
    return {
        "lane": int(lane),
        "published_sequence": None if cursor is None else int(cursor.last_sequence),
        "generation": None if cursor is None else int(cursor.generation),
    }


def _control(control: PipelineControl | None) -> dict[str, Any] | None:
    """What people decided of it: who, when, and the version that `pause` and `resume` may name."""
    if control is None:
        return None
    return {
        "paused": control.paused,
        "reason": control.reason,
        "version": control.version,
        "updated_at": _text(control.updated_at),
        "updated_by": control.updated_by,
    }


def _paused(control: PipelineControl | None) -> str | None:
    if control is None or not control.paused:
        return None
    why = f" ({control.reason})" if control.reason else ""
    since = f"{control.updated_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"paused by {control.updated_by} since {since}{why}: `qupersync resume {control.pipeline}`"


def _health(registration: Registration, control: PipelineControl | None) -> Health:
    state = registration.state
    if control is not None and control.paused:
        return Health.PAUSED
    if registration.trouble is not None:
        return Health.RETRYING
    if state.snapshot is not None or (state.snapshot_ended_at is None and state.sequence):
        return Health.SNAPSHOTTING
    return Health.LIVE if state.snapshot_ended_at is not None else Health.NEW


def _lanes_changed(registration: Registration, pipeline: Pipeline) -> str | None:
    if registration.lanes == pipeline.lanes:
        return None
    return (
        f"the pipeline runs with {registration.lanes} lanes, the configuration says {pipeline.lanes}: "
        f"`qupersync reset {pipeline.name}` begins a new log with {pipeline.lanes} and a snapshot"
    )


def _withheld(rows: int, pipeline: Pipeline) -> str | None:
    if not rows:
        return None
    return f"{rows} rows are withheld, no event carries them: `qupersync quarantine list --pipeline {pipeline.name}`"


def _unreadable(rereads: RereadCounts) -> str | None:
    if rereads.unreadable is None:
        return None
    return f"what was last asked for could not be read again: {rereads.unreadable}"


def _source_lag(state: Extraction, now: datetime, time_zone: str) -> float | None:
    """Seconds since the cursor; None where it is not a moment."""
    if state.cursor is None or state.cursor.cursor.kind not in TEMPORAL:
        return None
    try:
        moment = datetime.fromisoformat(state.cursor.cursor.text.removesuffix("Z"))
    except ValueError:
        return None
    zone = UTC if state.cursor.cursor.kind is ScalarKind.TIMESTAMPTZ else ZoneInfo(time_zone)
    return round(max(0.0, (now - moment.replace(tzinfo=zone)).total_seconds()), 1)


def _age(depth: OutboxDepth, now: datetime) -> float:
    return 0.0 if depth.oldest is None else round(max(0.0, (now - depth.oldest).total_seconds()), 1)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


async def source_trouble(configuration: Configuration) -> str | None:
    """A refused or silent port of the source; no query is sent, so that nobody pays for a status."""
    source = configuration.source
    if is_closed(configuration):
        return None  # it may be down, and nobody wants anything of it
    if not isinstance(source, RedshiftSource):
        if source is not None and source.path is not None and not source.path.exists():
            return f"source: {source.path} does not exist"
        return None
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(source.host, source.port)
    except (OSError, TimeoutError) as error:
        return f"source: {source.host}:{source.port} does not answer ({str(error) or 'no answer in time'})"
    writer.close()
    return None
