"""`qupersync quarantine`: rows refused at the source or by the target, over what the installed services keep."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.kernel.positions import decode_key
from qupersync_shared.runtime.cli.guard import EXIT_WRONG
from qupersync_shared.runtime.cli.invocation import configuration, invocation
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
from qupersync_shared.runtime.cli.waiting import Deadline, Marks, until_changed
from qupersync_shared.runtime.console import console, print_fields, print_json, print_plain, print_table
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.plugins import Plugin
from qupersync_shared.runtime.quarantine import (
    OpenQuarantine,
    QuarantinedRow,
    QuarantinePage,
    QuarantineStore,
    Side,
    Unread,
)
from qupersync_shared.runtime.settings import Configuration

__all__ = ["OpenQuarantine", "QuarantinePage", "QuarantineStore", "QuarantinedRow", "Side"]

LIMIT: Final = 50
_AT_ONCE: Final = 500
_CELL: Final = 100
_REASONS: Final = 5

RowsArgument = Annotated[list[str] | None, typer.Argument(help="Rows, as `list` names them: target-17.")]


def add_commands(app: typer.Typer) -> None:
    """Adds `quarantine` with its sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="Rows that were refused, and wait.", rich_markup_mode=None)
    group.command("list")(_list)
    group.command("show")(_show)
    group.command("redrive")(_redrive)
    group.command("discard")(_discard)
    app.add_typer(group, name="quarantine")


# ------------------------------------------------------------------------------------------------------------- commands


def _list(
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
    quarantines = _Quarantines(context, config, group)
    found, failures, more = run(_listed(quarantines, known(context, config, pipeline), resolved, limit, after))
    if as_json:
        document = [{"row": _name(side, row), "side": side.value, **asdict(row)} for side, row in found]
        print_json({"rows": document, "more": more, "reasons": failures})
    else:
        out = console()
        if found:
            columns = ("row", "pipeline", "key", "reason", "times", "last seen", "resolution")
            print_table(out, columns, [_cells(side, row) for side, row in found])
        elif not failures:
            print_plain(out, "nothing is in quarantine")
        if more:
            print_plain(out, f"{more} more: --after {_name(*found[-1])}, or a greater --limit")
        for failure in failures:
            sys.stderr.write(f"error: {failure}\n")
    if failures:
        raise typer.Exit(EXIT_WRONG)


def _show(
    context: typer.Context,
    row: Annotated[str, typer.Argument(help="The row, as `list` names it: target-17.")],
    group: GroupOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one row with its content and everything that is known of it."""
    side, id_ = _parsed(row)

    async def look() -> Sequence[QuarantinedRow]:
        async with _Quarantines(context, config, group).opened(side) as (store,):
            return await store.show([id_])

    rows = run(look())
    if not rows:
        raise _no_row(row)
    document = {"row": row, "side": side.value, **asdict(rows[0]), "key": _key(rows[0])}
    if as_json:
        print_json({**document, "key": rows[0].key})
        return
    more = document.pop("more")
    print_fields(console(), {**document, **more})


def _redrive(
    context: typer.Context,
    row: RowsArgument = None,
    pipeline: PipelinesOption = None,
    everything: EveryOption = False,
    wait: WaitOption = None,
    group: GroupOption = None,
    config: ConfigOption = None,
) -> None:
    """Have rows read again from the source: what loads, or is gone there, leaves the quarantine."""
    names = known(context, config, pipeline)
    check_choice(row, names, everything=everything)
    asked, marks, unread = run(_sent_again(_Quarantines(context, config, group), row or [], names, wait))
    print_plain(console(), f"asked the source for {asked} rows again")
    if wait is None:
        return
    ended = sum(mark is None or mark[0] is not None for mark in marks.values())
    refused = sum(mark is not None and mark[0] is None and mark[1] for mark in marks.values())
    print_plain(console(), f"{ended} left the quarantine, {refused} were refused again, {asked - ended - refused} wait")
    print_unread([unread[name] for name, mark in marks.items() if mark == (None, 0) and name in unread])
    if ended < asked:
        raise typer.Exit(EXIT_WRONG)


def _discard(
    context: typer.Context,
    row: RowsArgument = None,
    pipeline: PipelinesOption = None,
    everything: EveryOption = False,
    yes: YesOption = False,
    group: GroupOption = None,
    config: ConfigOption = None,
) -> None:
    """End the wait of rows without loading them: the target keeps what it has of them, until they change."""
    names = known(context, config, pipeline)
    check_choice(row, names, everything=everything)
    if not yes:
        typer.confirm(f"Give up {chosen_words(row, names)} in quarantine, without loading them?", abort=True)

    async def discard() -> int:
        count = 0
        async with (
            _Quarantines(context, config, group).opened(*_sides(row or [])) as stores,
            aclosing(_chosen(stores, row or [], names)) as chosen,
        ):
            async for store, ids in chosen:
                count += len(await store.discard(ids))
        return count

    print_plain(console(), f"discarded {run(discard())} rows")


# --------------------------------------------------------------------------------------------------------------- stores


class _Quarantines:
    """The quarantines of the installed services, opened when they are needed."""

    def __init__(self, context: typer.Context, config: Any, group: str | None) -> None:
        self._configuration: Configuration = configuration(context, config)
        self._group = group
        self._plugins: list[Plugin] = [p for p in invocation(context).plugins.whole if p.quarantine is not None]

    @asynccontextmanager
    async def opened(self, *sides: Side) -> AsyncIterator[list[QuarantineStore]]:
        """The stores of these sides, or all; an error if one that is named is kept by no installed service."""
        async with AsyncExitStack() as stack:
            stores: dict[Side, QuarantineStore] = {}
            left_out: list[str] = []
            for plugin in self._plugins:
                if plugin.quarantine is not None:
                    try:
                        store = await stack.enter_async_context(plugin.quarantine(self._configuration, self._group))
                    except ConfigurationError as error:  # a host of one service has no sections for the other
                        left_out.append(f"{plugin.name} ({describe(error)})")
                    else:
                        stores[store.side] = store
            for side in sides or () if stores else (Side.TARGET,):
                if side not in stores:
                    raise QupersyncError(
                        f"no rows of the {side} can be reached from here: {'; '.join(left_out) or 'not installed'}",
                        cure="Run it where that service is installed and configured",
                    )
            if left_out and not sides:
                sys.stderr.write(f"left out: {'; '.join(left_out)}\n")
            yield [stores[side] for side in sorted(sides or stores)]


async def _listed(
    quarantines: _Quarantines, pipelines: Sequence[str], resolved: bool, limit: int, after: str | None
) -> tuple[list[tuple[Side, QuarantinedRow]], list[str], int]:
    """Rows of one side after the other, why a side cannot tell, and how many rows there are behind them."""
    begin = _parsed(after) if after is not None else None
    rows: list[tuple[Side, QuarantinedRow]] = []
    failures: list[str] = []
    more = 0
    async with quarantines.opened() as stores:
        for store in stores:
            if begin is not None and store.side < begin[0]:
                continue
            mark = begin[1] if begin is not None and store.side == begin[0] else None
            try:
                page = await store.list(pipelines=pipelines, resolved=resolved, after=mark, limit=limit - len(rows))
            except QupersyncError as error:
                failures.append(f"{store.side}: {describe(error)}")
                continue
            rows += [(store.side, row) for row in page.rows]
            more += page.more
    return rows, failures, more


def _sides(names: Sequence[str]) -> set[Side]:
    """Where the rows named are kept; nowhere in particular if none is named."""
    return {side for side, _ in map(_parsed, names)}


async def _chosen(
    stores: Sequence[QuarantineStore], names: Sequence[str], pipelines: Sequence[str]
) -> AsyncGenerator[tuple[QuarantineStore, list[str]], None]:
    """The rows named, else all that wait in these pipelines (none named: in all), some hundreds at a time."""
    by_side: dict[Side, list[str]] = {}
    for side, row in map(_parsed, names):
        by_side.setdefault(side, []).append(row)
    for store in stores if names else ():
        await _check_known(store, by_side[store.side])
    for store in stores:
        if names:
            rows = by_side[store.side]
            for start in range(0, len(rows), _AT_ONCE):
                yield store, rows[start : start + _AT_ONCE]
            continue
        after = None
        while True:
            page = await store.list(pipelines=pipelines, resolved=False, after=after, limit=_AT_ONCE)
            if not page.rows:
                break
            after = page.rows[-1].id
            yield store, [row.id for row in page.rows]


async def _check_known(store: QuarantineStore, ids: Sequence[str]) -> None:
    """QupersyncError for a name that no row bears: done with the others, it would look done with it too."""
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        missing = set(part) - {row.id for row in await store.show(part)}
        if missing:
            raise _no_row(f"{store.side}-{min(missing)}")


def _no_row(name: str) -> QupersyncError:
    return QupersyncError(f"there is no row {name}", cure="`qupersync quarantine list --all` names them")


async def _sent_again(
    quarantines: _Quarantines, names: Sequence[str], pipelines: Sequence[str], wait: float | None
) -> tuple[int, dict[str, "_Mark | None"], dict[str, Unread]]:
    """How many rows were asked for again, how each of them stands after the wait, and which cannot be read."""
    before: dict[str, _Mark] = {}
    unread: dict[str, Unread] = {}
    deadline = Deadline(wait)
    async with quarantines.opened(*_sides(names)) as stores:
        async with aclosing(_chosen(stores, names, pipelines)) as chosen:
            async for store, ids in chosen:
                marks = await _marks(store, ids)
                asked = [f"{store.side}-{row}" for row in await store.redrive(ids, seconds=deadline.left)]
                before |= {name: marks[name] for name in asked if name in marks}
        if wait is None or not before:
            return len(before), {}, {}
        after: dict[str, object] = {}

        async def look() -> Marks:
            for store in stores:
                rows = [row for side, row in map(_parsed, before) if side == store.side]
                for start in range(0, len(rows), _AT_ONCE):
                    part = rows[start : start + _AT_ONCE]
                    for row in part:
                        after.pop(f"{store.side}-{row}", None)
                    after.update(await _marks(store, part))
                if rows:
                    unread.update({f"{store.side}-{row}": why for row, why in (await store.unread()).items()})
            # Nothing will come of rows that cannot be read: they are waited for no longer.
            final = {name: why for name, why in unread.items() if why.final and after.get(name) == before.get(name)}
            return {**after, **final}

        await until_changed(look, before, seconds=deadline.left or 0, what=f"{len(before)} rows")
    ended: dict[str, _Mark | None] = {}
    for name, (_, times) in before.items():
        mark = after.get(name)
        ended[name] = (mark[0], mark[1] - times) if isinstance(mark, tuple) else None
    return len(before), ended, unread


_Mark = tuple[str | None, int]
"""A row's resolution and how often it was refused."""


async def _marks(store: QuarantineStore, ids: Sequence[str]) -> dict[str, _Mark]:
    return {_name(store.side, row): (row.resolution, row.times) for row in await store.show(ids)}


# ---------------------------------------------------------------------------------------------------------------- words


def known(context: typer.Context, config: Any, pipelines: Sequence[str] | None) -> list[str]:
    """The pipelines that were named; ConfigurationError for one that the configuration does not have."""
    names = configuration(context, config).pipelines
    for pipeline in pipelines or ():
        if pipeline not in names:
            listed = ", ".join(sorted(names)) or "none"
            raise ConfigurationError(f"there is no pipeline {pipeline!r}", place="--pipeline", cure=f"Known: {listed}")
    return list(pipelines or ())


def check_choice(named: Sequence[str] | None, pipelines: Sequence[str], *, everything: bool) -> None:
    """ConfigurationError unless exactly one way to choose was used: by name, by pipeline, or all."""
    if sum((bool(named), bool(pipelines), everything)) != 1:
        raise ConfigurationError(
            "not one choice: nothing was named, or in two ways at once",
            place="arguments",
            cure="Use one alone: names that `list` shows, -p PIPELINE for all of its, or --all for every pipeline's",
        )


def chosen_words(named: Sequence[str] | None, pipelines: Sequence[str]) -> str:
    """The choice in words."""
    if named:
        return ", ".join(named)
    return f"all of {', '.join(pipelines)}" if pipelines else "all there is"


def print_unread(reasons: Sequence[Unread]) -> None:
    """Why nothing has come of what still waits, as far as the extractor said."""
    for reason in sorted({one.reason for one in reasons})[:_REASONS]:
        print_plain(console(), f"not read again: {reason}")


def shortened(text: str) -> str:
    """One cell of a list: `show` has the whole."""
    line = " ".join(text.split())
    return line if len(line) <= _CELL else line[: _CELL - 1] + "…"


def _parsed(name: str) -> tuple[Side, str]:
    side, mark, row = name.partition("-")
    if not mark or not row or side not in set(Side):
        raise ConfigurationError(
            f"{name!r} names no row", place="arguments", cure="Write it as `list` shows it: target-17 or source-…"
        )
    return Side(side), row


def _name(side: Side, row: QuarantinedRow) -> str:
    return f"{side}-{row.id}"


def _cells(side: Side, row: QuarantinedRow) -> tuple[str, ...]:
    seen = row.last_seen.isoformat(timespec="seconds")
    key, reason = shortened(_key(row)), shortened(row.reason)
    return _name(side, row), row.pipeline, key, reason, str(row.times), seen, row.resolution or "-"


def _key(row: QuarantinedRow) -> str:
    try:
        return ", ".join(scalar.text for scalar in decode_key(row.key))
    except ValueError:
        return row.key
