"""`qupersync quarantine`: rows refused at the source or by the target, as people ask for them."""

import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Final

import typer

from qupersync_shared.runtime.cli.confirming import confirm
from qupersync_shared.runtime.cli.guard import EXIT_WRONG
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
from qupersync_shared.runtime.cli.quarantine import (
    Quarantines,
    cells,
    check_choice,
    chosen,
    chosen_words,
    key_shown,
    known,
    listed,
    named,
    no_row,
    parsed,
    print_unread,
    sent_again,
    sides_of,
)
from qupersync_shared.runtime.console import console, print_fields, print_json, print_plain, print_table
from qupersync_shared.runtime.quarantine import QuarantinedRow

LIMIT: Final = 50

RowsArgument = Annotated[list[str] | None, typer.Argument(help="Rows, as `list` names them: target-17.")]


def list_rows(
    context: typer.Context,
    pipeline: PipelinesOption = None,
    resolved: ResolvedOption = False,
    limit: LimitOption = LIMIT,
    after: Annotated[str | None, typer.Option("--after", help="Only what follows this row.")] = None,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List rows that wait in quarantine, at the source and in the target."""
    quarantines = Quarantines(context, config, group)
    found, failures, more = run(listed(quarantines, known(context, config, pipeline), resolved, limit, after))
    if as_json:
        document = [{"row": named(side, row), "side": side.value, **asdict(row)} for side, row in found]
        print_json({"rows": document, "more": more, "reasons": failures})
    else:
        out = console()
        if found:
            columns = ("row", "pipeline", "key", "reason", "times", "last seen", "resolution")
            print_table(out, columns, [cells(side, row) for side, row in found])
        elif not failures:
            print_plain(out, "nothing is in quarantine")
        if more:
            print_plain(out, f"{more} more: --after {named(*found[-1])}, or a greater --limit")
        for failure in failures:
            sys.stderr.write(f"error: {failure}\n")
    if failures:
        raise typer.Exit(EXIT_WRONG)


def show_row(
    context: typer.Context,
    row: Annotated[str, typer.Argument(help="The row, as `list` names it: target-17.")],
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one row with its content and everything that is known of it."""
    side, id_ = parsed(row)

    async def look() -> Sequence[QuarantinedRow]:
        async with Quarantines(context, config, group).opened(side) as (store,):
            return await store.show([id_])

    rows = run(look())
    if not rows:
        raise no_row(row)
    document = {"row": row, "side": side.value, **asdict(rows[0]), "key": key_shown(rows[0])}
    if as_json:
        print_json({**document, "key": rows[0].key})
        return
    more = document.pop("more")
    print_fields(console(), {**document, **more})


def redrive_rows(
    context: typer.Context,
    row: RowsArgument = None,
    pipeline: PipelinesOption = None,
    everything: EveryOption = False,
    wait: WaitOption = None,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have rows read again from the source: what loads, or is gone there, leaves the quarantine.

    With --wait the exit code is 1 where not all of them have left it by then.
    """
    names = known(context, config, pipeline)
    check_choice(row, names, everything=everything)
    asked, marks, unread = run(sent_again(Quarantines(context, config, group), row or [], names, wait))
    ended = sum(mark is None or mark[0] is not None for mark in marks.values())
    refused = sum(mark is not None and mark[0] is None and mark[1] for mark in marks.values())
    reasons = [unread[name] for name, mark in marks.items() if mark == (None, 0) and name in unread]
    if as_json:
        outcome = {"left": ended, "refused_again": refused, "waiting": asked - ended - refused}
        told = sorted({one.reason for one in reasons})
        print_json({"asked": asked, **(outcome if wait is not None else {}), "reasons": told})
    else:
        print_plain(console(), f"asked the source for {asked} rows again")
        if wait is not None:
            waiting = asked - ended - refused
            print_plain(console(), f"{ended} left the quarantine, {refused} were refused again, {waiting} wait")
        print_unread(reasons)
    if wait is not None and ended < asked:
        raise typer.Exit(EXIT_WRONG)


def discard_rows(
    context: typer.Context,
    row: RowsArgument = None,
    pipeline: PipelinesOption = None,
    everything: EveryOption = False,
    yes: YesOption = False,
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the wait of rows without loading them: the target keeps what it has of them, until they change."""
    names = known(context, config, pipeline)
    check_choice(row, names, everything=everything)
    confirm(f"Give up {chosen_words(row, names)} in quarantine, without loading them?", yes=yes)

    async def discard() -> int:
        count = 0
        async with (
            Quarantines(context, config, group).opened(*sides_of(row or [])) as stores,
            aclosing(chosen(stores, row or [], names)) as parts,
        ):
            async for store, ids in parts:
                count += len(await store.discard(ids))
        return count

    discarded = run(discard())
    if as_json:
        print_json({"discarded": discarded})
    else:
        print_plain(console(), f"discarded {discarded} rows")
