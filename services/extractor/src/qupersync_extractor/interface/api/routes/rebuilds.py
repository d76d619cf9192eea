"""Rebuilds: how far those under way are, and how the last ones ended."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from qupersync_extractor.interface.api.desk import TheDesk
from qupersync_extractor.interface.api.parameters import NAME_PATTERN, PREFIX
from qupersync_extractor.interface.api.security import Viewer
from qupersync_shared.contracts.rebuilds import ENDED, REBUILDS_MAX, RebuildTold
from qupersync_shared.kernel.ids import GroupName

router = APIRouter(prefix=PREFIX, tags=["rebuilds"])


class RebuildsModel(BaseModel):
    """Rebuilds in the target of one loader group."""

    group: str
    items: list[RebuildTold]


@router.get("/rebuilds")
async def rebuilds(
    _: Viewer,
    desk: TheDesk,
    group: Annotated[
        str | None, Query(description="The loader group; else the configuration's.", pattern=NAME_PATTERN)
    ] = None,
    ended: Annotated[int, Query(description="How many that have ended.", ge=0, le=REBUILDS_MAX)] = ENDED,
) -> RebuildsModel:
    """Rebuilds under way first, then the last ones that have ended; the loaders of the group are asked."""
    name = GroupName(group or desk.configured().loader.group)
    return RebuildsModel(group=name, items=list(await desk.rebuilds.list(name, ended=ended)))
