"""A run in plain values, as status document and API say it."""

from datetime import UTC, datetime
from typing import Any

from qupersync_extractor.application.runs import RunRecord


def run_shown(run: RunRecord) -> dict[str, Any]:
    """What can be written as JSON; moments in UTC. `seconds` None while it works."""
    took = None if run.ended_at is None else max(0.0, (run.ended_at - run.started_at).total_seconds())
    span = run.span
    return {
        "id": str(run.id),
        "pipeline": run.pipeline,
        "mode": run.mode,
        "cause": run.cause,
        "status": run.status.value,
        "started_at": _text(run.started_at),
        "ended_at": None if run.ended_at is None else _text(run.ended_at),
        "seconds": took,
        "attempts": run.attempts,
        "pages": run.counts.pages,
        "rows": run.counts.rows,
        "bytes": run.counts.bytes,
        "error": run.error,
        "trace_id": run.trace_id,
        "log": None if span is None else int(span.log),
        "first_sequence": None if span is None else int(span.first),
        "last_sequence": None if span is None else int(span.last),
    }


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
