"""The pages of what waits for a person, and of rebuilds."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Form, Query, Request
from fastapi.responses import Response

from qupersync_extractor.application.control import REASON_CHARACTERS_MAX
from qupersync_extractor.interface.api.desk import Desk, TheDesk
from qupersync_extractor.interface.api.parameters import NAME_PATTERN, WORDS
from qupersync_extractor.interface.api.problems import ProblemError, bad_request
from qupersync_extractor.interface.api.security import Operator, Viewer
from qupersync_extractor.interface.page.acting import SURE, Question, ask
from qupersync_extractor.interface.page.answering import goes_to, page_routes, root_of
from qupersync_extractor.interface.page.parked import KINDS, SOURCE, heaps, listed, place_of
from qupersync_extractor.interface.page.rebuilds import groups_of, rebuilds_of
from qupersync_extractor.interface.page.rendering import page
from qupersync_extractor.interface.page.watching import TheWatch, Watch
from qupersync_extractor.interface.page.words import counted
from qupersync_shared.contracts.parked import Chosen, ParkedKind
from qupersync_shared.kernel.ids import PipelineName

router = page_routes()
_DONE: Final = {"redrive": "{} asked for again: they are settled when they load", "discard": "{} given up"}
_Name = Annotated[str, Query(max_length=100)]
# It becomes part of a NATS subject: what is no name could be one that means many, or another.
_WHERE = f"{NAME_PATTERN}|^{SOURCE}$"
_Where = Annotated[str, Query(pattern=_WHERE)]
_Reason = Annotated[str | None, Query(max_length=5000, pattern=WORDS)]
_Id = Annotated[str | None, Query(max_length=200, pattern=WORDS)]


@router.get("/parked")
async def see_parked(
    request: Request, caller: Viewer, desk: TheDesk, pipeline: _Name = "", done: _Name = "", count: int = 0
) -> Response:
    """What waits, by kinds of errors."""
    pipelines = [desk.known(pipeline)] if pipeline else [PipelineName(name) for name in desk.configured().pipelines]
    shown = {
        "heaps": await heaps(desk.where_parked, desk.parked.parked, pipelines),
        "pipeline": pipeline,
        "done": _DONE[done].format(counted(count, "entry", "entries")) if done in _DONE else None,
    }
    return page(request, "parked.html", shown, caller=caller)


@router.get("/parked/entries")
async def see_entries(
    request: Request,
    caller: Viewer,
    desk: TheDesk,
    pipeline: _Name,
    where: _Where,
    kind: ParkedKind,
    reason: _Reason = None,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> Response:
    """Entry by entry, the newest first."""
    place = place_of(desk.known(pipeline), where)
    found = await listed(desk.parked.parked, place, kind, reason=reason, cursor=cursor)
    again = {"pipeline": pipeline, "where": where, "kind": kind.value, "reason": reason}
    following = found.page.next_cursor
    asked = {name: value for name, value in {**again, "cursor": following}.items() if value}
    address = None if following is None else f"{root_of(request)}/parked/entries?{urlencode(asked)}"
    shown = {"listed": found, "next_address": address, "here": "/parked"}
    return page(request, "entries.html", shown, caller=caller)


@router.get("/parked/redrive")
async def ask_to_redrive(
    request: Request,
    caller: Operator,
    desk: TheDesk,
    pipeline: _Name,
    where: _Where,
    kind: ParkedKind,
    reason: _Reason = None,
    id: _Id = None,  # noqa: A002  # the parameter's name
) -> Response:
    """Asks whether they are to be read again."""
    desk.known(pipeline)
    question = Question(
        title=f"Redrive {_what(kind, reason, id)}",
        question="The source is read again for them, and what it says now is loaded in order. What loads is settled.",
        button="Redrive",
        action="/parked/redrive",
        back="/parked",
        hidden=_hidden(pipeline, where, kind, reason, id),
    )
    return ask(request, question, caller)


@router.get("/parked/discard")
async def ask_to_discard(
    request: Request,
    caller: Operator,
    desk: TheDesk,
    pipeline: _Name,
    where: _Where,
    kind: ParkedKind,
    reason: _Reason = None,
    id: _Id = None,  # noqa: A002
) -> Response:
    """Asks whether they are to be given up."""
    desk.known(pipeline)
    question = Question(
        title=f"Discard {_what(kind, reason, id)}",
        question="What they say stays missing in the target until a snapshot says it again.",
        button="Discard",
        action="/parked/discard",
        back="/parked",
        hidden=_hidden(pipeline, where, kind, reason, id),
        reasoned="why",
        grave="Give them up",
    )
    return ask(request, question, caller)


_Field = Annotated[str, Form(max_length=5000, pattern=WORDS)]
_Place = Annotated[str, Form(pattern=_WHERE)]


@router.post("/parked/redrive")
async def redrive(
    request: Request,
    caller: Operator,
    desk: TheDesk,
    pipeline: _Field,
    where: _Place,
    kind: Annotated[ParkedKind, Form()],
    reason: _Field = "",
    id: _Field = "",  # noqa: A002
) -> Response:
    """Has the source read again."""
    place = place_of(desk.known(pipeline), where)
    done = await desk.parked.redrive(place, kind, _chosen(reason, id), by=caller.name)
    if done.trouble is not None:
        desk.board.outdate()
        asked = counted(done.asked, "entry was", "entries were")
        raise ProblemError(409, "partly-done", "Not all could be asked for", f"{asked} asked for again; {done.trouble}")
    return _back(request, desk, pipeline, f"done=redrive&count={done.asked}")


@router.post("/parked/discard")
async def discard(
    request: Request,
    caller: Operator,
    desk: TheDesk,
    pipeline: _Field,
    where: _Place,
    kind: Annotated[ParkedKind, Form()],
    reason: _Field = "",
    id: _Field = "",  # noqa: A002
    why: Annotated[str, Form(max_length=REASON_CHARACTERS_MAX, pattern=WORDS)] = "",
    sure: _Field = "",
) -> Response:
    """Gives them up."""
    place = place_of(desk.known(pipeline), where)
    if sure != SURE:
        raise bad_request("the tick is missing that says it is meant", cure="Go back and tick it")
    count = await desk.parked.discard(place, kind, _chosen(reason, id), by=caller.name, reason=why.strip() or None)
    return _back(request, desk, pipeline, f"done=discard&count={count}")


@router.get("/rebuilds")
async def see_rebuilds(request: Request, caller: Viewer, desk: TheDesk, watched: TheWatch) -> Response:
    """Rebuilds under way, and the last that ended."""
    return page(request, "rebuilds.html", await _rebuilds(desk, watched), caller=caller)


@router.get("/fragments/rebuilds")
async def see_rebuilds_part(request: Request, caller: Viewer, desk: TheDesk, watched: TheWatch) -> Response:
    """What of it moves."""
    return page(request, "rebuilds_live.html", await _rebuilds(desk, watched), caller=caller)


async def _rebuilds(desk: Desk, watched: Watch) -> dict[str, Any]:
    seen = await watched.look()
    return {"groups": await rebuilds_of(desk.rebuilds, groups_of(seen.document))}


def _what(kind: ParkedKind, reason: str | None, id_: str | None) -> str:
    if id_ is not None:
        return f"{KINDS[kind][:-1]} {id_}"
    return f"all {KINDS[kind]} with this error" if reason is not None else f"all {KINDS[kind]}"


def _hidden(pipeline: str, where: str, kind: ParkedKind, reason: str | None, id_: str | None) -> dict[str, str]:
    told = {"pipeline": pipeline, "where": where, "kind": kind.value, "reason": reason, "id": id_}
    return {name: value for name, value in told.items() if value is not None}


def _chosen(reason: str, id_: str) -> Chosen:
    if not id_ and not reason:
        raise bad_request("it does not say which: an id or a reason is missing", cure="Choose them on /parked")
    return Chosen(ids=(id_,)) if id_ else Chosen(reason=reason)


def _back(request: Request, desk: Desk, pipeline: str, said: str) -> Response:
    desk.board.outdate()
    return goes_to(request, f"/parked?{urlencode({'pipeline': pipeline})}&{said}")
