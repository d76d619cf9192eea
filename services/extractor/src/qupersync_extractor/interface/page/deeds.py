"""What the page can do to a pipeline: in which words it asks before, and says afterwards that it was done."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from qupersync_extractor.application.operations import Operations
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.kernel.ids import PipelineName


class Deed(StrEnum):
    """What can be done to one pipeline."""

    TRIGGER = "trigger"
    PAUSE = "pause"
    RESUME = "resume"
    RESET = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How a deed is asked for. `grave`: it asks for a tick of its own first."""

    title: str
    question: str
    button: str
    done: str
    reasoned: bool = False
    grave: str | None = None


WORDINGS: Final[Mapping[Deed, Wording]] = {
    Deed.TRIGGER: Wording(
        title="Run {} now",
        question="An extractor begins as soon as it can. A paused pipeline runs when it is resumed.",
        button="Run now",
        done="A run of {} was asked for",
    ),
    Deed.PAUSE: Wording(
        title="Pause {}",
        question="Nothing new is extracted until it is resumed. What is extracted is still published and loaded.",
        button="Pause",
        done="{} is paused",
        reasoned=True,
    ),
    Deed.RESUME: Wording(
        title="Resume {}",
        question="It goes on where it was.",
        button="Resume",
        done="{} goes on",
    ),
    Deed.RESET: Wording(
        title="Reset {}",
        question="A new log begins with a snapshot of the whole source, with as many lanes as are configured. The "
        "target stays as it is meanwhile; what waits in outbox and stream of the old log is passed over.",
        button="Reset",
        done="{} begins a new log",
        reasoned=True,
        grave="Read the whole source again",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a form says: who asks, of which record, and why."""

    pipeline: PipelineName
    by: str
    reason: str | None = None
    version: int | None = None
    mode: ForcedMode | None = None
    lanes: int = 1


async def perform(deed: Deed, operations: Operations, asked: Asked) -> None:
    """Does it. StaleVersionError where somebody decided since the form was made; NeverRunError as `Operations`."""
    acts: Mapping[Deed, Callable[[Operations, Asked], Awaitable[object]]] = {
        Deed.TRIGGER: lambda ops, one: ops.trigger([one.pipeline], one.mode, by=one.by),
        Deed.PAUSE: lambda ops, one: ops.pause(one.pipeline, by=one.by, reason=one.reason, version=one.version),
        Deed.RESUME: lambda ops, one: ops.resume(one.pipeline, by=one.by, version=one.version),
        Deed.RESET: lambda ops, one: ops.reset(
            one.pipeline, lanes=one.lanes, by=one.by, reason=one.reason, version=one.version
        ),
    }
    await acts[deed](operations, asked)
