"""`qupersync dead-letters`: authentic events that could not be decoded or applied."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import unquote

import typer

from qupersync_loader.application.content import open_event
from qupersync_loader.application.redriving import redrive_of
from qupersync_loader.infrastructure.postgres.parked import Letter
from qupersync_loader.interface.parking import Parking, Redrive, opened
from qupersync_loader.interface.quarantine import number
from qupersync_shared.contracts.commands import SnapshotRequest
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.runtime.cli.guard import EXIT_WRONG
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
    YesOption,
)
from qupersync_shared.runtime.cli.probing import run
from qupersync_shared.runtime.cli.quarantine import check_choice, chosen_words, known, print_unread, shortened
from qupersync_shared.runtime.cli.waiting import Deadline, Marks, until_changed
from qupersync_shared.runtime.console import console, print_fields, print_json, print_plain, print_table
from qupersync_shared.runtime.quarantine import Unread
from qupersync_shared.runtime.settings import Configuration

LIMIT: Final = 50
_AT_ONCE: Final = 100

Answer = TypeVar("Answer")
LettersArgument = Annotated[list[str] | None, typer.Argument(help="Dead letters by the numbers that `list` shows.")]


def add_commands(app: typer.Typer) -> None:
    """Adds `dead-letters` with its sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="Events that could not be applied, and wait.", rich_markup_mode=None)
    group.command("list")(_list)
    group.command("show")(_show)
    group.command("redrive")(_redrive)
    group.command("discard")(_discard)
    app.add_typer(group, name="dead-letters")


# ------------------------------------------------------------------------------------------------------------- commands


def _list(
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
    names, begin = known(context, config, pipeline), number(after) if after is not None else 0

    async def listed(parking: Parking) -> tuple[list[Letter], int]:
        return await parking.content.letters(pipelines=names, resolved=resolved, after=begin, limit=limit)

    letters, more = run(_with(configuration(context, config), group, listed))
    if as_json:
        print_json({"letters": [asdict(letter) for letter in letters], "more": more})
        return
    out = console()
    if not letters:
        print_plain(out, "there is no dead letter")
        return
    columns = ("letter", "pipeline", "lane", "log", "sequence", "mode", "reason", "parked", "resolution")
    print_table(out, columns, [_cells(letter) for letter in letters])
    if more:
        print_plain(out, f"{more} more: --after {letters[-1].id}, or a greater --limit")


def _show(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(help="The number that `list` shows.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the payload, as it came, here.")] = None,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: its headers, why it was parked, and what its payload is now."""
    wanted = number(letter)

    async def look(parking: Parking) -> tuple[Letter, bytes]:
        found = await parking.content.named_letters([wanted])
        if not found:
            raise QupersyncError(f"there is no dead letter {wanted}", cure="`list --all` shows those there are")
        return found[0], await parking.content.payload(wanted)

    found, payload = run(_with(configuration(context, config), group, look))
    headers = {name: unquote(value) for name, value in found.headers.items()}
    document = {**asdict(found), "headers": headers, "payload": _verdict(found, payload)}
    if output is not None:
        _write(output, payload)
    if as_json:
        print_json(document)
        return
    print_fields(console(), document)
    if output is not None:
        print_plain(console(), f"wrote {len(payload)} bytes to {output}")


def _redrive(
    context: typer.Context,
    letter: LettersArgument = None,
    pipeline: PipelinesOption = None,
    everything: EveryOption = False,
    wait: WaitOption = None,
    group: GroupOption = None,
    config: ConfigOption = None,
) -> None:
    """Have the source read again for what dead letters said: they are made good when that is applied."""
    names = known(context, config, pipeline)
    check_choice(letter, names, everything=everything)

    async def send(parking: Parking) -> tuple[int, int, list[Unread]]:
        asked: dict[str, object] = {}
        snapshots: set[str] = set()
        redrive, deadline = Redrive(parking.commands), Deadline(wait)
        async with aclosing(_chosen(parking, letter or [], names)) as chosen:
            async for one in chosen:
                await _send(parking, redrive, one, snapshots, deadline.left)
                asked[str(one.id)] = None
        for name in sorted(snapshots):
            print_plain(console(), f"{name}: what was lost cannot be told from the rest, a snapshot was asked for")
        if wait is None or not asked:
            return len(asked), 0, []

        async def look() -> Marks:
            letters = await parking.content.named_letters([int(one) for one in asked])
            unread = await redrive.unread()  # nothing will come of these: they are waited for no longer
            return {str(one.id): one.resolution or unread.get(str(one.id)) for one in letters}

        marks = await until_changed(look, asked, seconds=deadline.left or 0, what=f"{len(asked)} dead letters")
        unread = [mark for mark in marks.values() if isinstance(mark, Unread)]
        return len(asked), len(unread) + sum(one in marks and marks[one] is None for one in asked), unread

    asked, left, unread = run(_with(configuration(context, config), group, send))
    print_plain(console(), f"asked the source again for what {asked} dead letters said")
    if wait is not None:
        print_plain(console(), f"{asked - left} were made good, {left} wait")
    print_unread(unread)
    if left:
        raise typer.Exit(EXIT_WRONG)


def _discard(
    context: typer.Context,
    letter: LettersArgument = None,
    pipeline: PipelinesOption = None,
    everything: EveryOption = False,
    yes: YesOption = False,
    group: GroupOption = None,
    config: ConfigOption = None,
) -> None:
    """Give dead letters up: what they said is missing in the target until a snapshot says it again."""
    names = known(context, config, pipeline)
    check_choice(letter, names, everything=everything)
    if not yes:
        typer.confirm(f"Give up {chosen_words(letter, names)} of the dead letters, unapplied?", abort=True)

    async def discard(parking: Parking) -> int:
        count = 0
        async with aclosing(_chosen(parking, letter or [], names)) as chosen:
            async for one in chosen:
                count += len(await parking.content.discard_letters([one.id]))
        return count

    print_plain(console(), f"discarded {run(_with(configuration(context, config), group, discard))} dead letters")


# ---------------------------------------------------------------------------------------------------------------- doing


async def _with(settings: Configuration, group: str | None, work: Callable[[Parking], Awaitable[Answer]]) -> Answer:
    async with opened(settings, group) as parking:
        return await work(parking)


async def _chosen(parking: Parking, names: Sequence[str], pipelines: Sequence[str]) -> AsyncGenerator[Letter, None]:
    """The letters named, else all of these pipelines (none named: of all), that wait."""
    if names:
        found = await parking.content.named_letters([number(name) for name in names])
        missing = {number(name) for name in names} - {letter.id for letter in found}
        if missing:
            raise QupersyncError(f"there is no dead letter {min(missing)}", cure="`list --all` shows those there are")
        for letter in found:
            if letter.resolution is None:
                yield letter
        return
    after = 0
    while True:
        found, _ = await parking.content.letters(pipelines=pipelines, resolved=False, after=after, limit=_AT_ONCE)
        if not found:
            return
        after = found[-1].id
        for letter in found:
            yield letter


async def _send(parking: Parking, redrive: Redrive, letter: Letter, snapshots: set[str], seconds: float | None) -> None:
    """Asks for the letter's part of the source, or once per pipeline for a snapshot."""
    envelope = BatchEnvelope.from_headers(dict(letter.headers))
    payload = await parking.content.payload(letter.id)
    request = redrive_of(envelope, payload, group=parking.group, keeps=letter.pipeline in parking.keeping)
    if request is not None:
        await redrive.reread(request, [str(letter.id)], seconds=seconds, whole=True)
    elif letter.pipeline not in snapshots:
        reason = f"an operator redrives dead letter {letter.id}, whose part of the source cannot be told"
        wish = SnapshotRequest(group=parking.group, pipeline=letter.pipeline, log=letter.log, reason=reason)
        await redrive.snapshot(wish, seconds=seconds)
        snapshots.add(letter.pipeline)


def _verdict(letter: Letter, payload: bytes) -> str:
    """Whether the payload can be decoded by this version, and why not."""
    try:
        batch = open_event(BatchEnvelope.from_headers(dict(letter.headers)), payload)
    except QupersyncError as error:
        return f"{len(payload)} bytes that cannot be decoded: {error}"
    return f"{len(payload)} bytes, {batch.count} rows of {', '.join(batch.schema.names)}"


def _write(path: Path, payload: bytes) -> None:
    try:
        path.write_bytes(payload)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written: {error.strerror or error}", place=str(path), cure="Name a path in a directory of yours"
        ) from None


def _cells(letter: Letter) -> tuple[str, ...]:
    return (
        str(letter.id),
        letter.pipeline,
        f"{letter.lane} of {letter.lanes}",
        str(letter.log),
        str(letter.sequence),
        unquote(letter.headers.get("ce-mode", "-")),
        shortened(letter.reason),
        letter.parked_at.isoformat(timespec="seconds"),
        letter.resolution or "-",
    )
