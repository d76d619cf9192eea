"""The swap beside readers and loaders, and cut off at every statement: all of it happens, or nothing does."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from tests.conformance.loader.events import people
from tests.integration.rebuild.furnished import catalogue, furnish
from tests.integration.rebuild.sides import Sides
from tests.integration.rebuild.test_claim_and_hold import waiting

from qupersync_loader.application.outcome import Ack
from qupersync_loader.application.shadows import Way
from qupersync_loader.infrastructure.postgres.rebuild import hold
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.kernel.errors import TransientError

WAYS = pytest.mark.parametrize("way", list(Way))


class Cut:
    """A connection on which something happens before, or after, one of its statements."""

    def __init__(
        self,
        driver: asyncpg.Connection,
        before: Callable[[str, asyncpg.Connection], Any],
        after: Callable[[str, asyncpg.Connection], Any],
    ) -> None:
        self._driver = driver
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name not in {"execute", "fetch", "fetchrow", "fetchval"}:
            return found

        async def asked(sql: str, *values: Any) -> Any:
            await self._before(sql, self._driver)
            answer = await found(sql, *values)
            await self._after(sql, self._driver)
            return answer

        return asked


async def _nothing(_sql: str, _driver: asyncpg.Connection) -> None: ...


def cut(
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: Callable[[str, asyncpg.Connection], Any] = _nothing,
    after: Callable[[str, asyncpg.Connection], Any] = _nothing,
) -> None:
    """From now on, statements of holds are cut."""
    plain = hold.session

    @asynccontextmanager
    async def session(dsn: str, **limits: Any) -> AsyncIterator[Any]:
        async with plain(dsn, **limits) as driver:
            yield Cut(driver, before, after) if "idle_in_transaction_seconds" in limits else driver

    monkeypatch.setattr(hold, "session", session)


@WAYS
async def test_cut_off_at_any_statement_nothing_has_changed(
    local_stack: ThreadedStack, sides: Sides, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    await sides.snapshot(people(1, 2, 3))
    if way is Way.SWAP:
        await furnish(local_stack, sides)
    await sides.postgres.execute("UPDATE people SET amount = 3 WHERE id = 2")
    async with sides.prepared() as shadow:
        before = await catalogue(sides)
        marks = await shadow.lanes()
        for number in itertools.count(1):
            statements = itertools.count(1)

            async def kill(
                _sql: str, driver: asyncpg.Connection, number: int = number, statements: Any = statements
            ) -> None:
                """As a crash of the server's process would."""
                if next(statements) == number:
                    await sides.postgres.value("SELECT pg_terminate_backend($1, 10000)", driver.get_server_pid())

            with monkeypatch.context() as patch:
                cut(patch, before=kill)
                try:
                    await sides.put(shadow, way)
                except TransientError:
                    pass
                else:
                    break
            assert [str(row["amount"]) for row in await sides.rows()] == ["1.00", "3.00", "1.00"]
            assert await shadow.lanes() == marks
        assert number > 10
    after = await catalogue(sides)
    assert [str(row["amount"]) for row in await sides.rows()] == ["1.00"] * 3
    assert await sides.leftovers() == []
    assert "_qs_shadow" in before
    assert "_qs_shadow" not in after


@WAYS
async def test_a_commit_whose_answer_was_lost_is_looked_up(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    await sides.snapshot(people(1, 2))
    await sides.postgres.execute("UPDATE people SET name = 'damaged'")

    async def lose(sql: str, _driver: asyncpg.Connection) -> None:
        if sql == "COMMIT":
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost")

    async with sides.prepared() as shadow:
        cut(monkeypatch, after=lose)
        assert (await sides.put(shadow, way)).rows == 2
    assert [row["name"] for row in await sides.rows()] == ["n1", "n2"]


async def test_readers_and_loaders_go_on_through_swaps(sides: Sides) -> None:
    await sides.snapshot(people(*range(1, 50)))
    await sides.postgres.execute("CREATE VIEW seen AS SELECT id, name FROM people")
    ended = asyncio.Event()

    async def read(sql: str) -> int:
        """One session with one prepared statement; every answer is whole."""
        count = 0
        async with sides.postgres.connected() as reader:
            prepared = await reader.prepare(sql)
            while not ended.is_set():
                assert await prepared.fetchval() >= 49
                count += 1
        return count

    async def load() -> int:
        for number in itertools.count(100):
            page = sides.source.incremental(people(number))
            sides.told.append(page)
            for event in page:
                while not isinstance(await sides.live.give(event), Ack):
                    pass
            if ended.is_set():
                return number
            await asyncio.sleep(0.1)  # else there is more to catch up with than time to do so
        raise AssertionError

    readers = [asyncio.create_task(read(f"SELECT count(*) FROM {name}")) for name in ("people", "seen")]
    loader = asyncio.create_task(load())
    for _ in range(2):
        async with sides.shadows.claim(sides.live.pipeline) as shadow:
            await shadow.make()
            done = await sides.catch_up_with_live(shadow, await shadow.lanes())
            await shadow.prepare()
            async with shadow.hold() as held:
                await sides.catch_up_with_live(shadow, held.lanes, done)
                assert all(pair.level for pair in (await held.look()).values())
                await held.put_in_place(Way.SWAP, sides.schema)
    ended.set()
    last = await loader
    assert min(await asyncio.gather(*readers)) > 0
    assert [row["id"] for row in await sides.rows()] == [*range(1, 50), *range(100, last + 1)]


async def test_readers_that_do_not_let_go_are_not_waited_for_for_ever(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.impatient.claim(sides.live.pipeline) as shadow, sides.postgres.connected() as reader:
        await sides.ready(shadow)
        await reader.execute("BEGIN; SELECT count(*) FROM people")
        with pytest.raises(TransientError, match="do not let go"):
            await sides.put(shadow)
        await sides.change(people(3))
        assert await reader.fetchval("SELECT count(*) FROM people") == 3
        await reader.execute("COMMIT")
        await sides.catch_up(shadow)
        await sides.put(shadow)
    assert len(await sides.rows()) == 3


async def test_others_pass_while_a_reader_is_waited_for(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared() as shadow, sides.postgres.connected() as reader:
        await reader.execute("BEGIN; SELECT count(*) FROM people")
        swapping = asyncio.create_task(sides.put(shadow))
        await waiting(sides)
        async with sides.postgres.connected() as other:
            assert await other.fetchval("SELECT count(*) FROM people", timeout=60) == 2
        assert not swapping.done()
        await reader.execute("COMMIT")
        await swapping


async def test_maintenance_of_the_table_is_waited_for_without_anybody_queueing(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared() as shadow, sides.postgres.connected() as other:
        await other.execute("BEGIN; LOCK TABLE people IN SHARE UPDATE EXCLUSIVE MODE")
        swapping = asyncio.create_task(sides.put(shadow))
        await waiting(sides)
        async with sides.postgres.connected() as reader:
            await reader.execute("UPDATE people SET amount = 2 WHERE id = 1", timeout=60)
        with pytest.raises(TransientError, match="altered, indexed or vacuumed"):
            await swapping
        await other.execute("ROLLBACK")
        await sides.put(shadow)


async def test_what_was_changed_since_it_was_prepared_is_noticed(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared() as shadow:
        await sides.postgres.execute("CREATE INDEX late ON people (name); ALTER TABLE people ALTER name SET NOT NULL")
        with pytest.raises(TransientError, match=r"changed since the shadow was prepared.*index late"):
            await sides.put(shadow)
        await shadow.prepare()
        await sides.put(shadow)
    indexes = await sides.postgres.fetch(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'people'::regclass"
    )
    assert sorted(row[0] for row in indexes) == ["late", "people_pkey"]


async def test_rights_that_are_granted_at_the_last_moment_are_not_lost(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sides.snapshot(people(1, 2))

    async def grant(sql: str, _driver: asyncpg.Connection) -> None:
        if sql.startswith("SAVEPOINT qupersync_swap"):
            await sides.postgres.execute("GRANT SELECT ON people TO PUBLIC")

    async with sides.prepared() as shadow:
        with monkeypatch.context() as patch:
            cut(patch, before=grant)
            with pytest.raises(TransientError, match="at this very moment"):
                await sides.put(shadow)
        await sides.put(shadow)
    assert await sides.postgres.value(
        "SELECT 'people'::regclass IN (SELECT oid FROM pg_class WHERE relacl IS NOT NULL)"
    )


async def test_a_million_rows_change_places_without_one_being_looked_at(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []

    async def count_rows(sql: str, driver: asyncpg.Connection) -> None:
        if sql == "COMMIT":
            looked_at.append(
                await driver.fetchval(
                    "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_all_tables "
                    "WHERE relid = to_regclass('public.people')"
                )
            )

    count = 1_000_000
    await sides.snapshot(people(1))
    fill = f"INSERT INTO {{}} SELECT i, 'n' || i, 1, now(), 1, mod(i, 4096) FROM generate_series(2, {count}) AS i"
    await sides.postgres.execute("CREATE INDEX ON people (name); CREATE INDEX ON people (amount, id)")
    async with sides.postgres.connected() as filler:
        await filler.execute("SET statement_timeout = 0; " + fill.format("people"), timeout=280)
        async with sides.shadows.claim(sides.live.pipeline) as shadow:
            await shadow.make()
            await sides.catch_up(shadow)
            await filler.execute(fill.format(shadow.pipeline.table), timeout=280)
            await shadow.prepare()
            cut(monkeypatch, before=count_rows)
            async with shadow.hold() as held:
                swapped = await held.put_in_place(Way.SWAP, sides.schema)
    print(f"locked {swapped.locked_seconds * 1000:.1f} ms, paused {swapped.paused_seconds * 1000:.1f} ms")
    assert swapped.rows == count
    assert looked_at == [0]
    assert await sides.postgres.value("SELECT count(*) FROM people") == count
