"""All pipelines at a glance: the same as each adapter says of one, in a few statements."""

from datetime import timedelta

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.infrastructure.postgres.outbox import PostgresOutboxReader
from qupersync_extractor.infrastructure.postgres.overview import overview
from qupersync_extractor.infrastructure.postgres.partitions import OutboxPartitions
from qupersync_extractor.infrastructure.postgres.registry import PostgresRegistry
from qupersync_extractor.infrastructure.postgres.relay_cursors import PostgresRelayCursors
from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_shared.kernel.ids import Lane, PipelineName

NAMES = [PipelineName(f"p{number}") for number in range(30)]
STATEMENTS_MAX = 14


_FILL = """
    INSERT INTO qupersync.outbox (id, pipeline, lane, log, sequence, event_type, event_version, correlation_id,
                                  headers, payload)
    SELECT gen_random_uuid(), 'p3', lane, 1, sequence, 't', 1, gen_random_uuid(), '{}', 'x'
    FROM generate_series(0, 1) AS lane, generate_series(1, 5) AS sequence
"""
_WITHHOLD = """
    INSERT INTO qupersync.source_quarantine (pipeline, key_digest, key, reason, event_id)
    SELECT 'p3', sha256(key::bytea), key, 'too big', gen_random_uuid() FROM unnest('{a,b}'::text[]) AS key
"""
_REREAD = """
    INSERT INTO qupersync.reread_request (id, pipeline, asker, reason, wanted, keys, redrives)
    VALUES (gen_random_uuid(), 'p3', 'main', 'test', 'keys', '{a}', '{}')
"""
_REFUSED = """
    INSERT INTO qupersync.reread_request (id, pipeline, asker, reason, wanted, keys, redrives, refused, done_at)
    SELECT gen_random_uuid(), 'p3', 'main', 'test', 'keys', '{a}', '{}', why, now() + n * interval '1 second'
    FROM (VALUES (1, NULL), (2, 'no such key')) AS ended (n, why)
"""


async def test_every_pipeline_stands_as_its_adapters_say(engine: AsyncEngine, signals: PostgresSignals) -> None:
    registry, cursors = PostgresRegistry(engine, signals), PostgresRelayCursors(engine)
    for name in NAMES:
        await registry.register(name, 2)
    await OutboxPartitions(engine, timedelta(hours=1)).ensure_ahead()
    async with engine.begin() as connection:
        for statement in (_FILL, _WITHHOLD, _REREAD, _REFUSED):
            await connection.exec_driver_sql(statement)
    claimed = await cursors.claim(NAMES[3], "test", 60)
    sent: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: sent.append(given[2]))

    found = await overview(engine, [*NAMES, PipelineName("unknown")])

    assert len(sent) <= STATEMENTS_MAX
    assert set(found) == set(NAMES)
    one = found[NAMES[3]]
    assert one.depth == await PostgresOutboxReader(engine, signals).depth(NAMES[3])
    assert (one.depth.records, one.depth.bytes, one.withheld) == (10, 10, 2)
    assert (one.rereads.waiting, one.rereads.refused, one.rereads.unreadable) == (1, 1, "no such key")
    assert one.cursors == {Lane(cursor.lane): cursor for cursor in claimed}
    assert one.registration == await registry.get(NAMES[3])
    assert (found[NAMES[4]].depth.records, found[NAMES[4]].withheld, found[NAMES[4]].cursors) == (0, 0, {})
