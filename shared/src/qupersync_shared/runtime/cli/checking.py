"""`qupersync check`: is everything there that a sync needs? Every answer with a cure."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from rich.console import Console

from qupersync_shared.runtime.cli.probing import Probe, Probed, ask_all
from qupersync_shared.runtime.console import console, print_plain
from qupersync_shared.runtime.plugins import CheckRow, Plugin, Plugins, Verdict
from qupersync_shared.runtime.preflight import FULL, ORDINARY, Bounds, Preflight, SchemaBoard
from qupersync_shared.runtime.preflight.nats import check_nats
from qupersync_shared.runtime.settings import Configuration

SECONDS_MAX: Final = 60.0
_SECONDS_A_PIPELINE: Final = 30.0
_FULL_SECONDS: Final = 86_400.0
_STYLES: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red", Verdict.UNKNOWN: "magenta"}
Checks = Callable[[Preflight], Awaitable[list[CheckRow]]]


async def check(
    configuration: Configuration, plugins: Plugins, *, full: bool = False, seconds_max: float | None = None
) -> list[CheckRow]:
    """Every row, in the order: configuration, installed services, NATS, the plugins' servers, then each pipeline's.

    `full` looks at all rows, however long that takes; else each probe is bounded, in rows and in time.
    """
    bounds: Bounds = FULL if full else ORDINARY
    teller = [plugin for plugin in plugins.whole if plugin.tells_schemas and plugin.checks is not None]
    board = SchemaBoard(closed=not teller)
    preflight = Preflight(configuration=configuration, bounds=bounds, schemas=board)
    asked: list[tuple[str, Checks]] = [("nats", check_nats)]
    asked += [(plugin.name, _checks_of(plugin, board)) for plugin in plugins.whole if plugin.checks is not None]
    probes = [Probe(name=name, ask=partial(ask, preflight)) for name, ask in asked]
    patience = _FULL_SECONDS if full else max(SECONDS_MAX, _SECONDS_A_PIPELINE * len(configuration.pipelines))
    rows = [_pipelines(configuration), *_installed(plugins)]
    for probed in await ask_all(probes, seconds_max=seconds_max or patience):
        rows.extend(_rows(probed))
    # Servers first, then each pipeline with what every service says of it.
    order = {name: place for place, name in enumerate(configuration.pipelines, 1)}
    return sorted(rows, key=lambda row: order.get(row.area, 0))


def _checks_of(plugin: Plugin, board: SchemaBoard) -> Checks:
    async def ask(preflight: Preflight) -> list[CheckRow]:
        if plugin.checks is None:
            return []
        try:
            return await plugin.checks(preflight)
        finally:
            if plugin.tells_schemas:  # who waits for a schema that could not be told waits no longer
                board.close()

    return ask


def passed(rows: Sequence[CheckRow]) -> bool:
    """Whether nothing failed and nothing stayed unknown; warnings pass."""
    return all(row.verdict in {Verdict.OK, Verdict.WARNING} for row in rows)


def as_document(rows: Sequence[CheckRow]) -> dict[str, Any]:
    """The rows as `check --json` prints them; its fields are stable, and described in docs/operations.md."""
    counted = Counter(row.verdict for row in rows)
    return {
        "ok": passed(rows),
        "checked_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "verdicts": {verdict.value: counted[verdict] for verdict in Verdict},
        "rows": [
            {
                "area": row.area,
                "subject": row.subject,
                "verdict": row.verdict.value,
                "message": row.message,
                "cure": row.cure or None,
            }
            for row in rows
        ],
    }


def show(rows: Sequence[CheckRow], out: Console | None = None) -> None:
    """One aligned line a row, its cure below it, then one line that sums up."""
    out = out or console()
    widths = [
        max((len(text) for text in texts), default=0)
        for texts in zip(*((row.verdict.value, row.area, row.subject) for row in rows), strict=True)
    ]
    for row in rows:
        cells = (row.verdict.value, row.area, row.subject)
        head = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print_plain(out, f"{head}  {_one_line(row.message)}", _STYLES[row.verdict])
        if row.cure:
            print_plain(out, " " * (widths[0] + 2) + f"-> {_one_line(row.cure)}")
    _sum_up(rows, out)


def _sum_up(rows: Sequence[CheckRow], out: Console) -> None:
    wrong = sum(row.verdict in {Verdict.FAILED, Verdict.UNKNOWN} for row in rows)
    warnings = sum(row.verdict is Verdict.WARNING for row in rows)
    tail = f", {warnings} with a warning" if warnings else ""
    if wrong:
        print_plain(out, f"{wrong} of {len(rows)} checks did not pass{tail}", "bold red")
    else:
        print_plain(out, f"all {len(rows)} checks passed{tail}", "bold green")


def _one_line(text: str) -> str:
    """A query's text, or an error's, may have line breaks, and other things that a terminal would obey."""
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in words)


def _pipelines(configuration: Configuration) -> CheckRow:
    count = len(configuration.pipelines)
    if count:
        counted = "1 pipeline" if count == 1 else f"{count} pipelines"
        return CheckRow(area="configuration", subject="pipelines", verdict=Verdict.OK, message=f"valid, {counted}")
    return CheckRow(
        area="configuration",
        subject="pipelines",
        verdict=Verdict.WARNING,
        message="valid, without a pipeline",
        cure="`qupersync init` shows how to write one",
    )


def _installed(plugins: Plugins) -> list[CheckRow]:
    return [
        CheckRow(
            area="installation",
            subject=broken.name,
            verdict=Verdict.FAILED,
            message=f"its plugin cannot be loaded: {broken.reason}",
            cure="Install it again, in the same version as qupersync-shared",
        )
        for broken in plugins.broken
    ]


def _rows(probed: Probed[list[CheckRow]]) -> list[CheckRow]:
    if probed.answer is not None:
        return probed.answer
    return [
        CheckRow(
            area=probed.name,
            subject="probe",
            verdict=Verdict.UNKNOWN,
            message=probed.failure or "no answer",
            cure=probed.cure,
        )
    ]
