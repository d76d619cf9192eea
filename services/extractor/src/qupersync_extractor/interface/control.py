"""`qupersync pause`, `resume` and `runs`: what people decide of pipelines, and what became of their runs."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from qupersync_extractor.application.control import PipelineControl, pause, resume
from qupersync_extractor.application.runs import LISTING, RunRecord, RunStatus
from qupersync_extractor.interface.operating import known, with_stores
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import JsonOption
from qupersync_shared.runtime.console import (
    bytes_shown,
    console,
    print_json,
    print_plain,
    print_table,
    seconds_shown,
)
from qupersync_shared.runtime.records import Page, Query, whoever
from qupersync_shared.runtime.records.listing import LIMIT_MAX
from qupersync_shared.runtime.settings.units import parse_duration

NameArgument = Annotated[str, typer.Argument(help="The pipeline.")]
WhoOption = Annotated[str | None, typer.Option("--as", help="Who decides; else this user of this machine.")]
VersionOption = Annotated[
    int | None, typer.Option("--version", help="Only if nobody has decided anything since this version.")
]


def add_commands(app: typer.Typer) -> None:
    """Adds `pause`, `resume` and `runs`."""
    app.command("pause")(_pause)
    app.command("resume")(_resume)
    app.command("runs")(_runs)


def _pause(
    context: typer.Context,
    pipeline: NameArgument,
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; `status` shows it.")] = None,
    who: WhoOption = None,
    version: VersionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Extract nothing new until `resume`; what is extracted is published and loaded, rereads and resends go on.

    The page under way is committed; the next run goes on behind it. It lasts over restarts.
    """
    settings = configuration(context)
    name = known(settings, pipeline)
    control = with_stores(
        settings,
        lambda kept: pause(kept.controls, name, by=whoever(who), reason=reason, version=version),
    )
    _tell(control, as_json=as_json)


def _resume(
    context: typer.Context,
    pipeline: NameArgument,
    who: WhoOption = None,
    version: VersionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a paused pipeline go on where it was."""
    settings = configuration(context)
    name = known(settings, pipeline)
    control = with_stores(settings, lambda kept: resume(kept.controls, name, by=whoever(who), version=version))
    _tell(control, as_json=as_json)


def _runs(
    context: typer.Context,
    pipeline: Annotated[str | None, typer.Argument(help="The pipeline, also one that was removed; else all.")] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only runs of this status.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only runs that began then or later: 2h, or 2025-01-31T12:00.")
    ] = None,
    before: Annotated[str | None, typer.Option(help="Only runs that began before: 2h, or 2025-01-31T12:00.")] = None,
    sort: Annotated[str, typer.Option(help=f"By {', '.join(LISTING.sorts)}; - reverses.")] = LISTING.default_sort,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=LIMIT_MAX, help="How many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where a list ended, with its other options.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, the latest first. Runs that found nothing new leave no record."""
    filters = {"pipeline": pipeline, "status": status, "since": _moment(since), "before": _moment(before)}
    query = Query(filters=filters, sort=sort, cursor=cursor, limit=limit)
    page = with_stores(configuration(context), lambda kept: kept.runs.page(query))
    if as_json:
        print_json({"runs": [_document(run) for run in page.items], "next_cursor": page.next_cursor})
        return
    _show(page, query)


def _show(page: Page[RunRecord], query: Query) -> None:
    out = console()
    if not page.items:
        print_plain(out, "no such runs")
        return
    columns = ("began", "pipeline", "mode", "cause", "status", "took", "pages", "rows", "bytes", "error")
    styles = ["red" if run.status is RunStatus.FAILED else "" for run in page.items]
    print_table(out, columns, [_cells(run) for run in page.items], styles)
    if page.next_cursor is not None:
        kept = {name: value for name, value in query.filters.items() if value is not None and name != "pipeline"}
        told = "".join(f" --{name} {_plain(value)}" for name, value in kept.items())
        print_plain(out, f"more: the same{told} --sort {query.sort} --cursor {page.next_cursor}")


def _cells(run: RunRecord) -> tuple[str, ...]:
    took = None if run.ended_at is None else (run.ended_at - run.started_at).total_seconds()
    return (
        f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        run.pipeline,
        run.mode or "-",
        run.cause,
        run.status.value,
        seconds_shown(took),
        str(run.counts.pages),
        f"{run.counts.rows:,}",
        bytes_shown(run.counts.bytes),
        run.error or "",
    )


def _document(run: RunRecord) -> dict[str, Any]:
    fields = asdict(run)
    counts = fields.pop("counts")
    return {**fields, **counts, "status": run.status.value}


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _moment(text: str | None) -> datetime | None:
    """A moment, or so long ago; UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        if text[:1].isdigit() and text[-1:].isalpha() and "T" not in text:
            return datetime.now(UTC) - parse_duration(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a moment nor a duration: write 2h, or 2025-01-31T12:00"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _tell(control: PipelineControl, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(control))
        return
    done = "paused" if control.paused else "goes on"
    typer.echo(f"{control.pipeline} {done}; version {control.version}, decided by {control.updated_by}")
