"""Sub-commands that are named and explained before their bodies are imported: `--help` must not cost a second."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Final

import typer
from typer.core import CompletionItem, TyperGroup  # type: ignore[attr-defined]  # the item has no public place
from typer.main import get_command

from qupersync_shared.runtime.plugins import Command

HELP_NAMES: Final = ("-h", "--help")


class CommandGroup(TyperGroup):
    """A group of `Command`s: lists and completes them by what is written of them, and imports the one that is used."""

    known: ClassVar[dict[str, Command]] = {}

    def list_commands(self, _ctx: Any) -> list[str]:
        """Their names, in the order in which they were written down."""
        return list(self.known)

    def get_command(self, _ctx: Any, name: str) -> Any:
        """The command with this name, its body imported; None if there is none."""
        command = self.known.get(name)
        return None if command is None else built(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is named; a usage error that suggests the nearest name for one that there is not."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in self.known and not ctx.resilient_parsing:
            near = get_close_matches(name, self.known, n=1, cutoff=0.5)
            cure = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(self.known)}."
            ctx.fail(f"No such command {name!r}. {cure}")
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """The list of commands, as `--help` prints it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.known.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        """The names that begin so, or the options."""
        if incomplete and not incomplete[0].isalnum():
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=command.help)
            for name, command in self.known.items()
            if name.startswith(incomplete)
        ]


def group_of(commands: Iterable[Command]) -> type[CommandGroup]:
    """The class of a group of these commands; ValueError for two of the same name."""
    known: dict[str, Command] = {}
    for command in commands:
        if command.name in known:
            raise ValueError(f"there are two commands named {command.name}")
        known[command.name] = command
    return type("Commands", (CommandGroup,), {"known": known})


def bare_app(**more: Any) -> typer.Typer:
    """A typer app as all of this command's are: plain help, no completion options, no traceback boxes."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": list(HELP_NAMES)},
        **more,
    )


@cache
def built(command: Command) -> Any:
    """The command as typer runs it, its body imported."""
    if command.commands:
        app = bare_app(name=command.name, help=command.help, no_args_is_help=True, cls=group_of(command.commands))
        app.callback()(_nothing)
    else:
        app = bare_app()
        app.command(command.name, epilog=examples_shown(command.examples))(_body(command.body))
    made = get_command(app)
    made.name = command.name
    return made


def examples_shown(examples: Iterable[str]) -> str | None:
    """Examples as an epilog, a line each, never rewrapped; None where there are none."""
    lines = [f"  {example}" for example in examples]
    return "\n".join(["\b", "Examples:", *lines]) if lines else None


def _body(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _nothing() -> None:
    """A group does nothing by itself."""
