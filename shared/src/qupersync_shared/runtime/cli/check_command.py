"""`qupersync check`, as it is called."""

from typing import Annotated

import typer

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.cli.completing import pipeline_names
from qupersync_shared.runtime.cli.guard import EXIT_OK, EXIT_USAGE, EXIT_WRONG
from qupersync_shared.runtime.cli.invocation import configuration, invocation
from qupersync_shared.runtime.cli.options import ConfigOption, JsonOption, PipelinesOption
from qupersync_shared.runtime.console import print_json
from qupersync_shared.runtime.plugins import CheckRow, Verdict


def check(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PIPELINES]...", help="Only these; else all.", autocompletion=pipeline_names),
    ] = None,
    only: PipelinesOption = None,
    full: Annotated[bool, typer.Option("--full", help="Look at all rows, however long it takes.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at everything a sync needs, with a cure for what is missing."""
    from qupersync_shared.runtime.cli import checking
    from qupersync_shared.runtime.cli.narrowing import narrowed
    from qupersync_shared.runtime.cli.probing import run

    try:
        found = narrowed(configuration(context, config), [*(names or ()), *(only or ())])
    except ConfigurationError as error:
        if as_json:
            row = CheckRow(
                area="configuration",
                subject=error.place,
                verdict=Verdict.FAILED,
                message=error.message,
                cure=error.cure,
            )
            print_json(checking.as_document([row]))
            raise typer.Exit(EXIT_USAGE) from None
        raise
    rows = run(checking.check(found, invocation(context).plugins, full=full))
    if as_json:
        print_json(checking.as_document(rows))
    else:
        checking.show(rows)
    raise typer.Exit(EXIT_OK if checking.passed(rows) else EXIT_WRONG)
