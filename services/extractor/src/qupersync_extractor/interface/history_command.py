"""`qupersync history`: what became of runs, what people did, and the end of what is too old to matter."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from qupersync_extractor.application.actions import LISTING as ACTIONS
from qupersync_extractor.application.runs import LISTING as RUNS
from qupersync_extractor.application.runs import RunStatus
from qupersync_shared.runtime.cli.completing import pipeline_names
from qupersync_shared.runtime.cli.confirming import confirm
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, JsonOption, YesOption
from qupersync_shared.runtime.records import Query, whoever
from qupersync_shared.runtime.records.listing import LIMIT_MAX


def history(
    context: typer.Context,
    pipeline: Annotated[
        str | None,
        typer.Argument(help="The pipeline, also one that was removed; else all.", autocompletion=pipeline_names),
    ] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only runs of this status.")] = None,
    since: Annotated[str | None, typer.Option(help="Only what began then or later: 2h, or 2025-01-31T12:00.")] = None,
    before: Annotated[str | None, typer.Option(help="Only what began before: 2h, or 2025-01-31T12:00.")] = None,
    sort: Annotated[
        str | None, typer.Option(help=f"By {', '.join(RUNS.sorts)}; - reverses [{RUNS.default_sort}].")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=LIMIT_MAX, help="How many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where a list ended, with its other options.")] = None,
    actions: Annotated[
        bool, typer.Option("--actions", help="What people did, instead of runs: who, what, when and why.")
    ] = False,
    purge: Annotated[
        str | None,
        typer.Option("--purge-older-than", metavar="<duration>", help="Remove runs, pages and actions so old: 30d."),
    ] = None,
    who: Annotated[str | None, typer.Option("--as", help="Who purges; else this user of this machine.")] = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, the latest first. Runs that found nothing new leave no record.

    With --actions, what people did by command, API or page. With --purge-older-than, nothing is listed: what is older
    goes from the history, of all pipelines; runs that work stay.
    """
    from qupersync_extractor.interface import history as listed

    settings = configuration(context, config)
    if purge is not None:
        if any((pipeline, status, since, before, sort, cursor, actions)):
            raise typer.BadParameter("--purge-older-than stands alone: it takes from the whole history")
        age = _duration(purge)
        confirm(f"Remove what is older than {purge} from the history of all pipelines?", yes=yes)
        listed.purge(settings, age, by=whoever(who), as_json=as_json)
        return
    filters = {"pipeline": pipeline, "since": asked_moment(since), "before": asked_moment(before)}
    if not actions:
        order = sort or RUNS.default_sort
        query = Query(filters={**filters, "status": status}, sort=order, cursor=cursor, limit=limit)
        listed.list_runs(settings, query, as_json=as_json)
        return
    if status is not None:
        raise typer.BadParameter("--status is of runs, and --actions lists none")
    query = Query(filters=filters, sort=sort or ACTIONS.default_sort, cursor=cursor, limit=limit)
    listed.list_actions(settings, query, as_json=as_json)


def _duration(text: str) -> timedelta:
    from qupersync_shared.runtime.settings.units import parse_duration

    try:
        age = parse_duration(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no duration: write 30d, or 12h") from None
    if age < timedelta(hours=1):
        raise typer.BadParameter(f"{text!r} is too short: the last hour is kept")
    return age


def asked_moment(text: str | None) -> datetime | None:
    """A moment, or so long ago; UTC unless it says otherwise."""
    if text is None:
        return None
    from qupersync_shared.runtime.settings.units import parse_duration

    try:
        if text[:1].isdigit() and text[-1:].isalpha() and "T" not in text:
            return datetime.now(UTC) - parse_duration(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a moment nor a duration: write 2h, or 2025-01-31T12:00"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
