"""The pages that are looked at: overview, pipeline, history, and the parts of them that scripts renew."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.responses import JSONResponse, Response

from qupersync_extractor.application.runs import RunStatus
from qupersync_extractor.interface.api.desk import Desk, TheDesk
from qupersync_extractor.interface.api.parameters import WORDS
from qupersync_extractor.interface.api.problems import not_found
from qupersync_extractor.interface.api.security import Viewer
from qupersync_extractor.interface.page.answering import page_routes, root_of
from qupersync_extractor.interface.page.assets import assets
from qupersync_extractor.interface.page.deeds import WORDINGS, Deed
from qupersync_extractor.interface.page.overview import Choice, overview
from qupersync_extractor.interface.page.pipeline import MINUTES, PipelinePage, curves, minutes, pipeline_page
from qupersync_extractor.interface.page.rates import PAGES_MAX
from qupersync_extractor.interface.page.rendering import page
from qupersync_extractor.interface.page.watching import ASK_SECONDS_MAX, TheWatch, Watch
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.records import Query as Asked

RUNS_SHOWN: Final = 12
PAGES_SHOWN: Final = 15
HISTORY_SHOWN: Final = 50
ACTIONS_SHOWN: Final = 50
_FOR_EVER: Final = "public, max-age=31536000, immutable"

router = page_routes()
T = TypeVar("T")
_Text = Annotated[str, Query(max_length=100)]
_Sort = Annotated[str, Query(max_length=20)]
_Name = Annotated[str, Query(max_length=100, pattern=WORDS)]
_Cursor = Annotated[str | None, Query(max_length=2000)]


@router.get("/")
async def see_overview(
    request: Request, caller: Viewer, watched: TheWatch, text: _Text = "", sort: _Sort = "urgency"
) -> Response:
    """All pipelines, and how rows get from source to target."""
    shown = await _overview(watched, Choice(text=text, sort=sort))
    return page(request, "overview.html", shown, caller=caller)


@router.get("/fragments/overview")
async def see_overview_part(
    request: Request, caller: Viewer, watched: TheWatch, text: _Text = "", sort: _Sort = "urgency"
) -> Response:
    """What of the overview moves."""
    shown = await _overview(watched, Choice(text=text, sort=sort))
    return page(request, "overview_live.html", shown, caller=caller)


async def _overview(watched: Watch, choice: Choice) -> dict[str, Any]:
    seen = await watched.look()
    return {"o": overview(seen, choice, watched.actions, watched.rebuilds), "choice": choice}


@router.get("/pipelines/{name}")
async def see_pipeline(
    request: Request, name: str, caller: Viewer, desk: TheDesk, watched: TheWatch, done: _Name = ""
) -> Response:
    """One pipeline."""
    said = WORDINGS[Deed(done)].done.format(name) if done in set(Deed) else None
    return page(
        request, "pipeline.html", {"p": await _pipeline(desk, watched, name), "done": said, "here": ""}, caller=caller
    )


@router.get("/fragments/pipelines/{name}")
async def see_pipeline_part(request: Request, name: str, caller: Viewer, desk: TheDesk, watched: TheWatch) -> Response:
    """What of a pipeline's page moves."""
    return page(request, "pipeline_live.html", {"p": await _pipeline(desk, watched, name)}, caller=caller)


@router.get("/fragments/pipelines/{name}/series")
async def see_series(name: str, _: Viewer, desk: TheDesk, watched: TheWatch) -> Response:
    """The curves of a pipeline, as numbers."""
    pipeline = desk.known(name)
    seen = await watched.look()
    now = datetime.now(UTC)
    since = now - timedelta(minutes=MINUTES)
    found = await _within(desk.ledger.pages(Asked(filters={"pipeline": pipeline, "since": since}, limit=PAGES_MAX)))
    described = seen.described.get(name)
    drawn = curves(watched.series.of(name), described.objective_seconds if described else None)
    return JSONResponse({**drawn, "minutes": None if found is None else minutes(found.items, now)})


async def _pipeline(desk: Desk, watched: Watch, name: str) -> PipelinePage:
    pipeline = desk.known(name)
    seen, runs, pages = await asyncio.gather(
        watched.look(),
        _within(desk.runs.page(Asked(filters={"pipeline": pipeline}, limit=RUNS_SHOWN))),
        _within(desk.ledger.pages(Asked(filters={"pipeline": pipeline}, limit=PAGES_SHOWN))),
    )
    return pipeline_page(
        seen, name, runs=None if runs is None else runs.items, pages=None if pages is None else pages.items
    )


async def _within(asked: Awaitable[T]) -> T | None:
    """What a database answers within two seconds; None is shown as unknown."""
    try:
        async with asyncio.timeout(ASK_SECONDS_MAX):
            return await asked
    except (QupersyncError, TimeoutError):
        return None


@router.get("/history")
async def see_history(
    request: Request,
    caller: Viewer,
    desk: TheDesk,
    pipeline: _Name = "",
    status: _Name = "",
    cursor: _Cursor = None,
) -> Response:
    """Runs and what people did, the last first."""
    wanted = {"pipeline": pipeline, "status": status if status in set(RunStatus) else ""}
    filters = {name: value or None for name, value in wanted.items()}
    runs = await desk.runs.page(Asked(filters=filters, cursor=cursor, limit=HISTORY_SHOWN))
    actions = await desk.actions.page(Asked(filters={"pipeline": pipeline or None}, limit=ACTIONS_SHOWN))
    shown = {
        "runs": runs.items,
        "actions": actions.items,
        "names": sorted(desk.configured().pipelines),
        "wanted": wanted,
        "next_address": _next(request, "/history", {**wanted, "cursor": runs.next_cursor}),
    }
    return page(request, "history.html", shown, caller=caller)


def _next(request: Request, path: str, asked: dict[str, Any]) -> str | None:
    if asked["cursor"] is None:
        return None
    return f"{root_of(request)}{path}?{urlencode({name: value for name, value in asked.items() if value})}"


@router.get("/static/{path:path}")
async def see_asset(path: str) -> Response:
    """The page's own files, for everybody: there is nothing to be seen in them."""
    asset = assets().get(path)
    if asset is None:
        raise not_found(f"file {path[:100]!r}")
    return Response(
        asset.content, media_type=asset.media_type, headers={"cache-control": _FOR_EVER, "etag": f'"{asset.version}"'}
    )
