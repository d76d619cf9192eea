"""Every row that the extractor has to say: outbox, source, pipelines."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.probing import SourceProbe
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.infrastructure.sources import build_probe, build_source
from qupersync_extractor.interface.preflight.outbox import outbox_rows
from qupersync_extractor.interface.preflight.pipelines import described, pipeline_rows, score_rows, view_rows
from qupersync_extractor.interface.schedules import schedule_rows
from qupersync_extractor.settings import extractor_settings
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.jetstream import connect
from qupersync_shared.runtime.jetstream import event_bytes_max as taken_by
from qupersync_shared.runtime.plugins import CheckRow
from qupersync_shared.runtime.preflight import Preflight
from qupersync_shared.runtime.preflight.postgres import clock_row
from qupersync_shared.runtime.preflight.rows import failed, of_error, ok
from qupersync_shared.runtime.settings import Configuration

_NATS_SECONDS = 3.0


async def extractor_checks(preflight: Preflight) -> list[CheckRow]:
    """Rows for outbox, source and pipelines; what is wrong with one part is a failed row and keeps no other away."""
    configuration = preflight.configuration
    try:
        settings = extractor_settings(configuration)
    except QupersyncError as error:
        return [of_error("configuration", "extractor", error)]
    rows, of_source = await asyncio.gather(outbox_rows(settings), _source(preflight, settings.pipelines))
    return schedule_rows(configuration, settings.pipelines) + rows + of_source


async def _source(preflight: Preflight, pipelines: Sequence[Pipeline]) -> list[CheckRow]:
    section, place = preflight.configuration.source, preflight.configuration.place
    if section is None:
        return [failed("source", "section", "source is missing", "Write `source: {kind: redshift, host: …}`")]
    try:
        source, probe = build_source(section, place), build_probe(section, place)
    except QupersyncError as error:
        return [of_error("source", "section", error)]
    try:
        rows = await _reached(source, probe)
        if len(rows) == 1:
            return rows
        limit = await _event_bytes_max(preflight.configuration)
        # All columns first: the target's side waits for them.
        looks = [await described(p, source, probe, preflight.bounds, preflight.schemas) for p in pipelines]
        for pipeline, look in zip(pipelines, looks, strict=True):
            rows += await view_rows(pipeline, source, preflight.bounds)
            rows += [look] if isinstance(look, CheckRow) else await pipeline_rows(look, event_bytes_max=limit)
            rows += await score_rows(preflight.configuration, pipeline, source, preflight.bounds)
        return rows
    finally:
        await source.close()
        await probe.close()


async def _reached(source: Source, probe: SourceProbe) -> list[CheckRow]:
    """Connection, version and clock; the connection alone where it fails."""
    before = datetime.now(UTC)
    try:
        clock = await source.clock()
        after = datetime.now(UTC)
        version = await probe.version()
    except QupersyncError as error:
        return [of_error("source", "connection", error)]
    return [
        ok("source", "connection", "answers"),
        ok("source", "version", version),
        clock_row("source", clock.now, before, after),
    ]


async def _event_bytes_max(configuration: Configuration) -> int:
    """What an event may have, as far as the NATS server can be asked."""
    limit = configuration.extractor.event_bytes_max
    if configuration.nats is None:
        return limit
    try:
        client = await connect(configuration.nats, name="qupersync-check", timeout=_NATS_SECONDS, once=True)
    except QupersyncError:
        return limit
    try:
        return min(limit, taken_by(client))
    finally:
        await client.close()
