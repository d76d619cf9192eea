"""20: pages larger than the server's max_payload are cut; a single row larger than it is withheld, and told of."""

from collections.abc import Iterator

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import NOW, OLD, drained, jetstream, shown

from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(20), pytest.mark.integration]

PAYLOAD_BYTES_MAX = 64 << 10
COLUMNS = "id bigint NOT NULL, wide varchar(65535), wider varchar(65535), updated_at timestamp"
# Hashes, so that compression does not make them small: a kilobyte each 32 of them.
ROWS = """
    INSERT INTO {table} SELECT n, (SELECT string_agg(md5(n || ' ' || m), '') FROM generate_series(1, {hashes}) AS m),
    'small', {moment} FROM generate_series({first}::bigint, {last}::bigint) AS n
"""
WIDEN = """
    UPDATE {table} SET updated_at = {now}, wide = long.text, wider = long.text
    FROM (SELECT string_agg(md5('{word} ' || m), '') AS text FROM generate_series(1, 2000) AS m) AS long WHERE {rows}
"""


@pytest.fixture
def narrow_stack() -> Iterator[ThreadedStack]:
    """A stack whose NATS server takes no message over 64 KiB."""
    with ThreadedStack(options=StackOptions(fast=True, payload_bytes_max=PAYLOAD_BYTES_MAX)) as stack:
        yield stack


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_pages_over_the_limit_are_cut_and_rows_over_it_are_withheld(
    narrow_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(narrow_stack, columns=COLUMNS, pipeline={"lanes": 2}) as world:
        # 300 rows of 12 kB: one page of the configuration's 500 rows, and some fifty times what one event may have.
        await world.source.execute(ROWS.format(table=world.table, hashes=384, first=1, last=300, moment=OLD))
        await world.migrate()
        await world.services.run()
        await drained(world, 300)
        events, largest = await _events(world)
        assert events >= 2 * 25, f"nothing was cut: {events} events"
        assert largest <= PAYLOAD_BYTES_MAX

        # Known rows grow beyond every event: they stay as they were, whatever the snapshot says of their range.
        grown = "id IN (7, 150, 300)"
        await world.source.execute(WIDEN.format(table=world.table, now=NOW, word="one", rows=grown))
        await eventually("three rows are withheld", lambda: _withheld(world, 3))
        before = (await world.standing()).snapshot
        await world.trigger("snapshot")
        await world.wait_for_snapshot(before)
        assert {one.key for one in (await world.compare()).differences} == {(7,), (150,), (300,)}
        assert await world.app.fetchval(f"SELECT count(*) FROM {world.target} WHERE {grown} AND wider = 'small'") == 3
        reason = await shown(world, world.name, "withheld")

        # One shrinks, one is deleted, one grows still; the first two are settled without anybody's hand.
        shrink = f"UPDATE {world.table} SET wide = 'short', wider = '', updated_at = {NOW} WHERE id = "
        await world.source.execute(f"{shrink} 7")
        await world.source.execute(f"DELETE FROM {world.table} WHERE id = 150")
        await world.source.execute(WIDEN.format(table=world.table, now=NOW, word="two", rows="id = 300"))
        await world.trigger("snapshot")
        await eventually("two rows are settled", lambda: _withheld(world, 1))
        await eventually("the row that grew is all that differs", lambda: _differs(world, {(300,)}))
        await world.source.execute(f"{shrink} 300")
        await drained(world, 299)
        await eventually("the last row is settled", lambda: _withheld(world, 0))
        facts |= {"rows": 299, "events": events, "largest": largest, "withheld": 3, "reason": reason[:120]}


async def _events(world: World) -> tuple[int, int]:
    """How many events the stream has, and the bytes of the largest, with its headers."""
    name = stream_name(PipelineName(world.name))
    async with jetstream(world) as js:
        state = (await js.stream_info(name)).state
        largest = 0
        for number in range(state.first_seq, state.last_seq + 1):
            message = await js.get_msg(name, number)
            headers = sum(len(key) + len(value) + 4 for key, value in (message.headers or {}).items())
            largest = max(largest, headers + len(message.data or b""))
    return int(state.messages), largest


async def _withheld(world: World, rows: int) -> bool:
    world.services.check()
    outbox = await asyncpg.connect(world.outbox_dsn)
    try:
        count = await outbox.fetchval("SELECT count(*) FROM qupersync.source_quarantine WHERE resolved_at IS NULL")
    finally:
        await outbox.close()
    return bool(count == rows)


async def _differs(world: World, keys: set[tuple[int]]) -> bool:
    world.services.check()
    return {one.key for one in (await world.compare()).differences} == keys
