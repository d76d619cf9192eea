"""What installed services contribute to the `qupersync` command, through the entry-point group `qupersync.plugins`.

A plugin that cannot be loaded is reported and left out: the command works with what is installed and whole. Plugins are
loaded by every call of the command, `--help` and completion included: what they contribute is named here, and imported
when it is used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from qupersync_shared.runtime.logs import describe

if TYPE_CHECKING:
    from qupersync_shared.runtime.preflight import Preflight
    from qupersync_shared.runtime.quarantine import OpenQuarantine
    from qupersync_shared.runtime.sampling import Sampler
    from qupersync_shared.runtime.settings import Configuration

GROUP: Final = "qupersync.plugins"


class Verdict(StrEnum):
    """`unknown`: the probe failed, so nothing can be said; it is never shown as ok."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One line of `qupersync check`: `area` is source, outbox, stream, target or a pipeline."""

    area: str
    subject: str
    verdict: Verdict
    message: str
    cure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPart:
    """A plugin's share of the status document; every value can be written as JSON.

    `pipelines` maps a pipeline to a fragment of its entry: `state`, `reason`, `extraction`, `lanes`, `lag` and what
    else there is; fragments of several plugins are merged, lanes by their `lane`. `processes` are entries of the list
    of that name. `reasons` say what is wrong beyond one pipeline. `sections` are further keys at the top.
    """

    pipelines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    processes: Sequence[Mapping[str, Any]] = ()
    reasons: Sequence[str] = ()
    sections: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A sub-command by its name, its line in the list of commands, and examples of whole command lines.

    `body` is `module:name` of a function with typer's annotations, imported when the command is called or explained;
    its docstring begins with `help`. A command with `commands` has those, and no body.
    """

    name: str
    help: str
    body: str = ""
    examples: Sequence[str] = ()
    commands: Sequence[Command] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """What one service contributes: sub-commands, checks, a share of the status, its quarantined rows, and samples.

    `checks` and `status` (within 3 s, then cancelled) get a valid configuration and answer for unreachable servers
    themselves where they can (a row, a reason); what they raise is shown as a failed probe. `tells_schemas`: its
    checks tell the columns of each pipeline's rows, for which others' checks wait.
    """

    name: str
    commands: Sequence[Command] = ()
    checks: Callable[[Preflight], Awaitable[list[CheckRow]]] | None = None
    tells_schemas: bool = False
    status: Callable[[Configuration], Awaitable[StatusPart]] | None = None
    quarantine: OpenQuarantine | None = None
    samples: Sampler | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPlugin:
    """An installed service whose plugin cannot be loaded, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """The installed plugins, in the order of their names."""

    whole: tuple[Plugin, ...] = ()
    broken: tuple[BrokenPlugin, ...] = ()


def discover() -> Plugins:
    """Loads every installed plugin; never raises."""
    whole: list[Plugin] = []
    broken: list[BrokenPlugin] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            loaded = point.load()
        except Exception as error:  # noqa: BLE001  # whatever a broken installation raises
            broken.append(BrokenPlugin(name=point.name, reason=describe(error)))
            continue
        if isinstance(loaded, Plugin):
            whole.append(loaded)
        else:
            broken.append(BrokenPlugin(name=point.name, reason=f"{point.value} is not a Plugin"))
    return Plugins(whole=tuple(whole), broken=tuple(broken))
