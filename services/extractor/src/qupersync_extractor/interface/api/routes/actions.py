"""Who did what."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from qupersync_extractor.application.actions import ActionKind
from qupersync_extractor.interface.api.desk import TheDesk
from qupersync_extractor.interface.api.models import ActionModel, ActionsPage
from qupersync_extractor.interface.api.moments import Moment
from qupersync_extractor.interface.api.parameters import LIMIT, PREFIX, WORDS, Cursor, Limit, PipelineFilter, asked
from qupersync_extractor.interface.api.security import Viewer

router = APIRouter(prefix=PREFIX, tags=["history"])

ActionsSort = Literal["at", "-at"]


@router.get("/actions")
async def actions(
    _: Viewer,
    desk: TheDesk,
    pipeline: PipelineFilter = None,
    action: Annotated[ActionKind | None, Query(description="Only this kind.")] = None,
    by: Annotated[str | None, Query(description="Only what this one did.", max_length=200, pattern=WORDS)] = None,
    since: Annotated[Moment | None, Query(description="Only what was done then or later.")] = None,
    before: Annotated[Moment | None, Query(description="Only what was done before.")] = None,
    sort: Annotated[ActionsSort, Query(description="`-` for the greatest first.")] = "-at",
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> ActionsPage:
    """What people did to pipelines, by whatever way: who, what, when and why."""
    filters = {"pipeline": pipeline, "action": action, "by": by, "since": since, "before": before}
    page = await desk.actions.page(asked(filters, sort=sort, limit=limit, cursor=cursor))
    return ActionsPage(items=[ActionModel.model_validate(one) for one in page.items], next_cursor=page.next_cursor)
