"""Is it in sync, and if not, where is it?"""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from qupersync_extractor.domain.whereabouts import PageState
from qupersync_extractor.interface.api.desk import TheDesk
from qupersync_extractor.interface.api.models import VERSION_MAX, LedgerPages, PageModel, WhereaboutsModel
from qupersync_extractor.interface.api.moments import Moment
from qupersync_extractor.interface.api.parameters import (
    LIMIT,
    PREFIX,
    WORDS,
    Cursor,
    JobId,
    Limit,
    PipelineFilter,
    asked,
)
from qupersync_extractor.interface.api.problems import ProblemError, described
from qupersync_extractor.interface.api.security import Viewer

router = APIRouter(prefix=PREFIX, tags=["ledger"])

PagesSort = Literal["extracted_at", "-extracted_at", "sequence", "-sequence"]


@router.get("/ledger")
async def ledger(
    _: Viewer,
    desk: TheDesk,
    pipeline: PipelineFilter = None,
    log: Annotated[int | None, Query(description="Only pages of this log.", ge=0, le=VERSION_MAX)] = None,
    state: Annotated[PageState | None, Query(description="Only pages that have come so far.")] = None,
    mode: Annotated[str | None, Query(description="Only pages of this mode.", max_length=50, pattern=WORDS)] = None,
    run: Annotated[UUID | None, Query(description="Only pages of this run.")] = None,
    since: Annotated[Moment | None, Query(description="Only pages that were extracted then or later.")] = None,
    before: Annotated[Moment | None, Query(description="Only pages that were extracted before.")] = None,
    sort: Annotated[PagesSort, Query(description="`-` for the greatest first.")] = "-extracted_at",
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> LedgerPages:
    """Pages, the latest first: when each was extracted, published, and applied by every loader group."""
    filters = {
        "pipeline": pipeline,
        "log": log,
        "state": state,
        "mode": mode,
        "run": run,
        "since": since,
        "before": before,
    }
    page = await desk.ledger.pages(asked(filters, sort=sort, limit=limit, cursor=cursor))
    return LedgerPages(items=[PageModel.model_validate(one) for one in page.items], next_cursor=page.next_cursor)


@router.get("/ledger/{job_id}", responses=described(404, 409))
async def whereabouts(job_id: JobId, _: Viewer, desk: TheDesk) -> WhereaboutsModel:
    """Where a pipeline's pages are: how far each hop has come, what waits, for which hop, and since when."""
    name = desk.known(job_id)
    found = (await desk.ledger.whereabouts([name])).get(name)
    if found is None:
        title = "The pipeline has never run"
        raise ProblemError(409, "never-run", title, f"{name} has no pages", cure="Start `qupersync-extractor run`")
    return WhereaboutsModel.model_validate(found)
