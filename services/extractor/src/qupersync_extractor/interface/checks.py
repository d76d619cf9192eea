"""The extractor's part of `qupersync check`: source, outbox database, and each pipeline's key and cursor."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from qupersync_extractor.application.ports import Source
from qupersync_extractor.application.relation import horizon_of, row_schema
from qupersync_extractor.bootstrap import stores
from qupersync_extractor.domain.ordering import scalar_order
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.timeline import TEMPORAL
from qupersync_extractor.infrastructure.postgres.schema import pending_revisions
from qupersync_extractor.infrastructure.sources import build_source
from qupersync_extractor.settings import ExtractorSettings, extractor_settings
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.runtime.plugins import CheckRow, Verdict
from qupersync_shared.runtime.settings import Configuration

COUNT_SECONDS = 20.0
CLOCK_DIFFERENCE_MAX = timedelta(minutes=5)


async def extractor_checks(configuration: Configuration) -> list[CheckRow]:
    """Rows for outbox, source and pipelines; ConfigurationErrors of single parts become failed rows."""
    try:
        settings = extractor_settings(configuration)
    except QupersyncError as error:
        return [_failed("configuration", "extractor", error)]
    rows = await _outbox(settings)
    if configuration.source is None:
        return [*rows, CheckRow(area="source", subject="section", verdict=Verdict.FAILED, message="source is missing")]
    try:
        source = build_source(configuration.source)
    except QupersyncError as error:
        return [*rows, _failed("source", "section", error)]
    try:
        reached = await _clock(source)
        rows.append(reached)
        if reached.verdict is not Verdict.FAILED:
            for pipeline in settings.pipelines:
                rows.extend(await _pipeline(source, pipeline))
    finally:
        await source.close()
    return rows


async def _outbox(settings: ExtractorSettings) -> list[CheckRow]:
    kept = stores(settings, application_name="qupersync-check")
    lanes: list[CheckRow] = []
    try:
        waiting = await pending_revisions(kept.engine)
        for pipeline in settings.pipelines:
            known = await kept.registry.get(pipeline.name) if not waiting else None
            if known is not None and known.lanes != pipeline.lanes:
                lanes.append(_lanes_differ(pipeline, known.lanes))
    except QupersyncError as error:
        return [_failed("outbox", "database", error)]
    finally:
        await kept.close()
    if waiting:
        return [
            CheckRow(
                area="outbox",
                subject="database",
                verdict=Verdict.FAILED,
                message=f"not migrated: {', '.join(waiting)} to apply",
                cure="Run `qupersync-extractor migrate`",
            )
        ]
    answers = CheckRow(area="outbox", subject="database", verdict=Verdict.OK, message="answers and is migrated")
    return [answers, *lanes]


def _lanes_differ(pipeline: Pipeline, lanes: int) -> CheckRow:
    return CheckRow(
        area=pipeline.name,
        subject="lanes",
        verdict=Verdict.WARNING,
        message=f"the configuration says {pipeline.lanes}, the pipeline goes on with {lanes}",
        cure=f"Run `qupersync reset {pipeline.name}`: a new log with {pipeline.lanes} lanes, and a snapshot; or write "
        f"{lanes} again",
    )


async def _clock(source: Source) -> CheckRow:
    try:
        clock = await source.clock()
    except QupersyncError as error:
        return _failed("source", "connection", error)
    difference = abs(datetime.now(UTC) - clock.now)
    if difference > CLOCK_DIFFERENCE_MAX:
        return CheckRow(
            area="source",
            subject="clock",
            verdict=Verdict.WARNING,
            message=f"it differs from this machine's by {difference.total_seconds():.0f} s",
            cure="Lag figures will be off by as much; what is extracted follows the source's clock alone",
        )
    return CheckRow(area="source", subject="connection", verdict=Verdict.OK, message="answers")


async def _pipeline(source: Source, pipeline: Pipeline) -> list[CheckRow]:
    try:
        schema = await row_schema(source, pipeline)
    except QupersyncError as error:
        return [_failed(pipeline.name, "columns", error)]
    columns = f"{len(schema.columns)} columns, key ({', '.join(schema.key)})"
    rows = [CheckRow(area=pipeline.name, subject="columns", verdict=Verdict.OK, message=columns)]
    rows.append(await _counted(pipeline, "key", lambda: _keys(source, pipeline)))
    if pipeline.cursor is not None:
        rows.append(await _counted(pipeline, "cursor", lambda: _cursor(source, pipeline, schema)))
    return rows


async def _keys(source: Source, pipeline: Pipeline) -> CheckRow:
    nulls = {name: n for name, n in (await source.count_nulls(pipeline.relation, pipeline.key)).items() if n}
    doubled = await source.count_duplicate_keys(pipeline.relation, pipeline.key)
    problems = [f"{count} rows with NULL in {name} stay out" for name, count in nulls.items()]
    if doubled:
        problems.append(f"{doubled} keys stand in more than one row: the last by cursor is taken")
    if problems:
        return CheckRow(
            area=pipeline.name,
            subject="key",
            verdict=Verdict.WARNING,
            message="; ".join(problems),
            cure="Choose a key that is unique and never NULL, or mend the rows at the source",
        )
    return CheckRow(area=pipeline.name, subject="key", verdict=Verdict.OK, message="unique and never NULL")


async def _cursor(source: Source, pipeline: Pipeline, schema: RowSchema) -> CheckRow:
    name = pipeline.cursor or ""
    nulls = (await source.count_nulls(pipeline.relation, [name]))[name]
    column = schema.column(name)
    highest = await source.highest(pipeline.relation, column)
    found = await horizon_of(source, pipeline, schema)
    ahead = (
        highest is not None
        and found is not None
        and column.type.scalar in TEMPORAL
        and scalar_order(highest) > scalar_order(found.high)
        and found.high_time + pipeline.safety_lag < datetime.now(UTC) + CLOCK_DIFFERENCE_MAX
        and _hours_beyond(highest.text, found.high.text) >= 1
    )
    if ahead and highest is not None:
        return CheckRow(
            area=pipeline.name,
            subject="cursor",
            verdict=Verdict.WARNING,
            message=f"its greatest value {highest.text} lies in the source's future",
            cure="If the column holds local time, set cursor_time_zone; rows are read when their time has come",
        )
    if nulls:
        return CheckRow(
            area=pipeline.name,
            subject="cursor",
            verdict=Verdict.WARNING,
            message=f"{nulls} rows with NULL in {name} are read by snapshots only",
            cure="Fill the column, or keep snapshot_every short enough",
        )
    message = f"{name} {column.type.name}"
    if column.type.scalar not in TEMPORAL:
        message += (
            f": integers promise nothing about late commits; each run reads the last {pipeline.lookback_units} again"
            if pipeline.lookback_units
            else ": integers promise nothing about late commits, and lookback_units is 0: snapshots alone find those"
        )
    return CheckRow(area=pipeline.name, subject="cursor", verdict=Verdict.OK, message=message)


def _hours_beyond(highest: str, high: str) -> float:
    def moment(text: str) -> datetime:
        return datetime.fromisoformat(text.removesuffix("Z"))

    try:
        return (moment(highest) - moment(high)) / timedelta(hours=1)
    except ValueError:
        return 1.0


async def _counted(pipeline: Pipeline, subject: str, probe: Callable[[], Awaitable[CheckRow]]) -> CheckRow:
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            return await probe()
    except TimeoutError:
        return CheckRow(
            area=pipeline.name,
            subject=subject,
            verdict=Verdict.WARNING,
            message=f"not counted within {COUNT_SECONDS:.0f} s: the table is large",
        )
    except QupersyncError as error:
        return _failed(pipeline.name, subject, error)


def _failed(area: str, subject: str, error: QupersyncError) -> CheckRow:
    return CheckRow(area=area, subject=subject, verdict=Verdict.FAILED, message=error.message, cure=error.cure)
