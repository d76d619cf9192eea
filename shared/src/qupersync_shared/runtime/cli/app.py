"""The typer app: global options, own sub-commands, and those of the installed plugins."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Annotated, Final, NoReturn

import typer

from qupersync_shared.runtime import logs
from qupersync_shared.runtime.cli.command_group import bare_app, group_of
from qupersync_shared.runtime.cli.completion import PROGRAM, answer_shell
from qupersync_shared.runtime.cli.guard import EXIT_OK, called, debugging, guarded
from qupersync_shared.runtime.cli.invocation import Invocation
from qupersync_shared.runtime.cli.options import ConfigOption
from qupersync_shared.runtime.cli.own_commands import COMMANDS, ORDER
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.plugins import BrokenPlugin, Command, Plugin, Plugins, discover

# Click rewraps a paragraph unless it begins with this.
EPILOG: Final = """\b
Exit codes:
  0    all is well: what was asked for was done
  1    something is wrong: what was looked at, or what was asked for could not be done
  2    nothing was done: bad usage, a bad configuration, or somebody must be asked and cannot be
  130  interrupted by Ctrl-C

\b
Environment:
  QUPERSYNC_CONFIG   the configuration file, where --config names none
  QUPERSYNC_DEBUG    1 shows tracebacks and logs, as --debug does
  QUPERSYNC_…        any value of the configuration, such as QUPERSYNC_TARGET__DSN
  NO_COLOR           no colours on a terminal; piped output never has any

`qupersync COMMAND --help` explains a command and shows examples. `qupersync completion --help` says how to have
commands, options and pipelines completed by the shell.
"""


def main() -> NoReturn:
    """The entry point `qupersync`."""
    answer_shell(lambda: build_app(discover()))
    guarded(lambda: called(build_app(discover()), _debug_first(sys.argv[1:]), name=PROGRAM))


def _debug_first(arguments: list[str]) -> list[str]:
    """`--debug` may stand anywhere: people add it at the end of what has just failed."""
    own, mark, rest = (arguments, [], [])
    if "--" in arguments:
        at = arguments.index("--")
        own, mark, rest = arguments[:at], ["--"], arguments[at + 1 :]
    without = [argument for argument in own if argument != "--debug"]
    return [*(["--debug"] if len(without) < len(own) else []), *without, *mark, *rest]


def build_app(plugins: Plugins) -> typer.Typer:
    """The command with these plugins; one whose sub-commands bear others' names counts as broken."""
    commands: list[Command] = list(COMMANDS)
    whole: list[Plugin] = []
    broken = list(plugins.broken)
    for plugin in plugins.whole:
        try:
            group_of([*commands, *plugin.commands])
        except Exception as error:  # noqa: BLE001  # one service must not take the command from the others
            broken.append(BrokenPlugin(name=plugin.name, reason=describe(error)))
        else:
            whole.append(plugin)
            commands += plugin.commands
    app = bare_app(
        name=PROGRAM,
        help="Keeps PostgreSQL tables equal to Amazon Redshift.",
        epilog=EPILOG,
        no_args_is_help=True,
        cls=group_of(in_order(commands)),
    )
    _add_options(app, replace(plugins, whole=tuple(whole), broken=tuple(broken)))
    return app


def all_commands(plugins: Plugins) -> list[Command]:
    """Every command, own and contributed, in the order in which they are listed."""
    return in_order([*COMMANDS, *(command for plugin in plugins.whole for command in plugin.commands)])


def in_order(commands: Sequence[Command]) -> list[Command]:
    """As people meet them: the order of `ORDER`, then those that it does not know."""
    places = {name: place for place, name in enumerate(ORDER)}
    return sorted(commands, key=lambda command: places.get(command.name, len(places)))


def _add_options(app: typer.Typer, plugins: Plugins) -> None:
    @app.callback()
    def options(
        context: typer.Context,
        config: ConfigOption = None,
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
        typer.echo(f"qupersync {version('qupersync-shared')}")
        raise typer.Exit(EXIT_OK)
