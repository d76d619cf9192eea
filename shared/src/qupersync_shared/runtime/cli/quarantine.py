"""Rows refused at the source or by the target, over what the installed services keep: listed, sent again, given up."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Final

import typer

from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.kernel.positions import decode_key
from qupersync_shared.runtime.cli.invocation import configuration, invocation
from qupersync_shared.runtime.cli.waiting import Deadline, Marks, until_changed
from qupersync_shared.runtime.console import console, print_plain
from qupersync_shared.runtime.logs import describe
from qupersync_shared.runtime.plugins import Plugin
from qupersync_shared.runtime.quarantine import (
    QuarantinedRow,
    QuarantineStore,
    Side,
    Unread,
)
from qupersync_shared.runtime.settings import Configuration

_AT_ONCE: Final = 500
_CELL: Final = 100
_REASONS: Final = 5

# --------------------------------------------------------------------------------------------------------------- stores


class Quarantines:
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


async def listed(
    quarantines: Quarantines, pipelines: Sequence[str], resolved: bool, limit: int, after: str | None
) -> tuple[list[tuple[Side, QuarantinedRow]], list[str], int]:
    """Rows of one side after the other, why a side cannot tell, and how many rows there are behind them."""
    begin = parsed(after) if after is not None else None
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


def sides_of(names: Sequence[str]) -> set[Side]:
    """Where the rows named are kept; nowhere in particular if none is named."""
    return {side for side, _ in map(parsed, names)}


async def chosen(
    stores: Sequence[QuarantineStore], names: Sequence[str], pipelines: Sequence[str]
) -> AsyncGenerator[tuple[QuarantineStore, list[str]], None]:
    """The rows named, else all that wait in these pipelines (none named: in all), some hundreds at a time."""
    by_side: dict[Side, list[str]] = {}
    for side, row in map(parsed, names):
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
            raise no_row(f"{store.side}-{min(missing)}")


def no_row(name: str) -> QupersyncError:
    return QupersyncError(f"there is no row {name}", cure="`qupersync quarantine list --all` names them")


async def sent_again(
    quarantines: Quarantines, names: Sequence[str], pipelines: Sequence[str], wait: float | None
) -> tuple[int, dict[str, "Mark | None"], dict[str, Unread]]:
    """How many rows were asked for again, how each of them stands after the wait, and which cannot be read."""
    before: dict[str, Mark] = {}
    unread: dict[str, Unread] = {}
    deadline = Deadline(wait)
    async with quarantines.opened(*sides_of(names)) as stores:
        async with aclosing(chosen(stores, names, pipelines)) as parts:
            async for store, ids in parts:
                marks = await _marks(store, ids)
                asked = [f"{store.side}-{row}" for row in await store.redrive(ids, seconds=deadline.left)]
                before |= {name: marks[name] for name in asked if name in marks}
        if wait is None or not before:
            return len(before), {}, {}
        after: dict[str, object] = {}

        async def look() -> Marks:
            for store in stores:
                rows = [row for side, row in map(parsed, before) if side == store.side]
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
    ended: dict[str, Mark | None] = {}
    for name, (_, times) in before.items():
        mark = after.get(name)
        ended[name] = (mark[0], mark[1] - times) if isinstance(mark, tuple) else None
    return len(before), ended, unread


Mark = tuple[str | None, int]
"""A row's resolution and how often it was refused."""


async def _marks(store: QuarantineStore, ids: Sequence[str]) -> dict[str, Mark]:
    return {named(store.side, row): (row.resolution, row.times) for row in await store.show(ids)}


# ---------------------------------------------------------------------------------------------------------------- words


def known(context: typer.Context, config: Any, pipelines: Sequence[str] | None) -> list[str]:
    """The pipelines that were named; ConfigurationError for one that the configuration does not have."""
    names = configuration(context, config).pipelines
    for pipeline in pipelines or ():
        if pipeline not in names:
            listed = ", ".join(sorted(names)) or "none"
            raise ConfigurationError(
                f"there is no pipeline {pipeline!r}", place="--pipeline", cure=f"Known pipelines: {listed}"
            )
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


def parsed(name: str) -> tuple[Side, str]:
    side, mark, row = name.partition("-")
    if not mark or not row or side not in set(Side):
        raise ConfigurationError(
            f"{name!r} names no row", place="arguments", cure="Write it as `list` shows it: target-17 or source-…"
        )
    return Side(side), row


def named(side: Side, row: QuarantinedRow) -> str:
    return f"{side}-{row.id}"


def cells(side: Side, row: QuarantinedRow) -> tuple[str, ...]:
    seen = row.last_seen.isoformat(timespec="seconds")
    key, reason = shortened(key_shown(row)), shortened(row.reason)
    return named(side, row), row.pipeline, key, reason, str(row.times), seen, row.resolution or "-"


def key_shown(row: QuarantinedRow) -> str:
    try:
        return ", ".join(scalar.text for scalar in decode_key(row.key))
    except ValueError:
        return row.key
