"""Authentic events that could not be decoded or applied: listed, sent again, given up."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote

from qupersync_loader.application.parked_content import verdict
from qupersync_loader.application.redriving import redrive_of
from qupersync_loader.infrastructure.postgres.parked import Letter
from qupersync_loader.interface.parking import Parking, Redrive, opened
from qupersync_loader.interface.quarantine import number
from qupersync_shared.contracts.commands import SnapshotRequest
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.runtime.cli.guard import EXIT_OK, EXIT_WRONG
from qupersync_shared.runtime.cli.probing import run
from qupersync_shared.runtime.cli.quarantine import print_unread, shortened
from qupersync_shared.runtime.cli.waiting import Deadline, Marks, until_changed
from qupersync_shared.runtime.console import console, print_fields, print_json, print_plain, print_table
from qupersync_shared.runtime.quarantine import Unread
from qupersync_shared.runtime.settings import Configuration

_AT_ONCE: Final = 100

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which letters: by their numbers, else all of these pipelines (none named: of all)."""

    settings: Configuration
    group: str | None
    letters: Sequence[str]
    pipelines: Sequence[str]


def list_letters(choice: Choice, *, resolved: bool, limit: int, after: str | None, as_json: bool) -> None:
    """Prints the letters of the pipelines."""
    begin = number(after) if after is not None else 0

    async def listed(parking: Parking) -> tuple[list[Letter], int]:
        return await parking.content.letters(pipelines=choice.pipelines, resolved=resolved, after=begin, limit=limit)

    letters, more = run(_with(choice, listed))
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


def show_letter(choice: Choice, *, output: Path | None, as_json: bool) -> None:
    """Prints the one letter that is chosen, and writes its payload where that is asked for."""
    wanted = number(choice.letters[0])

    async def look(parking: Parking) -> tuple[Letter, bytes]:
        found = await parking.content.named_letters([wanted])
        if not found:
            raise QupersyncError(f"there is no dead letter {wanted}", cure="`list --all` shows those there are")
        return found[0], await parking.content.payload(wanted)

    found, payload = run(_with(choice, look))
    headers = {name: unquote(value) for name, value in found.headers.items()}
    document = {**asdict(found), "headers": headers, "payload": verdict(found.headers, payload)}
    if output is not None:
        _write(output, payload)
    if as_json:
        print_json(document)
        return
    print_fields(console(), document)
    if output is not None:
        print_plain(console(), f"wrote {len(payload)} bytes to {output}")


def redrive_letters(choice: Choice, *, wait: float | None, as_json: bool) -> int:
    """Asks the source again, and waits for what comes of it if that is asked for; the exit code."""
    snapshots: set[str] = set()

    async def send(parking: Parking) -> tuple[int, int, list[Unread]]:
        asked: dict[str, object] = {}
        redrive, deadline = Redrive(parking.commands), Deadline(wait)
        async with aclosing(_chosen(parking, choice)) as chosen:
            async for one in chosen:
                await _send(parking, redrive, one, snapshots, deadline.left)
                asked[str(one.id)] = None
        if wait is None or not asked:
            return len(asked), 0, []

        async def look() -> Marks:
            letters = await parking.content.named_letters([int(one) for one in asked])
            unread = await redrive.unread()  # nothing will come of these: they are waited for no longer
            return {str(one.id): one.resolution or unread.get(str(one.id)) for one in letters}

        marks = await until_changed(look, asked, seconds=deadline.left or 0, what=f"{len(asked)} dead letters")
        unread = [mark for mark in marks.values() if isinstance(mark, Unread)]
        return len(asked), len(unread) + sum(one in marks and marks[one] is None for one in asked), unread

    asked, left, unread = run(_with(choice, send))
    if as_json:
        outcome = {"made_good": asked - left, "waiting": left} if wait is not None else {}
        reasons = sorted({one.reason for one in unread})
        print_json({"asked": asked, "snapshots": sorted(snapshots), **outcome, "reasons": reasons})
    else:
        for name in sorted(snapshots):
            print_plain(console(), f"{name}: what was lost cannot be told from the rest, a snapshot was asked for")
        print_plain(console(), f"asked the source again for what {asked} dead letters said")
        if wait is not None:
            print_plain(console(), f"{asked - left} were made good, {left} wait")
        print_unread(unread)
    return EXIT_WRONG if left else EXIT_OK


def discard_letters(choice: Choice, *, by: str, as_json: bool) -> None:
    """Gives the letters up, and says how many there were."""

    async def discard(parking: Parking) -> int:
        count = 0
        async with aclosing(_chosen(parking, choice)) as chosen:
            async for one in chosen:
                count += len(await parking.content.discard_letters([one.id], by=by))
        return count

    discarded = run(_with(choice, discard))
    if as_json:
        print_json({"discarded": discarded})
    else:
        print_plain(console(), f"discarded {discarded} dead letters")


# ---------------------------------------------------------------------------------------------------------------- doing


async def _with(choice: Choice, work: Callable[[Parking], Awaitable[Answer]]) -> Answer:
    async with opened(choice.settings, choice.group) as parking:
        return await work(parking)


async def _chosen(parking: Parking, choice: Choice) -> AsyncGenerator[Letter, None]:
    """The letters of the choice that wait."""
    if choice.letters:
        found = await parking.content.named_letters([number(name) for name in choice.letters])
        missing = {number(name) for name in choice.letters} - {letter.id for letter in found}
        if missing:
            raise QupersyncError(f"there is no dead letter {min(missing)}", cure="`list --all` shows those there are")
        for letter in found:
            if letter.resolution is None:
                yield letter
        return
    after = 0
    while True:
        found, _ = await parking.content.letters(
            pipelines=choice.pipelines, resolved=False, after=after, limit=_AT_ONCE
        )
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
