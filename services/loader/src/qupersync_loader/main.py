"""`qupersync-loader`: migrate, run. Each imports what it needs, when it begins."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated

import typer

from qupersync_loader.settings import MIGRATE_WAIT_SECONDS, LoaderSettings, loader_settings
from qupersync_shared.runtime import logs
from qupersync_shared.runtime.cli import guarded
from qupersync_shared.runtime.configuration_file import ConfigurationFile
from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped
from qupersync_shared.runtime.settings import configuration_path, load

app = typer.Typer(
    name="qupersync-loader",
    help="Events of the stream, into the target database.",
    no_args_is_help=True,
    add_completion=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; else $QUPERSYNC_CONFIG, else ./qupersync.yaml."),
]
GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="Loader group; else the configuration's.")]
OnlyOption = Annotated[list[str] | None, typer.Option("--pipeline", "-p", help="Only this pipeline; may be repeated.")]
WatchOption = Annotated[
    bool, typer.Option("--watch/--no-watch", help="Take up pipelines as the file is edited; SIGHUP does so either way.")
]
LogOption = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]


@app.command()
def migrate(
    config: ConfigOption = None,
    group: GroupOption = None,
    wait: Annotated[float, typer.Option(min=0, help="How long to wait for missing streams, in seconds.")] = (
        MIGRATE_WAIT_SECONDS
    ),
    log_level: LogOption = "info",
) -> None:
    """Bring the loader's tables up to date and declare the lanes' consumers. Safe to run twice, and twice at once."""
    from qupersync_loader.interface.migrating import migrate_all

    logs.configure(log_level)
    asyncio.run(migrate_all(_settings(config, group), wait_seconds=wait))


@app.command()
def run(
    config: ConfigOption = None,
    group: GroupOption = None,
    pipeline: OnlyOption = None,
    until_drained: Annotated[
        bool, typer.Option("--until-drained", help="Load what there is, then end; exit code 1 if something is left.")
    ] = False,
    watch: WatchOption = True,
    log_level: LogOption = "info",
) -> None:
    """Load, until a signal; start as many processes as you like, they share the lanes."""
    from qupersync_loader.interface.running import run_process, run_until_drained

    logs.configure(log_level)

    def work(stop: Stop) -> Awaitable[int]:
        if until_drained:
            return run_until_drained(_settings(config, group, pipeline), stop)
        file = ConfigurationFile(configuration_path(config), watch=watch)
        return run_process(file, stop, group=group, only=pipeline or ())

    code = run_until_stopped(work)
    if code:
        raise typer.Exit(code)


def _settings(config: Path | None, group: str | None, only: list[str] | None = None) -> LoaderSettings:
    path = configuration_path(config)
    return loader_settings(load(path), group=group, only=only or (), path=str(path))


def main() -> None:
    """The entry point."""
    guarded(app)


if __name__ == "__main__":
    main()
