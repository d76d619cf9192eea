"""What became of runs."""

from datetime import timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from qupersync_extractor.application.runs import RunRecord, RunStatus
from qupersync_extractor.interface.api.desk import TheDesk
from qupersync_extractor.interface.api.models import PurgeAnswer, RunModel, RunsPage
from qupersync_extractor.interface.api.moments import Moment
from qupersync_extractor.interface.api.once import Done, TheOnce
from qupersync_extractor.interface.api.parameters import LIMIT, PREFIX, WORDS, Cursor, Limit, PipelineFilter, asked
from qupersync_extractor.interface.api.problems import described, not_found
from qupersync_extractor.interface.api.security import Viewer
from qupersync_extractor.interface.runs_shown import run_shown

router = APIRouter(prefix=PREFIX, tags=["history"])

DAYS_MAX: Final = 36_500
RunsSort = Literal["started_at", "-started_at", "pipeline", "-pipeline"]


@router.get("/history")
async def history(
    _: Viewer,
    desk: TheDesk,
    pipeline: PipelineFilter = None,
    status: Annotated[RunStatus | None, Query(description="Only runs that ended so, or work still.")] = None,
    cause: Annotated[str | None, Query(description="Only runs for this cause.", max_length=500, pattern=WORDS)] = None,
    since: Annotated[Moment | None, Query(description="Only runs that began then or later.")] = None,
    before: Annotated[Moment | None, Query(description="Only runs that began before.")] = None,
    sort: Annotated[RunsSort, Query(description="`-` for the greatest first.")] = "-started_at",
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> RunsPage:
    """Runs, the latest first; those of removed pipelines only where their pipeline is named.

    Runs that found nothing new leave no record.
    """
    filters = {"pipeline": pipeline, "status": status, "cause": cause, "since": since, "before": before}
    page = await desk.runs.page(asked(filters, sort=sort, limit=limit, cursor=cursor))
    return RunsPage(items=[run_of(run) for run in page.items], next_cursor=page.next_cursor)


@router.get("/history/{run_id}", responses=described(404))
async def run(run_id: UUID, _: Viewer, desk: TheDesk) -> RunModel:
    """One run."""
    page = await desk.runs.page(asked({"id": run_id}, sort=None, limit=1, cursor=None))
    if not page.items:
        raise not_found(f"run {run_id}: it never was, or its history was purged")
    return run_of(page.items[0])


@router.delete("/history", response_model=PurgeAnswer, responses=described(403, 409, 422))
async def purge(
    once: TheOnce,
    desk: TheDesk,
    older_than_days: Annotated[int, Query(description="What is younger stays.", ge=1, le=DAYS_MAX, examples=[90])],
) -> Response:
    """Remove old runs, pages of the ledger, and actions. Runs under way stay, and pages that wait to be applied."""

    async def act() -> Done:
        removed = await desk.operations.purge(older_than=timedelta(days=older_than_days), by=once.caller.name)
        return Done(content=PurgeAnswer(removed=removed))

    return await once.answer(act)


def run_of(run: RunRecord) -> RunModel:
    """The run as the API says it."""
    return RunModel(**run_shown(run))
