"""`qupersync trigger`, `pause`, `resume`, `reset` and `retire`: what people decide of pipelines, and who it was."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from qupersync_extractor.domain.planning import ForcedMode
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.cli.confirming import confirm
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import (
    ConfigOption,
    JsonOption,
    PipelineArgument,
    PipelineOrAllArgument,
    ReasonOption,
    WhoOption,
    YesOption,
)
from qupersync_shared.runtime.console import print_json
from qupersync_shared.runtime.records import whoever

if TYPE_CHECKING:
    from qupersync_extractor.application.control import PipelineControl

VersionOption = Annotated[
    int | None, typer.Option("--version", help="Only if nobody has decided anything since this version.")
]


def trigger(
    context: typer.Context,
    pipeline: PipelineOrAllArgument = None,
    mode: Annotated[ForcedMode | None, typer.Option(help="Force this mode; else what is due.")] = None,
    who: WhoOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the running extractors to run a pipeline now.

    Returns at once; `qupersync history` shows what came of it. Nothing is asked where one of them has never run.
    """
    from qupersync_extractor.interface.operating import known, with_stores

    settings = configuration(context, config)
    names = [known(settings, pipeline)] if pipeline else [PipelineName(name) for name in sorted(settings.pipelines)]
    with_stores(settings, lambda kept: kept.operations.trigger(names, mode, by=whoever(who)))
    if as_json:
        print_json({"triggered": names, "mode": mode.value if mode else None})
    else:
        typer.echo(f"asked for a run of {', '.join(names)}")


def pause(
    context: typer.Context,
    pipeline: PipelineArgument,
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; `status` shows it.")] = None,
    who: WhoOption = None,
    version: VersionOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Extract nothing new until `resume`; what is extracted is published and loaded, rereads and resends go on.

    The page under way is committed; the next run goes on behind it. It lasts over restarts.
    """
    from qupersync_extractor.interface.operating import known, with_stores

    settings = configuration(context, config)
    name = known(settings, pipeline)
    control = with_stores(
        settings, lambda kept: kept.operations.pause(name, by=whoever(who), reason=reason, version=version)
    )
    _tell(control, as_json=as_json)


def resume(
    context: typer.Context,
    pipeline: PipelineArgument,
    who: WhoOption = None,
    version: VersionOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a paused pipeline go on where it was."""
    from qupersync_extractor.interface.operating import known, with_stores

    settings = configuration(context, config)
    name = known(settings, pipeline)
    control = with_stores(settings, lambda kept: kept.operations.resume(name, by=whoever(who), version=version))
    _tell(control, as_json=as_json)


def reset(
    context: typer.Context,
    pipeline: PipelineArgument,
    reason: ReasonOption = None,
    who: WhoOption = None,
    version: VersionOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a new log with the configured number of lanes, and a snapshot; the target keeps its rows meanwhile.

    The whole source is read again.
    """
    from qupersync_extractor.interface.operating import known, with_stores

    settings = configuration(context, config)
    name = known(settings, pipeline)
    lanes = settings.pipelines[name].lanes
    counted = "1 lane" if lanes == 1 else f"{lanes} lanes"
    confirm(f"Begin a new log of {pipeline} with {counted}, and read its whole source again?", yes=yes)
    log = with_stores(
        settings,
        lambda kept: kept.operations.reset(name, lanes=lanes, by=whoever(who), reason=reason, version=version),
    )
    if as_json:
        print_json({"pipeline": name, "log": log, "lanes": lanes})
    else:
        typer.echo(f"{pipeline} begins log {log} with {counted}; its first run takes a snapshot")


def retire(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="A pipeline that the configuration no longer has.")],
    who: WhoOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up what the outbox still has to publish of a removed pipeline, so that it holds nothing any more."""
    from qupersync_extractor.interface.operating import with_stores

    settings = configuration(context, config)
    if pipeline in settings.pipelines:
        raise ConfigurationError(
            f"{pipeline!r} is configured",
            place="pipelines",
            cure=f"Remove it first; to begin it anew, `qupersync reset {pipeline}`",
        )
    confirm(
        f"Give up what is extracted and not published of {pipeline}? Written again, it begins with a snapshot: "
        "what its source has forgotten by then is lost",
        yes=yes,
    )
    records = with_stores(settings, lambda kept: kept.operations.retire(PipelineName(pipeline), by=whoever(who)))
    if as_json:
        print_json({"pipeline": pipeline, "records": records})
    else:
        typer.echo(f"gave up {records} records of {pipeline}; they leave the outbox when they are old enough")


def _tell(control: "PipelineControl", *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(control))
        return
    done = "paused" if control.paused else "goes on"
    typer.echo(f"{control.pipeline} {done}; version {control.version}, decided by {control.updated_by}")
