"""3 and 33: rows that commit behind the cursor, up to the end of their lookback; more ties than a page holds."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.gates import Gate
from tests.faults.watching import OLD, drained, meanwhile

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(400)]
LOOKBACK = timedelta(seconds=6)
PAGE = "NEW.sequence > OLD.sequence"
TIES = "timestamp '2024-05-05 05:05:05.555'"
UTC_NOW = "timezone('UTC', clock_timestamp())"


async def _extraction(world: World) -> asyncpg.Record:
    connection = await asyncpg.connect(world.outbox_dsn)
    try:
        return await connection.fetchrow("SELECT sequence, cursor_position, swept_began_at FROM qupersync.extraction")
    finally:
        await connection.close()


async def _cursor(world: World) -> datetime:
    """The cursor's value; rows below it are behind it."""
    return _moment((await _extraction(world))["cursor_position"])


def _moment(position: str) -> datetime:
    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for one in value.values() for text in texts(one)]
        if isinstance(value, list):
            return [text for one in value for text in texts(one)]
        return [str(value)]

    found = [text for text in texts(json.loads(position)) if text[:2] == "20" and ":" in text]
    assert found, position
    return datetime.fromisoformat(found[0])


@pytest.mark.fault(3)
@pytest.mark.long
async def test_no_loss_when_rows_commit_behind_the_cursor(local_stack: ThreadedStack, facts: dict[str, object]) -> None:
    """Rows with a cursor value that was read long ago; rows of a transaction that stayed open beyond the lookback."""
    async with opened(local_stack, pipeline={"lookback": "6s"}) as world:
        await world.insert(1, 500, moment=OLD)
        await world.migrate()
        await world.services.run()
        await drained(world, 500)
        writer = await asyncpg.connect(local_stack.stack.source.owner_dsn)
        try:
            async with writer.transaction():
                began = await writer.fetchval(f"SELECT {UTC_NOW}")
                await writer.execute(
                    f"INSERT INTO {world.table} (id, name, updated_at) VALUES (501, 'held', $1)", began
                )
                late = await _commit_behind(world)
                await _wait_until_age(world, began, LOOKBACK + timedelta(seconds=1))
                assert await _cursor(world) <= began, "the cursor has passed a transaction that is still open"
            await drained(world, 510)
        finally:
            await writer.close()
        facts |= {"rows": 510, "committed behind the cursor": late, "committed beyond the lookback": 1}


async def _commit_behind(world: World) -> int:
    """Nine rows of the last moments before the cursor."""
    cursor = await _cursor(world)
    moment = cursor - timedelta(seconds=2)
    await world.source.execute(
        f"INSERT INTO {world.table} (id, name, updated_at) SELECT n, 'late', $1 FROM generate_series(502, 510) AS n",
        moment,
    )
    return 9


async def _wait_until_age(world: World, moment: datetime, age: timedelta) -> None:
    async def old() -> bool:
        return bool(await world.source.fetchval(f"SELECT {UTC_NOW} - $1::timestamp > $2", moment, age))

    await eventually("time to pass", old)


@pytest.mark.fault(3)
@pytest.mark.long
async def test_no_loss_when_all_rows_share_one_cursor_value(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """20,000 rows with one cursor value, pages of 1,000: none lost, none repeated endlessly."""
    async with opened(local_stack, pipeline={"page_rows": 1_000, "lookback": "30s", "safety_lag": "0s"}) as world:
        await world.insert(1, 10, moment=TIES)
        await world.migrate()
        await world.extract_once()
        before = (await world.standing()).extracted.rows
        assert before == 10
        await world.insert(11, 20_010)
        await world.extract_once()
        standing = await world.standing()
        assert standing.extracted.rows - before == 20_000
        await world.extract_once()
        again = await world.standing()
        assert again.extracted.rows - standing.extracted.rows <= 20_000  # at most one sweep of the lookback
        await world.load()
        assert (await world.standing()).level
        await world.assert_equal(rows=20_010)
        facts |= {"rows": 20_010, "ties": 20_000, "pages": again.sequence}


@pytest.mark.fault(3)
@pytest.mark.long
async def test_no_loss_when_ties_grow_while_their_pages_are_read(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """Rows of one cursor value that commit between its pages, some with keys that were passed already."""
    async with opened(local_stack, pipeline={"page_rows": 100, "safety_lag": "0s"}) as world:
        await world.insert(1, 10, moment=OLD)
        await world.migrate()
        await world.services.run()
        await drained(world, 10)
        async with Gate.opened(world.outbox_dsn, "qupersync.extraction", when=PAGE) as gate:
            await gate.shut()
            moment = await world.source.fetchval(f"SELECT {UTC_NOW}")
            await world.source.execute(_ties(world, first=11), moment)
            await gate.wait_for_waiting()
            await gate.open()
            await gate.shut()  # after the page that waited was committed
            await gate.wait_for_waiting()
            assert await _cursor(world) == moment, "no page of the ties is committed and another one under way"
            await world.source.execute(_ties(world, first=12), moment)
            await gate.open()
            await drained(world, 1_010)
        facts |= {"rows": 1_010, "ties": 1_000}


def _ties(world: World, *, first: int) -> str:
    """Every other key, all with one cursor value."""
    return (
        f"INSERT INTO {world.table} (id, name, updated_at) "
        f"SELECT n, 'tie', $1 FROM generate_series({first}, 1010, 2) AS n"
    )


@dataclass(slots=True)
class _Sweeps:
    """When sweeps began, by the source's clock."""

    world: World
    began: set[datetime] = field(default_factory=set)

    async def look(self) -> None:
        connection = await asyncpg.connect(self.world.outbox_dsn)
        try:
            while True:
                moment = await connection.fetchval("SELECT swept_began_at FROM qupersync.extraction")
                if moment is not None:
                    self.began.add(moment.replace(tzinfo=None))
                await asyncio.sleep(0.05)
        finally:
            await connection.close()

    def next_after(self, moment: datetime) -> datetime | None:
        return min((one for one in self.began if one > moment), default=None)


@pytest.mark.fault(33)
@pytest.mark.long
async def test_no_loss_when_rows_commit_just_before_the_end_of_their_lookback(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    """Some of them are older than the lookback when the next sweep begins, and are met by it all the same."""
    async with opened(local_stack, pipeline={"lookback": "6s"}) as world:
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        await world.services.add("extract", EXTRACTOR, "run").start()
        await world.services.add("loader", LOADER, "run").start()
        await drained(world, 300)
        sweeps = _Sweeps(world)
        async with meanwhile(sweeps.look):
            await eventually("a sweep", _reached(lambda: bool(sweeps.began)))
            rows: list[tuple[datetime, datetime]] = []
            while len(rows) < 40:
                made = await _commit_at_the_end(world, 301 + len(rows))
                if made is not None:
                    rows.append(made)
                await asyncio.sleep(0.1)
            last = rows[-1][1]
            await eventually("a sweep after the last row", _reached(lambda: sweeps.next_after(last) is not None))
            await drained(world, 340)
        ages = [found - moment for moment, at in rows if (found := sweeps.next_after(at)) is not None]
        beyond = sum(age > LOOKBACK for age in ages)
        assert beyond, "every row was met within its lookback: nothing was put to the test"
        facts |= {"rows": 340, "beyond their lookback at the next sweep": beyond}


async def _commit_at_the_end(world: World, key: int) -> tuple[datetime, datetime] | None:
    """A row's cursor value, most of a lookback ago, and when it was committed at the latest; None if that was too late.

    What comes too late is not promised to anybody: it is given up before its commit.
    """
    transaction = world.source.transaction()
    await transaction.start()
    now = await world.source.fetchval(f"SELECT {UTC_NOW}")
    moment = now - LOOKBACK + timedelta(milliseconds=700)
    await world.source.execute(f"INSERT INTO {world.table} (id, name, updated_at) VALUES ($1, 'late', $2)", key, moment)
    assert await _cursor(world) > moment, "the row is not behind the cursor"
    if await world.source.fetchval(f"SELECT {UTC_NOW}") - moment > LOOKBACK - timedelta(milliseconds=350):
        await transaction.rollback()
        return None
    await transaction.commit()
    committed = await world.source.fetchval(f"SELECT {UTC_NOW}")
    if committed - moment >= LOOKBACK:  # the commit itself took that long: the row is changed once more, in time
        await world.source.execute(f"UPDATE {world.table} SET updated_at = {UTC_NOW} WHERE id = $1", key)
    return moment, committed


def _reached(condition: Callable[[], bool]) -> Callable[[], Any]:
    async def asked() -> bool:
        return condition()

    return asked
