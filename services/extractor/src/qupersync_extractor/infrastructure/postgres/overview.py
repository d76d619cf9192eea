"""All pipelines at a glance, for `qupersync status`: a few statements, however many pipelines there are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.application.ports import OutboxDepth, Registration
from qupersync_extractor.domain.records import RelayCursor
from qupersync_extractor.domain.rereads import RereadCounts
from qupersync_extractor.infrastructure.postgres import tables
from qupersync_extractor.infrastructure.postgres.rows import REGISTRATION, cursor_of, registration_of
from qupersync_extractor.infrastructure.postgres.sql import statement
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


async def overview(engine: AsyncEngine, pipelines: Sequence[PipelineName]) -> dict[PipelineName, Overview]:
    """The pipelines that the database knows, as of one moment; DatabaseUnavailableError where it does not answer."""
    names = list(pipelines)
    withheld, reread = tables.source_quarantine, tables.reread_request
    with translated():
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            await connection.execute(statement("by_index"))
            depths = {row.pipeline: row for row in await connection.execute(statement("depths"), {"pipelines": names})}
            known = (
                await connection.execute(sa.select(*REGISTRATION).where(tables.extraction.c.pipeline.in_(names)))
            ).all()
            cursors: dict[str, dict[Lane, RelayCursor]] = defaultdict(dict)
            for row in await connection.execute(
                sa.select(tables.relay_cursor).where(tables.relay_cursor.c.pipeline.in_(names))
            ):
                cursors[row.pipeline][Lane(row.lane)] = cursor_of(row)
            rows_withheld = {
                row.pipeline: int(row.rows)
                for row in await connection.execute(
                    sa.select(withheld.c.pipeline, sa.func.count().label("rows"))
                    .where(withheld.c.pipeline.in_(names), withheld.c.resolved_at.is_(None))
                    .group_by(withheld.c.pipeline)
                )
            }
            rereads = {
                row.pipeline: RereadCounts(waiting=row.waiting, refused=row.refused, oldest=row.oldest)
                for row in await connection.execute(
                    sa.select(
                        reread.c.pipeline,
                        sa.func.count().filter(reread.c.done_at.is_(None)).label("waiting"),
                        sa.func.count()
                        .filter(reread.c.done_at.is_not(None), reread.c.refused.is_not(None))
                        .label("refused"),
                        sa.func.min(reread.c.requested_at).filter(reread.c.done_at.is_(None)).label("oldest"),
                    )
                    .where(reread.c.pipeline.in_(names))
                    .group_by(reread.c.pipeline)
                )
            }
    found: dict[PipelineName, Overview] = {}
    for row in known:
        name = PipelineName(row.pipeline)
        depth = depths.get(name)
        found[name] = Overview(
            registration=registration_of(row),
            depth=OutboxDepth(
                records=depth.records if depth else 0,
                bytes=depth.bytes if depth else 0,
                oldest=depth.oldest if depth else None,
            ),
            cursors=cursors[name],
            withheld=rows_withheld.get(name, 0),
            rereads=rereads.get(name, RereadCounts()),
        )
    return found
