"""The typer app: global options, own sub-commands, and those of the installed plugins."""

import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime import logs
from qupersync_shared.runtime.cli import checking, events, groups, quarantine, sample, showing, starting
from qupersync_shared.runtime.cli import status as status_command
from qupersync_shared.runtime.cli.guard import EXIT_OK, EXIT_USAGE, EXIT_WRONG, debugging, guarded
from qupersync_shared.runtime.cli.invocation import Invocation, configuration, invocation
from qupersync_shared.runtime.cli.options import PipelinesOption
from qupersync_shared.runtime.cli.probing import run
from qupersync_shared.runtime.console import console, print_json, print_plain
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.plugins import BrokenPlugin, CheckRow, Plugin, Plugins, Verdict, discover

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration [$QUPERSYNC_CONFIG, else ./qupersync.yaml].")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def main() -> NoReturn:
    """The entry point `qupersync`."""
    guarded(lambda: build_app(discover())(_debug_first(sys.argv[1:])))


def _debug_first(arguments: list[str]) -> list[str]:
    """`--debug` may stand anywhere: people add it at the end of what has just failed."""
    own, mark, rest = (arguments, [], [])
    if "--" in arguments:
        at = arguments.index("--")
        own, mark, rest = arguments[:at], ["--"], arguments[at + 1 :]
    without = [argument for argument in own if argument != "--debug"]
    return [*(["--debug"] if len(without) < len(own) else []), *without, *mark, *rest]


def build_app(plugins: Plugins) -> typer.Typer:
    """The command with these plugins; one whose sub-commands cannot be added counts as broken."""
    app = typer.Typer(
        name="qupersync",
        help="Keeps PostgreSQL tables equal to Amazon Redshift.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    _add_own(app)
    whole: list[Plugin] = []
    broken = list(plugins.broken)
    for plugin in plugins.whole:
        try:
            plugin.register(app)
        except Exception as error:  # noqa: BLE001  # one service must not take the command from the others
            broken.append(BrokenPlugin(name=plugin.name, reason=describe(error)))
        else:
            whole.append(plugin)
    _add_options(app, replace(plugins, whole=tuple(whole), broken=tuple(broken)))
    return app


def _add_options(app: typer.Typer, plugins: Plugins) -> None:
    @app.callback()
    def options(
        context: typer.Context,
        config: Config = None,
        debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and logs.")] = False,
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        del version
        logs.configure("debug" if debug or debugging() else "error")
        context.obj = Invocation(config=config, plugins=plugins)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_plain(console(), f"qupersync {version('qupersync-shared')}")
        raise typer.Exit(EXIT_OK)


def _add_own(app: typer.Typer) -> None:
    app.command("init")(_init)
    app.command("check")(_check)
    app.command("status")(_status)
    config = typer.Typer(no_args_is_help=True, help="Look at the configuration.", rich_markup_mode=None)
    config.command("show")(_show)
    app.add_typer(config, name="config")
    quarantine.add_commands(app)
    events.register(app)
    groups.register(app)
    sample.register(app)


def _init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("qupersync.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented configuration to begin with."""
    starting.write(path, force=force)
    print_plain(console(), f"wrote {path}: mend it, then run `qupersync check`")


def _check(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[PIPELINES]...", help="Only these; else all.")] = None,
    only: PipelinesOption = None,
    full: Annotated[bool, typer.Option("--full", help="Look at all rows, however long it takes.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Look at everything a sync needs, with a cure for what is missing."""
    try:
        found = checking.narrowed(configuration(context, config), [*(names or ()), *(only or ())])
    except ConfigurationError as error:
        if as_json:
            row = CheckRow(
                area="configuration",
                subject=error.place,
                verdict=Verdict.FAILED,
                message=error.message,
                cure=error.cure,
            )
            print_json(checking.as_document([row]))
            raise typer.Exit(EXIT_USAGE) from None
        raise
    rows = run(checking.check(found, invocation(context).plugins, full=full))
    if as_json:
        print_json(checking.as_document(rows))
    else:
        checking.show(rows)
    raise typer.Exit(EXIT_OK if checking.passed(rows) else EXIT_WRONG)


def _status(
    context: typer.Context,
    config: Config = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until interrupted.")] = False,
) -> None:
    """Show where every pipeline stands, and the reason when something is wrong."""
    try:
        found = configuration(context, config)
    except ConfigurationError as error:
        if as_json:
            print_json(status_command.misconfigured(error))
            raise typer.Exit(EXIT_USAGE) from None
        raise
    plugins = invocation(context).plugins
    if watch:
        status_command.watch(found, plugins, as_json=as_json)
        return
    document = run(status_command.status(found, plugins))
    if as_json:
        print_json(document)
    else:
        status_command.show(document)
    raise typer.Exit(EXIT_OK if document["reason"] is None else EXIT_WRONG)


def _show(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Print the configuration as it is in force, with defaults and environment; secrets masked."""
    showing.show(configuration(context, config), as_json=as_json)
