"""The views that a ready-made pipeline reads, in `qupersync check`."""

from typing import Final

from qupersync_extractor.application.ports import Source
from qupersync_extractor.domain.pipeline import Pipeline, SourceEntity
from qupersync_extractor.infrastructure.sources.catalogue import CatalogueSource
from qupersync_extractor.infrastructure.sources.catalogue.source import ViewState
from qupersync_shared.runtime.plugins import CheckRow, Verdict

_VERDICTS: Final = {
    ViewState.READABLE: Verdict.OK,
    ViewState.NOT_APPLICABLE: Verdict.OK,
    ViewState.UNCERTAIN: Verdict.WARNING,
    ViewState.OWN_ROWS: Verdict.FAILED,
    ViewState.DENIED: Verdict.FAILED,
    ViewState.ABSENT: Verdict.FAILED,
}


async def catalogue_checks(source: Source, pipeline: Pipeline) -> list[CheckRow]:
    """A row for each system view that the pipeline's entity needs; none for pipelines of tables and queries.

    QupersyncError where the source itself cannot be asked.
    """
    if not isinstance(pipeline.relation, SourceEntity) or not isinstance(source, CatalogueSource):
        return []
    return [
        CheckRow(
            area=pipeline.name,
            subject=found.view,
            verdict=_VERDICTS[found.state],
            message=f"not applicable: {found.message}" if found.state is ViewState.NOT_APPLICABLE else found.message,
            cure=found.cure,
        )
        for found in await source.standings(pipeline.relation)
    ]
