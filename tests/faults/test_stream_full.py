"""11: a stream at its limit refuses; events wait in the outbox, and beyond its high-water mark extraction waits."""

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import Audit, drained, jetstream, parked, shown

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(11), pytest.mark.integration, pytest.mark.timeout(400)]
MIB = 1 << 20
ROWS = 20_000
COLUMNS = "id bigint NOT NULL, name varchar(2000), updated_at timestamp"
SHUFFLED = """
    INSERT INTO {table}
    SELECT n, (SELECT string_agg(md5((n * 31 + part)::text), '') FROM generate_series(1, 30) AS part),
           timestamp '2024-01-01' + n * interval '1 ms'
    FROM generate_series(1, {rows}) AS n
"""


@pytest.mark.long
async def test_back_pressure_while_the_stream_is_full(local_stack: ThreadedStack, facts: dict[str, object]) -> None:
    nats = {**local_stack.describe()["nats"], "stream_bytes_max": "1MiB"}
    async with opened(local_stack, columns=COLUMNS, nats=nats) as world, jetstream(world) as js:
        await world.source.execute(SHUFFLED.format(table=world.table, rows=ROWS))
        await world.migrate()
        low = {"QUPERSYNC_OUTBOX__HIGH_WATER_BYTES": "1MiB"}
        extractor = world.services.add("extractor", EXTRACTOR, "run", environment=low)
        await extractor.start()
        await shown(world, "no room")
        await shown(world, "high-water mark")
        name = stream_name(PipelineName(world.name))
        info = await js.stream_info(name)
        assert info.state.bytes <= MIB, "the stream took more than its limit"
        full = await _standing(world)
        assert full["extracted"] < ROWS, "extraction did not wait"
        assert full["waiting"] < 6 * MIB, "the outbox grew far beyond its high-water mark"
        assert (await js.stream_info(name)).state.last_seq == info.state.last_seq, "the stream was not full"

        await js.update_stream(config=info.config.evolve(max_bytes=256 * MIB))  # room was made
        async with Audit.opened(world) as audit:
            await world.services.add("loader", LOADER, "run").start()
            await drained(world, ROWS)
            await audit.assert_in_order()
        await eventually("a reason stays", lambda: _well(world))
        assert await parked(world) == (0, 0)
        facts |= {
            "rows": ROWS,
            "bytes waiting at most": full["waiting"],
            "rows extracted when full": full["extracted"],
        }


async def _well(world: World) -> bool:
    return (await world.status())["reason"] is None


async def _standing(world: World) -> dict[str, int]:
    """Rows extracted so far, and the bytes that wait in the outbox."""
    outbox = await asyncpg.connect(world.configuration["outbox"]["dsn"])
    try:
        row = await outbox.fetchrow(
            "SELECT coalesce(sum((o.headers ->> 'ce-rowcount')::bigint), 0)::bigint AS extracted,"
            " coalesce(sum(octet_length(o.payload)) FILTER (WHERE o.sequence > c.last_sequence), 0)::bigint AS waiting"
            " FROM qupersync.outbox AS o JOIN qupersync.relay_cursor AS c USING (pipeline, lane, log)"
        )
        return dict(row)
    finally:
        await outbox.close()
