"""What the extractor contributes to `qupersync`: `trigger`, `reset`, `retire`, checks and its part of the status."""

from typing import Annotated

import typer

from qupersync_extractor.bootstrap import Stores
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.interface import control, verifying
from qupersync_extractor.interface.operating import known, with_stores
from qupersync_extractor.interface.preflight import extractor_checks
from qupersync_extractor.interface.quarantine import open_quarantine
from qupersync_extractor.interface.sampling import source_sampler
from qupersync_extractor.interface.status import extractor_status
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.plugins import Plugin

NameArgument = Annotated[str | None, typer.Argument(help="The pipeline; all of them if left out.")]


def register(app: typer.Typer) -> None:
    """Adds this service's sub-commands."""
    control.add_commands(app)
    verifying.add_command(app)

    @app.command()
    def trigger(
        context: typer.Context,
        pipeline: NameArgument = None,
        mode: Annotated[ForcedMode | None, typer.Option(help="Force this mode; else what is due.")] = None,
    ) -> None:
        """Ask the running extractors to run a pipeline now."""
        settings = configuration(context)
        names = [str(known(settings, pipeline))] if pipeline else sorted(settings.pipelines)
        with_stores(settings, lambda kept: _trigger(kept, names, mode))
        typer.echo(f"asked for a run of {', '.join(names)}")

    @app.command()
    def reset(
        context: typer.Context,
        pipeline: Annotated[str, typer.Argument(help="The pipeline.")],
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    ) -> None:
        """Begin a new log with the configured number of lanes, and a snapshot; the target keeps its rows meanwhile."""
        settings = configuration(context)
        lanes = settings.pipelines[known(settings, pipeline)].lanes
        if not yes:
            counted = "1 lane" if lanes == 1 else f"{lanes} lanes"
            typer.confirm(f"Begin a new log of {pipeline} with {counted}, and read its whole source again?", abort=True)

        async def begin(kept: Stores) -> int:
            await kept.registry.register(PipelineName(pipeline), lanes)
            return await kept.registry.reset(
                PipelineName(pipeline), lanes=lanes, reason="an operator reset the pipeline"
            )

        log = with_stores(settings, begin)
        typer.echo(f"{pipeline} begins log {log} with {lanes} lanes; its first run takes a snapshot")

    @app.command()
    def retire(
        context: typer.Context,
        pipeline: Annotated[str, typer.Argument(help="A pipeline that the configuration no longer has.")],
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    ) -> None:
        """Give up what the outbox still has to publish of a removed pipeline, so that it holds nothing any more."""
        settings = configuration(context)
        if pipeline in settings.pipelines:
            raise ConfigurationError(
                f"{pipeline!r} is configured",
                place="pipelines",
                cure=f"Remove it first; to begin it anew, `qupersync reset {pipeline}`",
            )
        asked = (
            f"Give up what is extracted and not published of {pipeline}? Written again, it begins with a snapshot: "
            "what its source has forgotten by then is lost"
        )
        if not yes:
            typer.confirm(asked, abort=True)
        records = with_stores(settings, lambda kept: _retire(kept, PipelineName(pipeline)))
        typer.echo(f"gave up {records} records of {pipeline}; they leave the outbox when they are old enough")


async def _retire(kept: Stores, pipeline: PipelineName) -> int:
    """How many records are given up. They belong to a log that is over: nobody publishes them, nor waits for them."""
    known = await kept.registry.get(pipeline)
    if known is None:
        raise QupersyncError(f"there is no pipeline {pipeline!r} in the outbox", cure="There is nothing to give up")
    records = (await kept.outbox.depth(pipeline)).records
    await kept.registry.reset(pipeline, lanes=known.lanes, reason="an operator retired the pipeline")
    return records


async def _trigger(kept: Stores, names: list[str], mode: ForcedMode | None) -> None:
    for name in names:
        if await kept.registry.get(PipelineName(name)) is None:
            raise QupersyncError(
                f"{name} has never run", cure="Start `qupersync-extractor run`: its first run begins at once"
            )
        if mode is ForcedMode.SNAPSHOT:
            # A wish outlives the process that takes the request and dies before its first page.
            await kept.registry.wish_snapshot(PipelineName(name), reason="an operator asked for it", restart=False)
        await kept.registry.request_run(PipelineName(name), mode.value if mode else None)


plugin = Plugin(
    name="extractor",
    register=register,
    checks=extractor_checks,
    tells_schemas=True,
    status=extractor_status,
    quarantine=open_quarantine,
    samples=source_sampler,
)
