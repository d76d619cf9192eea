"""Pipelines (clients know them as jobs): how they are, and what can be done to them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header
from starlette.responses import JSONResponse, Response

from qupersync_extractor.application.control import PipelineControl
from qupersync_extractor.interface.api.desk import Desk, TheDesk
from qupersync_extractor.interface.api.models import (
    VERSION_MAX,
    ControlModel,
    DecisionRequest,
    JobModel,
    JobsModel,
    ResetAnswer,
    TriggerAnswer,
    TriggerRequest,
    control_of,
    job_of,
)
from qupersync_extractor.interface.api.once import Done, TheOnce
from qupersync_extractor.interface.api.parameters import PREFIX, JobId
from qupersync_extractor.interface.api.problems import bad_request, described
from qupersync_extractor.interface.api.security import Viewer
from qupersync_shared.kernel.ids import PipelineName

router = APIRouter(prefix=PREFIX, tags=["jobs"])
_ETAG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": {"ETag": {"description": "The version, for `If-Match`.", "schema": {"type": "string"}}}}
}
_ACTS: Final = {**_ETAG, **described(403, 409, 413, 422)}
_TAG: Final = re.compile(r'(?:W/)?"(\d{1,19})"')

_Match = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The ETag that was looked at: only if nobody has decided anything since.",
        pattern=r'^(\*|(W/)?"[0-9]{1,19}")$',
        examples=['"3"'],
    ),
]
_Decision = Annotated[DecisionRequest | None, Body()]


@router.get("/jobs", response_model=JobsModel)
async def jobs(_: Viewer, desk: TheDesk) -> Response:
    """All pipelines: state, next run, last result, lag per hop."""
    shown = await desk.board.look()
    return Response(shown.view("jobs", _jobs), media_type="application/json")


@router.get("/jobs/{job_id}", response_model=JobModel, responses={**_ETAG, **described(404)})
async def job(job_id: JobId, _: Viewer, desk: TheDesk) -> Response:
    """One pipeline. Its ETag is the version of what people decided of it."""
    name = desk.known(job_id)
    document = (await desk.board.look()).document
    entry = document["pipelines"].get(name)
    if entry is None:  # it was configured this very moment
        desk.board.outdate()
        entry = (await desk.board.look()).document["pipelines"][name]
    found = job_of(name, entry)
    headers = {} if found.control is None else _etag(found.control.version)
    return JSONResponse(found.model_dump(mode="json"), headers=headers)


@router.post("/trigger", status_code=202, response_model=TriggerAnswer, responses=described(403, 404, 409, 413, 422))
async def trigger(once: TheOnce, desk: TheDesk, request: Annotated[TriggerRequest | None, Body()] = None) -> Response:
    """Run a pipeline, or all, now. A pipeline that is paused runs when it is resumed.

    Asking twice before it runs makes one run, with or without `Idempotency-Key`.
    """
    wanted = request or TriggerRequest()
    every = [PipelineName(name) for name in sorted(desk.configured().pipelines)]
    names = every if wanted.job_id is None else [desk.known(wanted.job_id)]

    async def act() -> Done:
        await desk.operations.trigger(names, wanted.mode, by=once.caller.name)
        asked = await desk.operations.registry.asked_for()
        waiting = [name for name in names if name in asked and asked[name].paused]
        return Done(content=TriggerAnswer(requested=names, mode=wanted.mode, waiting=waiting), status=202)

    return await once.answer(act)


@router.post("/jobs/{job_id}/pause", response_model=ControlModel, responses={**_ACTS, **described(404)})
async def pause(
    job_id: JobId, once: TheOnce, desk: TheDesk, decision: _Decision = None, match: _Match = None
) -> Response:
    """Extract nothing new until it is resumed; what is extracted is published and loaded. It lasts over restarts."""
    name, wanted = desk.known(job_id), decision or DecisionRequest()
    version = _version(wanted, match)

    async def act() -> Done:
        return _decided(
            await desk.operations.pause(name, by=once.caller.name, reason=wanted.reason, version=version),
        )

    return await once.answer(act)


@router.post("/jobs/{job_id}/resume", response_model=ControlModel, responses={**_ACTS, **described(404)})
async def resume(
    job_id: JobId, once: TheOnce, desk: TheDesk, decision: _Decision = None, match: _Match = None
) -> Response:
    """Let a paused pipeline go on where it was."""
    name = desk.known(job_id)
    version = _version(decision or DecisionRequest(), match)

    async def act() -> Done:
        return _decided(await desk.operations.resume(name, by=once.caller.name, version=version))

    return await once.answer(act)


@router.post("/jobs/{job_id}/reset", response_model=ResetAnswer, responses={**_ACTS, **described(404)})
async def reset(
    job_id: JobId, once: TheOnce, desk: TheDesk, decision: _Decision = None, match: _Match = None
) -> Response:
    """Begin a new log with the configured number of lanes, and a snapshot; the target keeps its rows meanwhile."""
    name, wanted = desk.known(job_id), decision or DecisionRequest()
    version, lanes = _version(wanted, match), desk.configured().pipelines[name].lanes

    async def act() -> Done:
        log = await desk.operations.reset(name, lanes=lanes, by=once.caller.name, reason=wanted.reason, version=version)
        now = await _version_now(desk, name)
        answer = ResetAnswer(pipeline=name, log=log, lanes=lanes, version=now)
        return Done(content=answer, headers={} if now is None else _etag(now))

    return await once.answer(act)


def _jobs(document: Mapping[str, Any]) -> bytes:
    found = [job_of(name, entry) for name, entry in document["pipelines"].items()]
    return JobsModel(as_of=document["as_of"], jobs=found).model_dump_json().encode()


def _decided(control: PipelineControl) -> Done:
    return Done(content=control_of(control), headers=_etag(control.version))


def _etag(version: int) -> dict[str, str]:
    return {"etag": f'"{version}"'}


def _version(decision: DecisionRequest, match: str | None) -> int | None:
    """The version that is expected, however it was said; `*` is any."""
    found = None if match is None else _TAG.fullmatch(match)
    expected = None if found is None else int(found[1])
    if expected is not None and (expected > VERSION_MAX or decision.version not in {None, expected}):
        raise bad_request("If-Match and version say different things", cure="Send one of them")
    return decision.version if expected is None else expected


async def _version_now(desk: Desk, pipeline: PipelineName) -> int | None:
    async with desk.controls() as work:
        control = await work.controls.get(pipeline)
        return None if control is None else control.version
