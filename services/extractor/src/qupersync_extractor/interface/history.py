"""The history as people read it: runs, what people did, and the end of what is too old to matter."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from qupersync_extractor.application.actions import Action
from qupersync_extractor.application.runs import RunRecord, RunStatus
from qupersync_extractor.interface.operating import with_stores
from qupersync_extractor.interface.runs_shown import run_shown
from qupersync_shared.runtime.console import (
    bytes_shown,
    console,
    print_json,
    print_plain,
    print_table,
    seconds_shown,
)
from qupersync_shared.runtime.records import Page, Query
from qupersync_shared.runtime.settings import Configuration


def list_runs(settings: Configuration, query: Query, *, as_json: bool) -> None:
    """Prints a page of runs."""
    page = with_stores(settings, lambda kept: kept.runs.page(query))
    if as_json:
        print_json({"runs": [run_shown(run) for run in page.items], "next_cursor": page.next_cursor})
        return
    columns = ("began", "pipeline", "mode", "cause", "status", "took", "pages", "rows", "bytes", "error")
    styles = ["red" if run.status is RunStatus.FAILED else "" for run in page.items]
    _print_page(columns, [_run_cells(run) for run in page.items], styles, page, query, none="no such runs")


def list_actions(settings: Configuration, query: Query, *, as_json: bool) -> None:
    """Prints a page of what people did."""
    page = with_stores(settings, lambda kept: kept.actions.page(query))
    if as_json:
        print_json({"actions": [_action_document(done) for done in page.items], "next_cursor": page.next_cursor})
        return
    columns = ("at", "pipeline", "action", "by", "reason", "details")
    rows = [_action_cells(done) for done in page.items]
    _print_page(columns, rows, [""] * len(rows), page, query, none="no such actions", more=" --actions")


def purge(settings: Configuration, age: timedelta, *, by: str, as_json: bool) -> None:
    """Removes what is older from the history, and says how much it was."""
    removed = with_stores(settings, lambda kept: kept.operations.purge(older_than=age, by=by))
    if as_json:
        print_json({"removed": removed})
    else:
        told = ", ".join(f"{count} {what}" for what, count in removed.items())
        print_plain(console(), f"removed {told}")


def _print_page(
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    styles: Sequence[str],
    page: Page[Any],
    query: Query,
    *,
    none: str,
    more: str = "",
) -> None:
    out = console()
    if not rows:
        print_plain(out, none)
        return
    print_table(out, columns, rows, styles)
    if page.next_cursor is not None:
        kept = {name: value for name, value in query.filters.items() if value is not None and name != "pipeline"}
        told = "".join(f" --{name} {_plain(value)}" for name, value in kept.items())
        print_plain(out, f"more: the same{more}{told} --sort {query.sort} --cursor {page.next_cursor}")


def _run_cells(run: RunRecord) -> tuple[str, ...]:
    took = None if run.ended_at is None else (run.ended_at - run.started_at).total_seconds()
    return (
        _moment(run.started_at),
        run.pipeline,
        run.mode or "-",
        run.cause,
        run.status.value if run.attempts == 1 else f"{run.status.value}, {run.attempts} times",
        seconds_shown(took),
        str(run.counts.pages),
        f"{run.counts.rows:,}",
        bytes_shown(run.counts.bytes),
        run.error or "",
    )


def _action_cells(done: Action) -> tuple[str, ...]:
    details = ", ".join(f"{name} {value}" for name, value in done.details.items() if value is not None)
    return _moment(done.at), done.pipeline or "-", done.action.value, done.by, done.reason or "", details


def _action_document(done: Action) -> dict[str, Any]:
    return {**asdict(done), "action": done.action.value}


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
