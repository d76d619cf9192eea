"""A lane's dead letters inside an event's transaction: what makes them good."""

from collections.abc import Collection
from uuid import UUID

import asyncpg

from qupersync_loader.application.ports import Letters
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_loader.domain.watermark import SnapshotSeen
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.runtime.database import affected


async def settle_letters(
    driver: asyncpg.Connection,
    pipeline: TargetPipeline,
    envelope: BatchEnvelope,
    *,
    redriven: Collection[UUID],
    snapshot: SnapshotSeen | None,
) -> Letters:
    """Resolves what the event, or a snapshot that is over, has said again; the lane is locked."""
    names = (pipeline.group, pipeline.name, envelope.lane)
    resolved = 0
    if redriven:
        status = await driver.execute(statement("letters_reread"), *names, envelope.lanes, list(redriven))
        resolved += affected(status) + await _settle_left(driver, pipeline, envelope, redriven)
    if snapshot is not None and snapshot.over and pipeline.deletes is not DeletePolicy.KEEP:
        status = await driver.execute(
            statement("letters_before"), *names, envelope.lanes, snapshot.id, envelope.log, snapshot.first
        )
        resolved += affected(status)
    return Letters(resolved=resolved, held=await driver.fetchval(statement("letters_hold"), *names, envelope.log))


async def _settle_left(
    driver: asyncpg.Connection, pipeline: TargetPipeline, envelope: BatchEnvelope, redriven: Collection[UUID]
) -> int:
    """Resolves letters from before a change of the number of lanes, with the last of all lanes; how many."""
    names = (pipeline.group, pipeline.name)
    found = await driver.fetch(statement("left_letters"), *names, envelope.lanes, list(redriven))
    if not found:
        return 0
    status = await driver.execute(
        statement("left_letters_reread"),
        *names,
        envelope.lane,
        envelope.lanes,
        envelope.log,
        envelope.sequence,
        [row["id"] for row in found],
    )
    return affected(status)
