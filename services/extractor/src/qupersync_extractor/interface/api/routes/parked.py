"""What waits for a person: rows in quarantine and dead letters, at the source and in the target of every group."""

from enum import StrEnum
from typing import Annotated, Any, Final, Self
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query, Request
from pydantic import BaseModel, Field, StringConstraints, model_validator
from starlette.responses import Response

from qupersync_extractor.application.parked import Place, Waiting, Wanted
from qupersync_extractor.interface.api.desk import Desk, TheDesk
from qupersync_extractor.interface.api.models import Reason, Said, Told
from qupersync_extractor.interface.api.once import Done, TheOnce
from qupersync_extractor.interface.api.parameters import LIMIT, NAME_PATTERN, PREFIX, WORDS, Cursor
from qupersync_extractor.interface.api.problems import bad_request, described
from qupersync_extractor.interface.api.security import Viewer
from qupersync_shared.contracts.parked import CHOSEN_MAX, ENTRIES_MAX, Chosen, ParkedEntry, ParkedKind, ReasonTold
from qupersync_shared.kernel.ids import GroupName

router = APIRouter(prefix=PREFIX, tags=["parked"])
_KIND_AT: Final = 4
_ACTS: Final[dict[int | str, dict[str, Any]]] = described(403, 404, 409, 413, 422)

_Pipeline = Annotated[str, Query(description="The pipeline.", pattern=NAME_PATTERN, examples=["cost_usage"])]
_Group = Annotated[
    str | None,
    Query(description="The loader group whose target is meant; without it, the source.", pattern=NAME_PATTERN),
]
_Id = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=WORDS)]


class Kind(StrEnum):
    """Rows that were refused one by one, or whole events, as paths name them."""

    QUARANTINE = "quarantine"
    DEAD_LETTERS = "dead-letters"

    @property
    def parked(self) -> ParkedKind:
        return ParkedKind.QUARANTINE if self is Kind.QUARANTINE else ParkedKind.DEAD_LETTERS


def _kind(request: Request) -> Kind:
    """What the path is about: /api/v1/sync/<kind>/…"""
    return Kind(request.url.path.split("/")[_KIND_AT])


_Kind = Annotated[Kind, Depends(_kind)]


class WaitingModel(Said):
    """So much waits in one place; `group` null is the source."""

    pipeline: str
    group: str | None = None
    quarantined: int
    dead_letters: int


class WaitingModels(BaseModel):
    """Every place where something waits."""

    items: list[WaitingModel]


class EntriesPage(BaseModel):
    """Some rows or dead letters; `next_cursor` goes on behind them, null when nothing follows."""

    items: list[ParkedEntry]
    next_cursor: str | None = None


class ReasonsModel(BaseModel):
    """What waits by kinds of reasons, the most frequent first; `total` counts those that are not listed, too."""

    items: list[ReasonTold]
    total: int


class ParkedRequest(Told):
    """Which entries of which place: these ids, all of one kind of reason, or all that wait."""

    pipeline: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    group: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] | None = None
    ids: list[_Id] = Field(default=[], max_length=CHOSEN_MAX, examples=[["17", "18"]])
    reason: Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=WORDS)] | None = None
    everything: bool = Field(default=False, description="All that wait; else ids or a reason are needed.")

    @model_validator(mode="after")
    def _chosen(self) -> Self:
        if [bool(self.ids), self.reason is not None, self.everything].count(True) != 1:
            raise ValueError("say which: ids, or a reason, or everything: true")
        return self


class DiscardRequest(ParkedRequest):
    """As for a redrive, and why."""

    why: Reason | None = Field(default=None, description="Is written down with who did it.")


class RedriveAnswer(Said):
    """How many the source is read again for; `snapshot`: for some of them only a snapshot could be asked for."""

    asked: int
    snapshot: bool = False
    trouble: str | None = Field(default=None, description="Why no more could be asked for.")


class DiscardAnswer(BaseModel):
    """How many were given up."""

    discarded: int


@router.get("/parked")
async def parked(_: Viewer, desk: TheDesk) -> WaitingModels:
    """Where something waits for a person, and how much."""
    names = [desk.known(name) for name in desk.configured().pipelines]
    return WaitingModels(items=[_waiting(one) for one in await desk.where_parked.waiting(names)])


@router.get("/quarantine", responses=described(404))
@router.get("/dead-letters", responses=described(404))
async def entries(
    kind: _Kind,
    _: Viewer,
    desk: TheDesk,
    pipeline: _Pipeline,
    group: _Group = None,
    settled: Annotated[bool, Query(description="Settled ones, too.")] = False,
    reason: Annotated[
        str | None, Query(description="Only those of this kind of reason.", max_length=2_000, pattern=WORDS)
    ] = None,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=ENTRIES_MAX)] = LIMIT,
    cursor: Cursor = None,
) -> EntriesPage:
    """What waits in one place, the newest first: keys, reasons and origins, and no other value of a row."""
    wanted = Wanted(kind=kind.parked, settled=settled, reason=reason, cursor=cursor, limit=limit)
    page = await desk.parked.parked.page(_place(desk, kind, pipeline, group), wanted)
    return EntriesPage(items=list(page.entries), next_cursor=page.next_cursor)


@router.get("/quarantine/reasons", responses=described(404))
@router.get("/dead-letters/reasons", responses=described(404))
async def reasons(kind: _Kind, _: Viewer, desk: TheDesk, pipeline: _Pipeline, group: _Group = None) -> ReasonsModel:
    """What waits in one place, by kinds of reasons."""
    found = await desk.parked.parked.reasons(_place(desk, kind, pipeline, group), kind.parked)
    return ReasonsModel(items=list(found.reasons), total=found.total)


@router.get("/quarantine/{entry_id}", responses=described(404))
@router.get("/dead-letters/{entry_id}", responses=described(404))
async def entry(
    kind: _Kind, entry_id: _Id, _: Viewer, desk: TheDesk, pipeline: _Pipeline, group: _Group = None
) -> ParkedEntry:
    """One row or dead letter, with all that may be told of it."""
    return await desk.parked.parked.entry(_place(desk, kind, pipeline, group), kind.parked, entry_id)


@router.post("/quarantine/redrive", status_code=202, response_model=RedriveAnswer, responses=_ACTS)
@router.post("/dead-letters/redrive", status_code=202, response_model=RedriveAnswer, responses=_ACTS)
async def redrive(kind: _Kind, once: TheOnce, desk: TheDesk, request: Annotated[ParkedRequest, Body()]) -> Response:
    """Have the source read again for those of the chosen that wait: what loads, or is gone there, waits no more."""
    place = _place(desk, kind, request.pipeline, request.group)
    same = None if once.key is None else UUID(bytes=once.digest[:16])

    async def act() -> Done:
        asked = await desk.parked.redrive(place, kind.parked, _chosen(request), by=once.caller.name, request=same)
        return Done(content=RedriveAnswer.model_validate(asked), status=202)

    return await once.answer(act)


@router.post("/quarantine/discard", response_model=DiscardAnswer, responses=_ACTS)
@router.post("/dead-letters/discard", response_model=DiscardAnswer, responses=_ACTS)
async def discard(kind: _Kind, once: TheOnce, desk: TheDesk, request: Annotated[DiscardRequest, Body()]) -> Response:
    """Give up those of the chosen that wait: the target keeps what it has of them, until they change."""
    place = _place(desk, kind, request.pipeline, request.group)

    async def act() -> Done:
        count = await desk.parked.discard(place, kind.parked, _chosen(request), by=once.caller.name, reason=request.why)
        return Done(content=DiscardAnswer(discarded=count))

    return await once.answer(act)


def _place(desk: Desk, kind: Kind, pipeline: str, group: str | None) -> Place:
    name = desk.known(pipeline)
    if group is None and kind is Kind.DEAD_LETTERS:
        raise bad_request("dead letters are of a loader group", cure=f"Add group={desk.configured().loader.group}")
    return Place(pipeline=name, group=None if group is None else GroupName(group))


def _chosen(request: ParkedRequest) -> Chosen:
    return Chosen(ids=tuple(request.ids), reason=request.reason)


def _waiting(one: Waiting) -> WaitingModel:
    return WaitingModel(
        pipeline=one.place.pipeline,
        group=one.place.group,
        quarantined=one.quarantined,
        dead_letters=one.dead_letters,
    )
