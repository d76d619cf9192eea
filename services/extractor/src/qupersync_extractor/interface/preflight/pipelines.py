"""One pipeline at its source: columns, rights, and then key, cursor and reads, each as far as it can be asked."""

import asyncio
from typing import Final

from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.probing import SourceProbe
from qupersync_extractor.application.relation import row_schema
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.interface.catalogue_checks import catalogue_checks
from qupersync_extractor.interface.preflight.cursors import cursor_row, ties_row
from qupersync_extractor.interface.preflight.keys import key_row
from qupersync_extractor.interface.preflight.probes import Look, all_bounded, bounded
from qupersync_extractor.interface.preflight.reading import sort_key_row, width_row
from qupersync_extractor.interface.score_checks import score_checks
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight import Bounds, SchemaBoard
from qupersync_shared.runtime.preflight.rows import failed, of_trouble, ok
from qupersync_shared.runtime.settings import Configuration

_DENIED: Final = "42501"


async def described(
    pipeline: Pipeline, source: Source, probe: SourceProbe, bounds: Bounds, board: SchemaBoard
) -> Look | CheckRow:
    """What is there to look at, its columns told on the board; the failed row where they cannot be read."""
    try:
        async with asyncio.timeout(bounds.seconds_max):
            schema = await row_schema(source, pipeline)
    except TimeoutError:
        board.tell(pipeline.name, None)
        return failed(pipeline.name, "columns", f"the source did not tell them within {bounds.seconds_max:g} s")
    except QupersyncError as error:
        board.tell(pipeline.name, None)
        return _unreadable(pipeline, error)
    # With a score, events have one column more than the relation: the stream knows it.
    board.tell(pipeline.name, schema if pipeline.score is None else None)
    return Look(pipeline=pipeline, source=source, probe=probe, schema=schema, bounds=bounds)


async def pipeline_rows(look: Look, *, event_bytes_max: int) -> list[CheckRow]:
    """Every row of a pipeline whose columns are known."""
    pipeline, schema = look.pipeline, look.schema
    rows = [
        # An entity's columns are known without asking: the rows of its views say what may be read.
        *([] if look.is_entity else [ok(look.area, "rights", f"{pipeline.relation} may be read")]),
        ok(look.area, "columns", f"{len(schema.columns)} columns, key ({', '.join(schema.key)})"),
        await bounded(look, "key", key_row(look)),
    ]
    if pipeline.cursor is not None:
        rows.append(await bounded(look, "cursor", cursor_row(look)))
        if not look.is_entity:
            rows.append(await bounded(look, "cursor ties", ties_row(look)))
    rows.append(await bounded(look, "sort key", sort_key_row(look)))
    if look.bounds.sample_rows:
        rows.append(await bounded(look, "row width", width_row(look, event_bytes_max=event_bytes_max)))
    return rows


def _unreadable(pipeline: Pipeline, error: QupersyncError) -> CheckRow:
    if _DENIED in error.message:
        return failed(pipeline.name, "rights", error.message, error.cure)
    return of_trouble(pipeline.name, "columns", error)


async def view_rows(pipeline: Pipeline, source: Source, bounds: Bounds) -> list[CheckRow]:
    """A row for each system view that a ready-made pipeline reads."""
    return await all_bounded(pipeline.name, "views", catalogue_checks(source, pipeline), bounds)


async def score_rows(
    configuration: Configuration, pipeline: Pipeline, source: Source, bounds: Bounds
) -> list[CheckRow]:
    """The row of a pipeline's score."""
    return await all_bounded(pipeline.name, "score", score_checks(configuration, source, pipeline), bounds)
