"""`qupersync dead-letters`, as it is called."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qupersync_shared.runtime.cli.confirming import confirm
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import (
    ConfigOption,
    EveryOption,
    GroupOption,
    JsonOption,
    LimitOption,
    PipelinesOption,
    ResolvedOption,
    WaitOption,
    WhoOption,
    YesOption,
)

if TYPE_CHECKING:
    from qupersync_loader.interface.dead_letters import Choice

LIMIT: Final = 50

LettersArgument = Annotated[list[str] | None, typer.Argument(help="Dead letters by the numbers that `list` shows.")]


def list_letters(
    context: typer.Context,
    pipeline: PipelinesOption = None,
    resolved: ResolvedOption = False,
    limit: LimitOption = LIMIT,
    after: Annotated[str | None, typer.Option("--after", help="Only what follows this letter.")] = None,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List events that wait as dead letters."""
    from qupersync_loader.interface import dead_letters

    choice = _choice(context, config, group, [], pipeline)
    dead_letters.list_letters(choice, resolved=resolved, limit=limit, after=after, as_json=as_json)


def show_letter(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(help="The number that `list` shows.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the payload, as it came, here.")] = None,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: its headers, why it was parked, and what its payload is now."""
    from qupersync_loader.interface import dead_letters

    dead_letters.show_letter(_choice(context, config, group, [letter], None), output=output, as_json=as_json)


def redrive_letters(
    context: typer.Context,
    letter: LettersArgument = None,
    pipeline: PipelinesOption = None,
    everything: EveryOption = False,
    wait: WaitOption = None,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the source read again for what dead letters said: they are made good when that is applied.

    With --wait the exit code is 1 where not all of them are made good by then.
    """
    from qupersync_loader.interface import dead_letters
    from qupersync_shared.runtime.cli.quarantine import check_choice

    choice = _choice(context, config, group, letter, pipeline)
    check_choice(choice.letters, choice.pipelines, everything=everything)
    raise typer.Exit(dead_letters.redrive_letters(choice, wait=wait, as_json=as_json))


def discard_letters(
    context: typer.Context,
    letter: LettersArgument = None,
    pipeline: PipelinesOption = None,
    everything: EveryOption = False,
    who: WhoOption = None,
    yes: YesOption = False,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give dead letters up: what they said is missing in the target until a snapshot says it again."""
    from qupersync_loader.interface import dead_letters
    from qupersync_shared.runtime.cli.quarantine import check_choice, chosen_words
    from qupersync_shared.runtime.records import whoever

    choice = _choice(context, config, group, letter, pipeline)
    check_choice(choice.letters, choice.pipelines, everything=everything)
    confirm(f"Give up {chosen_words(choice.letters, choice.pipelines)} of the dead letters, unapplied?", yes=yes)
    dead_letters.discard_letters(choice, by=whoever(who), as_json=as_json)


def _choice(
    context: typer.Context,
    config: Path | None,
    group: str | None,
    letters: list[str] | None,
    pipelines: list[str] | None,
) -> "Choice":
    from qupersync_loader.interface.dead_letters import Choice
    from qupersync_shared.runtime.cli.quarantine import known

    return Choice(
        settings=configuration(context, config),
        group=group,
        letters=letters or (),
        pipelines=known(context, config, pipelines),
    )
