"""`qupersync ledger`: where the pages of pipelines are, and what became of the last ones."""

from typing import Annotated

import typer

from qupersync_extractor.application.ledger import LISTING
from qupersync_extractor.domain.whereabouts import PageState
from qupersync_extractor.interface.history_command import asked_moment
from qupersync_shared.runtime.cli.invocation import configuration
from qupersync_shared.runtime.cli.options import ConfigOption, JsonOption, PipelineOrAllArgument
from qupersync_shared.runtime.records import Query
from qupersync_shared.runtime.records.listing import LIMIT_MAX


def ledger(
    context: typer.Context,
    pipeline: PipelineOrAllArgument = None,
    state: Annotated[PageState | None, typer.Option(help="Only pages that have come so far.")] = None,
    mode: Annotated[
        str | None, typer.Option(help="Only pages of this mode: incremental, snapshot, reread or heartbeat.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only pages extracted then or later: 2h, or 2025-01-31T12:00.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=LIMIT_MAX, help="How many pages at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where a list ended, with its other options.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where the pages of pipelines are: in sync, or what waits, at which hop and since when; then the last pages.

    A page is extracted into the outbox, published to the stream, and applied by every loader group.
    """
    from qupersync_extractor.interface.ledger import show

    filters = {"pipeline": pipeline, "state": state, "mode": mode, "since": asked_moment(since)}
    query = Query(filters=filters, sort=LISTING.default_sort, cursor=cursor, limit=limit)
    show(configuration(context, config), query, as_json=as_json)
