"""`qupersync-extractor`: migrate, run, extract, relay, serve. Each imports what it needs, when it begins."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated

import typer

from qupersync_shared.runtime import logs
from qupersync_shared.runtime.cli import guarded
from qupersync_shared.runtime.configuration_file import ConfigurationFile
from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped
from qupersync_shared.runtime.settings import configuration_path, load

app = typer.Typer(
    name="qupersync-extractor",
    help="Pages of the source, through the outbox, to the stream.",
    no_args_is_help=True,
    add_completion=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; else $QUPERSYNC_CONFIG, else ./qupersync.yaml."),
]
OnlyOption = Annotated[list[str] | None, typer.Option("--pipeline", "-p", help="Only this pipeline; may be repeated.")]
WatchOption = Annotated[
    bool, typer.Option("--watch/--no-watch", help="Take up pipelines as the file is edited; SIGHUP does so either way.")
]
LogOption = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]


@app.command()
def migrate(config: ConfigOption = None, log_level: LogOption = "info") -> None:
    """Bring the outbox database up to date and declare the streams. Safe to run twice, and twice at once."""
    from qupersync_extractor.interface.migrating import migrate_all

    logs.configure(log_level)
    path = configuration_path(config)
    asyncio.run(migrate_all(load(path), path=str(path)))


@app.command()
def run(
    config: ConfigOption = None,
    pipeline: OnlyOption = None,
    once: Annotated[bool, typer.Option("--once", help="Extract and relay what there is, then end.")] = False,
    watch: WatchOption = True,
    log_level: LogOption = "info",
) -> None:
    """Extract and relay, until a signal."""
    _serve(config, pipeline, extract=True, relay=True, once=once, watch=watch, log_level=log_level)


@app.command()
def extract(
    config: ConfigOption = None,
    pipeline: OnlyOption = None,
    once: Annotated[bool, typer.Option("--once", help="Extract what there is, then end.")] = False,
    watch: WatchOption = True,
    log_level: LogOption = "info",
) -> None:
    """Extract into the outbox, until a signal; a relay elsewhere publishes."""
    _serve(config, pipeline, extract=True, relay=False, once=once, watch=watch, log_level=log_level)


@app.command()
def relay(
    config: ConfigOption = None,
    pipeline: OnlyOption = None,
    once: Annotated[bool, typer.Option("--once", help="Publish what the outbox holds, then end.")] = False,
    watch: WatchOption = True,
    log_level: LogOption = "info",
) -> None:
    """Publish the outbox's records to the stream, until a signal."""
    _serve(config, pipeline, extract=False, relay=True, once=once, watch=watch, log_level=log_level)


@app.command()
def serve(config: ConfigOption = None, watch: WatchOption = True, log_level: LogOption = "info") -> None:
    """Serve the control API and the status page alone, until a signal; other processes extract and relay."""
    from qupersync_extractor.interface.controlling import run_control

    logs.configure(log_level)
    path = configuration_path(config)
    code = run_until_stopped(lambda stop: run_control(ConfigurationFile(path, watch=watch), stop, path=str(path)))
    if code:
        raise typer.Exit(code)


def _serve(
    config: Path | None,
    only: list[str] | None,
    *,
    extract: bool,
    relay: bool,
    once: bool,
    watch: bool,
    log_level: str,
) -> None:
    from qupersync_extractor.interface.processes import Parts, run_process

    logs.configure(log_level)
    path = configuration_path(config)

    def work(stop: Stop) -> Awaitable[int]:
        file = ConfigurationFile(path, watch=watch)
        following = None if once else file
        parts = Parts(extract=extract, relay=relay)
        return run_process(file.in_force, parts, stop, once=once, only=only or (), path=str(path), file=following)

    code = run_until_stopped(work)
    if code:
        raise typer.Exit(code)


def main() -> None:
    """The entry point."""
    guarded(app)


if __name__ == "__main__":
    main()
