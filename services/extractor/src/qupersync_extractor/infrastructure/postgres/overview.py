"""All pipelines at a glance, for `qupersync status`: a few statements, however many pipelines there are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.appointments import LastRun
from qupersync_extractor.application.control import PipelineControl
from qupersync_extractor.application.ports import OutboxDepth, Registration
from qupersync_extractor.application.runs import RunRecord
from qupersync_extractor.application.verifying.records import Verification
from qupersync_extractor.domain.records import RelayCursor
from qupersync_extractor.domain.rereads import RereadCounts
from qupersync_extractor.domain.whereabouts import Whereabouts
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.control import controls_of
from qupersync_extractor.infrastructure.postgres.last_runs import last_runs, requested_runs
from qupersync_extractor.infrastructure.postgres.ledger import whereabouts_of
from qupersync_extractor.infrastructure.postgres.newest_runs import newest_runs
from qupersync_extractor.infrastructure.postgres.outbox import EMPTY, depths
from qupersync_extractor.infrastructure.postgres.quarantine import withheld_counts
from qupersync_extractor.infrastructure.postgres.rereads import reread_counts
from qupersync_extractor.infrastructure.postgres.rows import REGISTRATION, cursor_of, registration_of
from qupersync_extractor.infrastructure.postgres.sql import statement
from qupersync_extractor.infrastructure.postgres.verifications import standing_verifications
from qupersync_shared.kernel.ids import Lane, PipelineName
from qupersync_shared.runtime.database import translated


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the database says of one pipeline; `cursors` are the relay's, lane by lane."""

    registration: Registration
    depth: OutboxDepth
    cursors: Mapping[Lane, RelayCursor]
    withheld: int
    rereads: RereadCounts
    verifications: Sequence[Verification] = ()
    control: PipelineControl | None = None
    newest_run: RunRecord | None = None
    last_scheduled: LastRun | None = None
    run_requested: bool = False
    whereabouts: Whereabouts | None = None


async def overview(engine: AsyncEngine, pipelines: Sequence[PipelineName]) -> dict[PipelineName, Overview]:
    """The pipelines that the database knows, as of one moment; DatabaseUnavailableError where it does not answer."""
    with translated():
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            await connection.execute(statement("by_index"))
            waiting = await depths(connection, pipelines)
            withheld = await withheld_counts(connection, pipelines)
            rereads = await reread_counts(connection, pipelines)
            verified = await standing_verifications(connection, pipelines)
            cursors: dict[str, dict[Lane, RelayCursor]] = defaultdict(dict)
            for row in await connection.execute(
                sa.select(tables.relay_cursor).where(tables.relay_cursor.c.pipeline.in_(pipelines))
            ):
                cursors[row.pipeline][Lane(row.lane)] = cursor_of(row)
            known = await connection.execute(
                sa.select(*REGISTRATION).where(tables.extraction.c.pipeline.in_(pipelines))
            )
            registrations = {PipelineName(row.pipeline): registration_of(row) for row in known}
            controls = await controls_of(connection, pipelines)
            runs = await newest_runs(connection, pipelines)
            scheduled = await last_runs(connection, pipelines)
            requested = await requested_runs(connection, pipelines)
            places = await whereabouts_of(connection, pipelines)
    return {
        name: Overview(
            registration=registration,
            depth=waiting.get(name, EMPTY),
            cursors=cursors[name],
            withheld=withheld.get(name, 0),
            rereads=rereads.get(name, RereadCounts()),
            verifications=[one for one in verified if one.pipeline == name],
            control=controls.get(name),
            newest_run=runs.get(name),
            last_scheduled=scheduled.get(name),
            run_requested=name in requested,
            whereabouts=places.get(name),
        )
        for name, registration in registrations.items()
    }


async def left_behind(
    engine: AsyncEngine, pipelines: Sequence[PipelineName], *, longer_than: timedelta
) -> dict[PipelineName, datetime]:
    """Pipelines beside these whose records have waited so long that they keep the outbox from being dropped, and since
    when; DatabaseUnavailableError where the database does not answer.
    """
    values = {"pipelines": list(pipelines), "retention_seconds": longer_than.total_seconds()}
    with translated():
        async with engine.connect() as connection:
            await connection.execute(statement("by_index"))
            found = await connection.execute(statement("left_behind"), values)
            return {PipelineName(row.pipeline): row.oldest for row in found}
