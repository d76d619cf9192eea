"""docs/cli.md and the help texts say what the command does: names, options, exit codes, examples that can be typed."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from qupersync_shared.runtime.cli.app import EPILOG, all_commands, build_app
from qupersync_shared.runtime.cli.command_group import built
from qupersync_shared.runtime.cli.own_commands import ORDER
from qupersync_shared.runtime.plugins import Command, discover

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
DESIGNED = (
    *("init", "check", "config", "status", "trigger", "pause", "resume", "reset", "history", "events", "groups"),
    *("rebuild", "replay", "dead-letters", "quarantine", "verify", "sample", "up", "demo"),
)
MEANINGS = {
    "--config": "-c",
    "--pipeline": "-p",
    "--group": "-g",
    "--limit": "-n",
    "--rows": "-n",  # how many, too, where a command has it instead of --limit
    "--all": "-a",
    "--yes": "-y",
    "--reason": "-r",
    "--output": "-o",
    "--follow": "-f",
    "--help": "-h",
}
WITHOUT_JSON = {"init", "demo", "completion"}
WITHOUT_CONFIGURATION = {"init", "demo", "completion"}


def leaves(commands: Any, before: str = "") -> Iterator[tuple[str, Command]]:
    """Every command that does something, by its whole name."""
    for command in commands:
        name = f"{before}{command.name}"
        if command.commands:
            yield from leaves(command.commands, f"{name} ")
        else:
            yield name, command


COMMANDS = dict(leaves(all_commands(discover())))
EXAMPLES = [example for command in COMMANDS.values() for example in command.examples]


def table(heading: str) -> dict[str, str]:
    """The rows of the page's table below this heading."""
    part = PAGE.split(heading, 1)[1]
    body = re.search(r"(?ms)^\|---\|---\|\n(.*?)\n\n", part)
    assert body is not None
    return dict(re.findall(r"(?m)^\| `([^`]+)`[^|]*\| (.*) \|$", body[1]))


def test_the_page_lists_every_command_as_help_does() -> None:
    assert table("# The `qupersync` command") == {name: command.help for name, command in COMMANDS.items()}


def test_the_page_and_the_help_name_the_same_codes_and_variables() -> None:
    assert table("## Exit codes") == dict(re.findall(r"(?m)^  (\d+) +(.*)$", EPILOG))
    assert table("## Environment") == dict(re.findall(r"(?m)^  ([A-Z_…]{5,}) +(.*)$", EPILOG))


def test_every_command_of_the_design_is_there() -> None:
    there = {name.split()[0] for name in COMMANDS}
    assert set(DESIGNED) <= there
    assert there == set(ORDER), "the order names them all, and no others"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_explained(name: str) -> None:
    command = COMMANDS[name]
    made = built(command)
    first = " ".join((made.help or "").split("\n\n")[0].split())
    assert first.startswith(command.help.removesuffix(".")), "the list of commands and the command's own help differ"
    assert command.help.endswith(".")
    assert command.examples
    assert all(example.startswith(f"qupersync {name}") for example in command.examples)
    for parameter in made.params:
        assert parameter.help, f"{parameter.name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_options_mean_the_same_everywhere(name: str) -> None:
    taken: dict[str, str] = {}
    for parameter in built(COMMANDS[name]).params:
        if parameter.param_type_name != "option":
            continue
        long = next(option for option in parameter.opts if option.startswith("--"))
        for short in (option for option in parameter.opts if not option.startswith("--")):
            assert MEANINGS.get(long) == short, f"{short} of {name} is not known to mean {long}"
            taken[long] = short
        assert long not in MEANINGS or long in {*taken, "--rows"}, f"{long} of {name} lacks {MEANINGS[long]}"
    options = {option for parameter in built(COMMANDS[name]).params for option in parameter.opts}
    assert ("--json" in options) == (name not in WITHOUT_JSON)
    assert ("--config" in options) == (name not in WITHOUT_CONFIGURATION)


def parsed(arguments: list[str]) -> None:
    """As the shell would start it, up to where the command would begin to work."""
    command, name = get_command(build_app(discover())), "qupersync"
    context: Any = None
    while True:
        context = command.make_context(name, arguments, parent=context)
        arguments = [*context._protected_args, *context.args]
        if not hasattr(command, "resolve_command"):
            assert not arguments
            return
        name, command, arguments = command.resolve_command(context, arguments)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_typed(example: str) -> None:
    words = shlex.split(re.split(" [|>] ", example, maxsplit=1)[0])
    assert words[0] == "qupersync"
    parsed(words[1:])


@pytest.mark.parametrize("example", re.findall(r"(?m)^(qupersync [^#\n]*)", PAGE))
def test_what_the_page_types_can_be_typed(example: str) -> None:
    parsed(shlex.split(re.split(" [|>] ", example, maxsplit=1)[0])[1:])
