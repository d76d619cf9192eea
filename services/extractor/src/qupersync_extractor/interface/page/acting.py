"""What the page does to pipelines: first it asks, then a form of this very page says that it is meant."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Form, Request
from fastapi.responses import Response

from qupersync_extractor.application.control import REASON_CHARACTERS_MAX
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.interface.api.desk import Desk, TheDesk
from qupersync_extractor.interface.api.parameters import WORDS
from qupersync_extractor.interface.api.problems import bad_request
from qupersync_extractor.interface.api.security import Caller, Operator
from qupersync_extractor.interface.page.answering import goes_to, is_part, page_routes
from qupersync_extractor.interface.page.deeds import WORDINGS, Asked, Deed, Wording, perform
from qupersync_extractor.interface.page.rendering import page
from qupersync_shared.kernel.ids import PipelineName

router = page_routes()
SURE: Final = "yes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A form that asks whether something is meant. `reasoned` names the field for a reason, empty: none is asked."""

    title: str
    question: str
    button: str
    action: str
    back: str
    hidden: dict[str, str] = field(default_factory=dict)
    reasoned: str = ""
    grave: str | None = None
    modes: bool = False


def ask(request: Request, question: Question, caller: Caller) -> Response:
    """The question: as a page of its own, or as what a dialog holds."""
    dialog = is_part(request)
    template = "confirm_form.html" if dialog else "confirm.html"
    return page(request, template, {"ask": question, "dialog": dialog, "here": ""}, caller=caller)


@router.get("/pipelines/{name}/{deed}")
async def ask_for_deed(request: Request, name: str, deed: Deed, caller: Operator, desk: TheDesk) -> Response:
    """Asks whether it is meant, and of which version of what people decided."""
    pipeline = desk.known(name)
    words = WORDINGS[deed]
    version = await _version(desk, pipeline)
    return ask(request, _question(deed, words, name, version), caller)


@router.post("/pipelines/{name}/{deed}")
async def do_deed(
    request: Request,
    name: str,
    deed: Deed,
    caller: Operator,
    desk: TheDesk,
    reason: Annotated[str, Form(max_length=REASON_CHARACTERS_MAX, pattern=WORDS)] = "",
    version: Annotated[int | None, Form(ge=0, lt=2**63)] = None,
    mode: Annotated[str, Form(max_length=20)] = "",
    sure: Annotated[str, Form(max_length=3)] = "",
) -> Response:
    """Does it, and shows the pipeline as it is then."""
    pipeline = desk.known(name)
    if WORDINGS[deed].grave is not None and sure != SURE:
        raise bad_request("the tick is missing that says it is meant", cure="Go back and tick it")
    asked = Asked(
        pipeline=pipeline,
        by=caller.name,
        reason=reason.strip() or None,
        version=version,
        mode=_mode(mode),
        lanes=desk.configured().pipelines[name].lanes,
    )
    await perform(deed, desk.operations, asked)
    desk.board.outdate()
    return goes_to(request, f"/pipelines/{name}?done={deed}")


def _question(deed: Deed, words: Wording, name: str, version: int | None) -> Question:
    return Question(
        title=words.title.format(name),
        question=words.question,
        button=words.button,
        action=f"/pipelines/{name}/{deed}",
        back=f"/pipelines/{name}",
        hidden={} if version is None or deed is Deed.TRIGGER else {"version": str(version)},
        reasoned="reason" if words.reasoned else "",
        grave=words.grave,
        modes=deed is Deed.TRIGGER,
    )


def _mode(said: str) -> ForcedMode | None:
    if said and said not in set(ForcedMode):
        raise bad_request(f"there is no mode {said!r}", cure=f"Known: {', '.join(ForcedMode)}")
    return ForcedMode(said) if said else None


async def _version(desk: Desk, pipeline: PipelineName) -> int | None:
    async with desk.controls() as work:
        control = await work.controls.get(pipeline)
        return None if control is None else control.version
