"""`GET /status`: everything at a glance."""

from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from qupersync_extractor.interface.api.desk import TheDesk
from qupersync_extractor.interface.api.models import StatusModel
from qupersync_extractor.interface.api.parameters import PREFIX
from qupersync_extractor.interface.api.security import Viewer

router = APIRouter(prefix=PREFIX, tags=["status"])


@router.get(
    "/status",
    response_model=StatusModel,
    responses={304: {"description": "Nothing new has been learnt since the document with this ETag."}},
)
async def status(
    _: Viewer,
    desk: TheDesk,
    known: Annotated[str | None, Header(alias="If-None-Match", description="The ETag of the last answer.")] = None,
) -> Response:
    """The state of everything: the document that `qupersync status --json` prints.

    It is built every two seconds while somebody asks, once for all who do; `as_of` says when. What a part that does
    not answer would have told is `unknown`.
    """
    shown = await desk.board.look()
    headers = {"etag": shown.etag}
    if known is not None and shown.etag in {part.strip() for part in known.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(shown.body, media_type="application/json", headers=headers)
