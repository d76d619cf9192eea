"""What a loader looks at when it starts: each pipeline's target table."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial

from qupersync_loader.application.loader import Loader
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.interface.preflight.checks import database_rows, pipelines_rows
from qupersync_loader.settings import LoaderSettings
from qupersync_loader.stores import target_engine
from qupersync_shared.runtime.plugins import CheckRow, Verdict
from qupersync_shared.runtime.preflight import SchemaBoard
from qupersync_shared.runtime.preflight.at_start import StartLooks
from qupersync_shared.runtime.preflight.rows import unknown


def start_looks(settings: LoaderSettings, loader: Loader) -> StartLooks[TargetPipeline]:
    """Looks at the target tables of the pipelines that are loaded, and has the loader show what it finds."""
    return StartLooks(
        pipelines=lambda: loader.served, look=partial(look_at_targets, settings), tell=loader.tell_of_preflight
    )


async def look_at_targets(
    settings: LoaderSettings, pipelines: Sequence[TargetPipeline]
) -> AsyncGenerator[tuple[str, list[CheckRow]], None]:
    """The rows of each pipeline in turn, over a connection of their own, closed at the end."""
    engine = target_engine(settings, application_name="qupersync-loader-preflight", connections=1)
    try:
        rows, fit = await database_rows(engine)
        wrong = [row for row in rows if row.verdict is Verdict.FAILED]
        for pipeline in pipelines:
            if fit:
                alone = replace(settings, pipelines=(pipeline,))
                yield pipeline.name, wrong + await pipelines_rows(engine, alone, SchemaBoard(closed=True))
            else:  # the work itself says what is wrong with the database
                yield pipeline.name, [unknown(pipeline.name, "target table", "the target cannot be asked yet")]
    finally:
        await engine.dispose()
