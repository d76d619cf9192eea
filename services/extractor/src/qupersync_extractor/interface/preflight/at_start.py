"""What an extractor looks at when it starts: each pipeline at its source, within narrow bounds."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

from qupersync_extractor.application.guarding import SourceGuard
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.domain.pipeline import Pipeline, SourceEntity
from qupersync_extractor.infrastructure.sources import build_probe, build_source
from qupersync_extractor.interface.preflight.pipelines import described, pipeline_rows, view_rows
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight import AT_START, SchemaBoard
from qupersync_shared.runtime.preflight.at_start import StartLooks
from qupersync_shared.runtime.settings import Configuration

_PART = "preflight"


def start_looks(
    configuration: Configuration,
    troubles: Troubles,
    running: Callable[[], Mapping[str, Pipeline]],
    guard: SourceGuard | None = None,
) -> StartLooks[Pipeline]:
    """Looks at the pipelines that run, and shows what it finds among the process's troubles and notices.

    In maintenance nothing new is looked at; a look at one pipeline is a read of the source budget.
    """

    def open_ones() -> Mapping[str, Pipeline]:
        return {} if guard is not None and guard.closed else running()

    def tell(pipeline: str, *, failure: str | None, notices: Sequence[str]) -> None:
        if failure is None:
            troubles.clear(pipeline, _PART)
        else:
            troubles.set(pipeline, _PART, failure)
        troubles.note(pipeline, notices)

    return StartLooks(pipelines=open_ones, look=partial(look_at_sources, configuration, guard), tell=tell)


async def look_at_sources(
    configuration: Configuration, guard: SourceGuard | None, pipelines: Sequence[Pipeline]
) -> AsyncGenerator[tuple[str, list[CheckRow]], None]:
    """The rows of each pipeline in turn, over connections of their own, closed at the end."""
    section = configuration.source
    if section is None:
        return
    probe = build_probe(section)
    source = build_source(section) if any(isinstance(p.relation, SourceEntity) for p in pipelines) else probe
    board = SchemaBoard(closed=True)
    limit = configuration.extractor.event_bytes_max
    try:
        for pipeline in pipelines:
            async with nullcontext() if guard is None else guard.looking(pipeline.name):
                look = await described(pipeline, source, probe, AT_START, board)
                found = [look] if isinstance(look, CheckRow) else await pipeline_rows(look, event_bytes_max=limit)
                views = await view_rows(pipeline, source, AT_START)
            yield pipeline.name, [*views, *found]
    finally:
        await probe.close()
        if source is not probe:
            await source.close()
