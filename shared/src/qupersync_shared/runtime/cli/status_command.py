"""`qupersync status`, as it is called."""

from typing import Annotated

import typer

from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.cli.guard import EXIT_OK, EXIT_USAGE, EXIT_WRONG
from qupersync_shared.runtime.cli.invocation import configuration, invocation
from qupersync_shared.runtime.cli.options import ConfigOption, JsonOption
from qupersync_shared.runtime.console import print_json


def status(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until interrupted.")] = False,
) -> None:
    """Show where every pipeline stands, and the reason when something is wrong."""
    from qupersync_shared.runtime.cli import status as looking
    from qupersync_shared.runtime.cli.probing import run

    try:
        found = configuration(context, config)
    except ConfigurationError as error:
        if as_json:
            print_json(looking.misconfigured(error))
            raise typer.Exit(EXIT_USAGE) from None
        raise
    plugins = invocation(context).plugins
    if watch:
        looking.watch(found, plugins, as_json=as_json)
        return
    document = run(looking.status(found, plugins))
    if as_json:
        print_json(document)
    else:
        looking.show(document)
    raise typer.Exit(EXIT_OK if document["reason"] is None else EXIT_WRONG)
