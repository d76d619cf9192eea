"""The report of the benchmarks: each writes its own part of `docs/benchmarks.md`, and leaves the others as they are."""

import json
import os
import platform
import re
import textwrap
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

PLACE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_FIGURES: Final = re.compile(r"```json\n(.*?)\n```", re.DOTALL)
_INTRODUCTION: Final = (
    "Written by `make bench`. Source, target, NATS and services share one machine, and fsync is on. Absolute figures "
    "wander with the machine: quote the ratios."
)


def write(part: str, figures: Mapping[str, Any]) -> None:
    """Puts the figures of one benchmark into the report, with the machine and the time, and prints it."""
    known = _known()
    known[part] = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _machine(), **figures}
    PLACE.write_text(_markdown(json.loads(json.dumps(known))), encoding="utf-8")
    print(PLACE.read_text("utf-8"))


def _known() -> dict[str, Any]:
    found = _FIGURES.search(PLACE.read_text("utf-8")) if PLACE.exists() else None
    known: dict[str, Any] = json.loads(found[1]) if found is not None else {}
    return known


def _machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30)),
        "python": platform.python_version(),
    }


def _markdown(known: Mapping[str, Any]) -> str:
    lines = ["# Benchmarks", "", *_paragraph(_INTRODUCTION)]
    for part, (title, render) in _PARTS.items():
        if part in known:
            lines += ["", f"## {title}", "", *render(known[part])]
    return "\n".join([*lines, "", "## Figures", "", "```json", json.dumps(known, indent=2), "```", ""])


def _paragraph(words: str) -> list[str]:
    return textwrap.wrap(words, width=120, break_on_hyphens=False)


def _where(figures: Mapping[str, Any]) -> str:
    machine = figures["machine"]
    here = f"{machine['cores']} cores, {machine['memory_gib']} GiB, Python {machine['python']}"
    return f"{here}, {figures['measured_at']}"


def _first_load(figures: Mapping[str, Any]) -> list[str]:
    alone, together = figures["each_hop_alone"], figures["all_hops_together"]
    memory = figures["peak_memory_mib"]
    words = (
        f"{_where(figures)}: {figures['rows']:,} rows of 13 columns. A plain COPY of the same rows from the same "
        f"server into a table without a key, in the same run: {figures['plain_copy_rows_per_second']:,} rows/s."
    )
    lines = [
        *_paragraph(words),
        "",
        "| hop | alone, rows/s | of plain COPY | together, rows/s | of plain COPY |",
        "|---|---|---|---|---|",
    ]
    for hop, one in alone.items():
        both = together[hop]
        lines.append(
            f"| {hop} | {one['rows_per_second']:,} | {one['of_plain_copy']:.0%} "
            f"| {both['rows_per_second']:,} | {both['of_plain_copy']:.0%} |"
        )
    lines += ["", "| process | peak memory alone, MiB | together, MiB |", "|---|---|---|"]
    for name, used in memory["each_hop_alone"].items():
        lines.append(f"| {name} | {used} | {memory['all_hops_together'][name]} |")
    return lines


def _loaders(figures: Mapping[str, Any]) -> list[str]:
    slow, fast = figures["slow_target"], figures["target_as_it_is"]
    words = (
        f"{_where(figures)}: loader processes with one target connection each drain {figures['lanes']} lanes, whose "
        f"events of about {figures['rows_per_event']} rows stood in the stream before they began. The slow target "
        f"waits {figures['latency_ms']} ms in each transaction, where the watermark is set, as a busy database or one "
        "far away would, and leaves the cores free. Ideal is so many times what one process loads. Without the wait "
        f"the {figures['machine']['cores']} cores are the limit, which the processes share with PostgreSQL and NATS. "
        f"Medians of {figures['rounds']} rounds."
    )
    lines = [
        *_paragraph(words),
        "",
        "| loaders | slow target, events/s | of ideal | target as it is, events/s | of one loader |",
        "|---|---|---|---|---|",
    ]
    for count, one in slow.items():
        other = fast[count]
        lines.append(
            f"| {count} | {one['events_per_second']:,.1f} | {one['of_ideal']:.0%} "
            f"| {other['events_per_second']:,.0f} | {other['of_one']:.0%} |"
        )
    return lines


def _rebuild(figures: Mapping[str, Any]) -> list[str]:
    words = (
        f"{_where(figures)}: {figures['rows']:,} rows of 10 columns, of which {figures['changed_per_second']:,} change "
        f"each second, are rebuilt beside extractor, relay and loader, compared and swapped in {figures['seconds']} s."
    )
    longest = f"{figures['longest_read_ms']} ms ({figures['usual_read_ms']} ms)"
    return [
        *_paragraph(words),
        "",
        "| | |",
        "|---|---|",
        f"| read from the stream | {figures['read_rows_per_second']:,.0f} rows/s |",
        f"| readers locked out, until the commit was known | {figures['locked_ms']} ms |",
        f"| longest read of one row meanwhile (median) | {longest} |",
        f"| loaders paused for the swap | {figures['loaders_waited_ms']} ms |",
        f"| peak memory of the rebuild | {figures['peak_memory_mib']} MiB |",
    ]


def _status(figures: Mapping[str, Any]) -> list[str]:
    words = (
        f"{_where(figures)}: {figures['pipelines']} pipelines and {figures['runs']:,} recorded runs, asked through the "
        "control API without a socket. The document is built once for all who ask, and anew every two seconds; the "
        f"first one took {figures['first_ms']:,.0f} ms."
    )
    asked = {
        "GET /status": "status_ms",
        "GET /jobs": "jobs_ms",
        "GET /history": "history_ms",
        "GET /history?pipeline=…&status=failed": "pipelines_history_ms",
    }
    lines = [*_paragraph(words), "", "| | median, ms | worst, ms |", "|---|---|---|"]
    lines += [f"| `{call}` | {figures[name]['median']} | {figures[name]['worst']} |" for call, name in asked.items()]
    return lines


_PARTS: Final[dict[str, tuple[str, Callable[[Mapping[str, Any]], list[str]]]]] = {
    "first_load": ("The first load of a large table", _first_load),
    "loaders": ("More loaders", _loaders),
    "rebuild": ("A rebuild beside live load", _rebuild),
    "status": ("Status and history of many pipelines", _status),
}
