"""31: keys that the source orders, or takes for equal, otherwise than the target. Nothing is lost, or it is refused."""

import re
from dataclasses import dataclass

import asyncpg
import pytest
import yaml
from tests.e2e.world import World, eventually, opened
from tests.faults.watching import NOW, drained, equal, shown

from qupersync_local.compare import compare_tables
from qupersync_local.compare_sides import PostgresSide
from qupersync_local.standin import conversation
from qupersync_local.standin.sql_text import Accepted, Refusal, for_postgres
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(31), pytest.mark.integration]

COLUMNS = "k varchar(60), n bigint, updated_at timestamp"
# How Redshift compares text: without trailing blanks, with the shorter one filled up with blanks, or without case.
BLANKS_IGNORED = "rtrim({}, ' ')"
BLANKS_FILLED = "rpad({}, 60)"
CASE_IGNORED = "lower({})"
_PLACES = re.compile(r'q\."k"|CAST\(\$\d+ AS VARCHAR\(65535\)\)')


@dataclass(slots=True)
class Order:
    """How the stand-in compares and orders the keys of one table; `used` counts the statements it did so in."""

    table: str = ""
    how: str = "{}"
    used: int = 0

    def __call__(self, text: str, *, case_sensitive: bool) -> Accepted | Refusal:
        answer = for_postgres(text, case_sensitive=case_sensitive)
        if isinstance(answer, Refusal) or not self.table or self.table not in answer.text:
            return answer
        head, where, rest = answer.text.partition("\nWHERE\n")
        if "ORDER BY" not in rest:
            return answer
        self.used += 1
        rest = _PLACES.sub(lambda place: self.how.format(place[0]), rest)
        return Accepted(text=f"{head}{where}{rest}", case_sensitive=answer.case_sensitive)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Order:
    """The stand-in is PostgreSQL behind a front: what it was not built to compare, the front spells out."""
    made = Order()
    monkeypatch.setattr(conversation, "for_postgres", made)
    return made


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page_rows", [1, pytest.param(100, marks=pytest.mark.long)])
async def test_no_loss_of_keys_that_differ_in_trailing_blanks_only(
    local_stack: ThreadedStack, order: Order, facts: dict[str, object], page_rows: int
) -> None:
    keys = ["a", "a b", "a  b ", "b ", "b   ", " b", "", "   ", "c", "c\u00a0", "ä ", "ä"]
    async with opened(local_stack, columns=COLUMNS, pipeline=_keyed(page_rows)) as world:
        world.key[:] = ["k"]
        order.table, order.how = world.name, BLANKS_IGNORED
        await _insert(world, keys, moment="timestamp '2024-01-01'")
        await world.migrate()
        await world.services.run()
        distinct = len({key.rstrip(" ") for key in keys})
        await drained(world, distinct)
        await _insert(world, ["d   ", "e", "e "], moment=NOW)
        await world.source.execute(f"UPDATE {world.table} SET n = 99, updated_at = {NOW} WHERE rtrim(k) IN ('a', 'b')")
        await drained(world, distinct + 2)
        await world.source.execute(f"DELETE FROM {world.table} WHERE k IN ('b ', 'c', 'e', 'e ')")  # 'b   ' stays
        await world.trigger("snapshot")
        await drained(world, distinct)
        assert order.used, "the stand-in compared as it always does"
        facts |= {"rows": len(keys) + 3, "keys": distinct + 2, "statements": order.used}


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page_rows", [1, 100])
async def test_no_loss_keys_with_control_characters_are_refused_and_a_hash_of_them_is_not(
    local_stack: ThreadedStack, order: Order, facts: dict[str, object], page_rows: int
) -> None:
    keys = ["a", "a\x01", "a\x01b", "a\tb", "ab", "b"]
    async with opened(local_stack, columns=COLUMNS, pipeline=_keyed(page_rows)) as world:
        order.table, order.how = world.name, BLANKS_FILLED
        await _insert(world, keys, moment="timestamp '2024-01-01'")
        await world.migrate()
        await world.services.run()
        reason = await shown(world, world.name, "order keys differently", "in a query")
        assert order.used, "the stand-in compared as it always does"
        await world.services.stop()
        world.services.processes.clear()
        # The cure that was named: another key, made in a query.
        tree = world.configuration
        entry = tree["pipelines"][world.name]
        del entry["from"]
        query = f"SELECT md5(k)::varchar(32) AS h, k, n, updated_at FROM {world.table}"
        entry |= {"query": query, "key": ["h"], "into": f"{world.target}_hashed"}
        world.services.configuration.write_text(yaml.safe_dump(tree), encoding="utf-8")
        await world.services.run()
        await eventually("the table by hash", lambda: _hashed(world, query, len(keys)))
        facts |= {"rows": len(keys), "reason": reason[:200]}


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page_rows", [1, 2])
async def test_no_loss_or_a_refusal_of_a_snapshot_by_a_key_without_case(
    local_stack: ThreadedStack, order: Order, facts: dict[str, object], page_rows: int
) -> None:
    keys = ["A", "a", "B", "b", "C"]  # seen one by one, they ascend in either order
    async with opened(local_stack, columns=COLUMNS, pipeline=_keyed(page_rows)) as world:
        world.key[:] = ["k"]
        order.table, order.how = world.name, CASE_IGNORED
        await _insert(world, keys, moment="timestamp '2024-01-01'")
        await world.migrate()
        await world.services.run()
        facts |= {"rows": len(keys), "ended": await _equal_or_refused(world, len(keys))}
        assert order.used, "the stand-in compared as it always does"


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page_rows", [1, 3])
async def test_no_loss_of_changes_by_a_key_without_case(
    local_stack: ThreadedStack, order: Order, facts: dict[str, object], page_rows: int
) -> None:
    """More ties on one cursor value than a page holds, and a page ends between keys that the source takes for one."""
    async with opened(local_stack, columns=COLUMNS, pipeline=_keyed(page_rows)) as world:
        world.key[:] = ["k"]
        order.table, order.how = world.name, CASE_IGNORED
        await _insert(world, ["a", "b", "c"], moment="timestamp '2024-01-01'")
        await world.migrate()
        await world.services.run()
        await drained(world, 3)
        await _insert(world, ["A", "B", "C", "d", "D", "E"], moment=NOW)
        await world.source.execute(f"UPDATE {world.table} SET n = -1, updated_at = {NOW}")
        facts |= {"rows": 9, "ended": await _equal_or_refused(world, 9)}
        assert order.used, "the stand-in compared as it always does"


def _keyed(page_rows: int) -> dict[str, object]:
    return {"key": ["k"], "page_rows": page_rows, "lanes": 2}


async def _insert(world: World, keys: list[str], *, moment: str) -> None:
    sql = f"INSERT INTO {world.table} SELECT k, n, {moment} FROM unnest($1::text[]) WITH ORDINALITY AS t(k, n)"
    await world.source.execute(sql, keys)


async def _hashed(world: World, query: str, rows: int) -> bool:
    world.services.check()
    try:
        compared = await compare_tables(
            PostgresSide(dsn=world.stack.stack.source.admin_dsn, query=query),
            PostgresSide(dsn=world.services_target_dsn, table=f"{world.target}_hashed"),
            key=["h"],
        )
    except (asyncpg.UndefinedTableError, ValueError):
        return False  # it is not there yet, or is being made
    return compared.same and compared.equal == rows


async def _equal_or_refused(world: World, rows: int) -> str:
    """Every row arrives, or status says that the key cannot be paged. Silence about missing rows fails."""
    ended: list[str] = []

    async def seen() -> bool:
        if await equal(world, rows):
            ended[:] = ["equal"]
        reason = str((await world.status())["reason"])
        if "order keys differently" in reason:
            ended[:] = ["refused"]
        return bool(ended)

    await eventually("rows are missing, and nobody says so", seen)
    return ended[0]
