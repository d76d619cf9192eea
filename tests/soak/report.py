"""What a run has to say at its end: a table for people, Markdown to keep, a document for scripts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.soak.options import MEMORY_BYTES_MAX, Options
from tests.soak.sampling import Idle
from tests.soak.trend import Growth

_MIB = 1 << 20
_SHOWN_MAX = 20
JUDGED_FROM_MINUTES = 8.0  # shorter, retention has hardly begun to work
SERVICES = ("extractor", "relay", "loader")


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Everything a run has found."""

    options: Options
    begun_at: str
    machine: str
    seconds: float = 0.0
    first_load_seconds: float | None = None
    warm_start_seconds: float | None = None
    converged_seconds: float | None = None
    changes: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    starts: Mapping[str, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    peaks: Mapping[str, float] = field(default_factory=dict)
    growth: Sequence[Growth] = ()
    idle: Idle | None = None
    busiest: Sequence[tuple[str, int]] = ()
    differences: Mapping[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stopped: bool = False

    @property
    def judged_growth(self) -> bool:
        return self.options.minutes >= JUDGED_FROM_MINUTES

    @property
    def complaints(self) -> list[str]:
        """Every reason why the run has failed; none if all held."""
        found = list(self.failures)
        for name, differences in self.differences.items():
            found.append(f"{name}: {len(differences)} or more differences: {'; '.join(differences[:3])}")
        for role in SERVICES:
            used = self.peaks.get(f"memory {role}", 0.0)
            if used > MEMORY_BYTES_MAX:
                found.append(f"a process of the {role} used {used / 1e6:.0f} MB, over {MEMORY_BYTES_MAX / 1e6:.0f}")
        if self.judged_growth:
            found += [f"grows: {_grown(growth)}" for growth in self.growth]
        return found

    @property
    def verdict(self) -> str:
        if self.stopped:
            return "stopped before its end: nothing is proven"
        complaints = self.complaints
        return f"failed: {len(complaints)} complaints" if complaints else "passed: everything held"


def rows_of(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """The figures, one a line."""
    yield "seconds", f"{outcome.seconds:,.0f}"
    yield "seed", str(outcome.options.seed)
    yield "pipelines", str(outcome.options.pipelines)
    for name, value in (
        ("first load, seconds", outcome.first_load_seconds),
        ("start with everything loaded, seconds", outcome.warm_start_seconds),
        ("equal after the last change, seconds", outcome.converged_seconds),
    ):
        if value is not None:
            yield name, f"{value:.1f}"
    yield "rows changed at the source", f"{sum(outcome.changes.values()):,}"
    yield "  of them", ", ".join(f"{count:,} {name}" for name, count in outcome.changes.items() if count)
    yield "faults", f"{sum(outcome.faults.values()):,}"
    for fault, count in sorted(outcome.faults.items()):
        yield f"  {fault}", f"{count:,}"
    yield "starts of processes", ", ".join(f"{count} {role}" for role, count in outcome.starts.items())
    for name, value in outcome.figures.items():
        yield name, f"{value:,.0f}"
    for name, value in sorted(outcome.peaks.items()):
        yield f"greatest {name}", _measured(name, value)
    yield "differences", f"{sum(map(len, outcome.differences.values())):,}"


def idle_rows(idle: Idle) -> Iterator[tuple[str, str]]:
    for name, percent in idle.cpu_percent.items():
        yield f"CPU {name}", f"{percent:.1f} %"
    for name, rate in idle.per_second.items():
        yield f"{name} a second", f"{rate:,.1f}"


def show(outcome: Outcome, screen: Console) -> None:
    """The table, and the verdict as the last words."""
    table = Table(title=f"{outcome.options.title}, seed {outcome.options.seed}", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right", overflow="fold")
    for name, value in rows_of(outcome):
        table.add_row(name, value)
    screen.print(table)
    if outcome.idle is not None:
        rest = Table(title=f"at rest, over {outcome.idle.seconds:.0f} s", title_justify="left")
        rest.add_column("")
        rest.add_column("", justify="right")
        for name, value in idle_rows(outcome.idle):
            rest.add_row(name, value)
        screen.print(rest)
    for complaint in outcome.complaints:
        screen.print(f"  {complaint}", markup=False, soft_wrap=True)
    screen.print(outcome.verdict, markup=False)


def write_markdown(outcome: Outcome, path: Path) -> None:
    """The report as a file; its directory is made."""
    lines = [
        f"# {outcome.options.title.capitalize()}",
        "",
        f"{outcome.begun_at}, {outcome.machine}: **{outcome.verdict}**",
        "",
        *_markdown(("", ""), rows_of(outcome)),
    ]
    if outcome.idle is not None:
        lines += [
            "",
            f"## At rest, over {outcome.idle.seconds:.0f} s",
            "",
            *_markdown(("", ""), idle_rows(outcome.idle)),
        ]
    if outcome.growth:
        judged = "" if outcome.judged_growth else " (too short a run to judge)"
        lines += ["", f"## What grew{judged}", "", *[f"- {_grown(growth)}" for growth in outcome.growth]]
    if outcome.busiest:
        lines += ["", "## Logged most often", "", *[f"- {name}: {count:,}" for name, count in outcome.busiest]]
    if outcome.complaints:
        lines += ["", "## Complaints", "", *[f"- {one}" for one in outcome.complaints[:_SHOWN_MAX]]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def document(outcome: Outcome) -> dict[str, Any]:
    """The report for scripts."""
    return {
        "kind": outcome.options.title,
        "verdict": outcome.verdict,
        "passed": not outcome.stopped and not outcome.complaints,
        "complaints": outcome.complaints,
        "begun_at": outcome.begun_at,
        "machine": outcome.machine,
        "seconds": round(outcome.seconds, 1),
        "seed": outcome.options.seed,
        "pipelines": outcome.options.pipelines,
        "first_load_seconds": outcome.first_load_seconds,
        "warm_start_seconds": outcome.warm_start_seconds,
        "converged_seconds": outcome.converged_seconds,
        "changes": dict(outcome.changes),
        "faults": dict(outcome.faults),
        "starts": dict(outcome.starts),
        "figures": outcome.figures,
        "peaks": dict(outcome.peaks),
        "growth": [{"name": one.name, "earlier": one.earlier, "later": one.later} for one in outcome.growth],
        "idle": None
        if outcome.idle is None
        else {
            "seconds": round(outcome.idle.seconds, 1),
            "cpu_percent": dict(outcome.idle.cpu_percent),
            "per_second": dict(outcome.idle.per_second),
        },
        "differences": dict(outcome.differences),
    }


def print_document(outcome: Outcome) -> None:
    print(json.dumps(document(outcome), ensure_ascii=False, default=str), flush=True)


def _markdown(head: tuple[str, str], rows: Iterator[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *[f"| {name} | {value} |" for name, value in rows]]


def _measured(name: str, value: float) -> str:
    if name.startswith(("memory", "table")) or "bytes" in name:
        return f"{value / _MIB:,.1f} MiB"
    return f"{value:,.0f}"


def _grown(growth: Growth) -> str:
    return (
        f"{growth.name}: {_measured(growth.name, growth.earlier)} in the second third of the run, "
        f"{_measured(growth.name, growth.later)} in the last"
    )
