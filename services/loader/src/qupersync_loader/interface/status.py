"""The loader's part of the status: what every lane has applied, read from the target itself."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

from qupersync_loader.application.ports import PipelineState
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.states import states
from qupersync_loader.settings import loader_settings
from qupersync_loader.stores import target_engine
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.plugins import StatusPart
from qupersync_shared.runtime.quarantine import parked_reason
from qupersync_shared.runtime.settings import Configuration

PROBE_SECONDS: Final = 3.0


async def loader_status(configuration: Configuration) -> StatusPart:
    """Fragments of all pipelines, or the reason why the target cannot be asked."""
    try:
        settings = loader_settings(configuration)
    except QupersyncError as error:
        return StatusPart(reasons=[f"target: {describe(error)}"])
    engine = target_engine(settings, application_name="qupersync-status", connections=2)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            found = await states(engine, settings.group)
    except TimeoutError:
        return StatusPart(reasons=[f"target: it did not answer within {PROBE_SECONDS:g} s"])
    except QupersyncError as error:
        return StatusPart(reasons=[f"target: {describe(error)}"])
    finally:
        await engine.dispose()
    now = datetime.now(UTC)
    fragments = {str(p.name): fragment(p, found.get(p.name, PipelineState()), now) for p in settings.pipelines}
    return StatusPart(pipelines=fragments)


def fragment(pipeline: TargetPipeline, state: PipelineState, now: datetime) -> dict[str, Any]:
    """One pipeline's entry; a pipeline with something parked is degraded."""
    found: dict[str, Any] = {
        "target": {"table": pipeline.target, "log": state.log, "lanes": state.lanes},
        "parked": {
            str(pipeline.group): {
                "quarantined": state.parked.quarantined,
                "dead_letters": state.parked.dead_letters,
                "altered": sum(progress.altered for progress in state.watermarks.values()),
            }
        },
        "lanes": [_lane(lane, progress) for lane, progress in sorted(state.watermarks.items())],
        "lag": {"freshness_seconds": _freshness(state, now)},
    }
    if not state.parked.nothing:
        found["state"] = "degraded"
        found["reason"] = parked_reason(pipeline.name, state.parked.quarantined, state.parked.dead_letters)
    return found


def _lane(lane: int, progress: Any) -> dict[str, Any]:
    return {
        "lane": lane,
        "applied_log": progress.log,
        "applied_sequence": progress.sequence,
        "building": progress.building is not None,
        "honest_time": _text(progress.honest_time),
        "applied_at": _text(progress.applied_at),
    }


def _freshness(state: PipelineState, now: datetime) -> float | None:
    """Seconds since the moment up to which every lane is complete; None while some lane cannot say."""
    times = [p.honest_time for p in state.watermarks.values() if p.lanes == state.lanes and p.honest_time is not None]
    if state.lanes is None or len(times) < state.lanes:
        return None
    return round(max(0.0, (now - min(times)).total_seconds()), 1)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
