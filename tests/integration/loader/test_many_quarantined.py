"""Rows in quarantine, however many: what a batch settles of them is the same, and found by what it says."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Extractor, ints, people, schema

from qupersync_loader.infrastructure.memory.tables import key_order
from qupersync_loader.infrastructure.postgres import quarantine
from qupersync_loader.infrastructure.postgres.quarantine import bound, storable
from qupersync_loader.infrastructure.postgres.quarantined_range import quarantined_in_range
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.infrastructure.postgres.work import _SETTINGS as SETTINGS
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import slot_of_key
from qupersync_shared.kernel.ids import uuid7
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind, encode_key

MANY = 3_000


@pytest.fixture(params=["one by one", "by the index"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "FEW", 10**6 if request.param == "one by one" else 0)


async def _insert(postgres: PostgresHarness, lanes: Lanes, keys: Sequence[Key]) -> None:
    """Waiting rows, as if an earlier event had brought them."""
    async with postgres.connected() as connection:
        await connection.execute(
            statement("quarantine"),
            lanes.pipeline.group,
            lanes.pipeline.name,
            uuid7(),
            1,
            1,
            [slot_of_key(key) for key in keys],
            [encode_key(key) for key in keys],
            ["{}"] * len(keys),
            ["a reason"] * len(keys),
        )


async def _resolutions(postgres: PostgresHarness) -> dict[str, str | None]:
    found = await postgres.fetch("SELECT key, resolution FROM qupersync_quarantine ORDER BY id")
    return {row["key"]: row["resolution"] for row in found}


@pytest.mark.usefixtures("few")
async def test_keys_load_go_or_wait_by_what_the_batch_says(postgres: PostgresHarness) -> None:
    lanes, source = Lanes(postgres.target, lanes=2), Extractor(lanes=2)
    await lanes.load(source.page(people(*range(10))))
    await _insert(postgres, lanes, [ints(n) for n in range(MANY)])
    done = await lanes.load(source.incremental(people(*range(20))))
    assert done.resolved == 20
    done = await lanes.load(source.reread(people(30, 31), gone=people(32, 33)))
    assert done.resolved == 4
    await postgres.refuse_names("bad41")
    done = await lanes.load(source.reread(people(40) + people(41, name="bad"), gone=people(42)))
    assert (done.resolved, done.quarantined) == (2, 1)
    # A range that holds the half of them: those that it has not got, nor withholds, are gone.
    page = source.page(
        people(50, 51) + people(52, name="bad"), after=ints(45), upto=ints(1_000), withheld_keys=(ints(60),)
    )
    await postgres.refuse_names("bad52")
    done = await lanes.load(page)
    assert (done.resolved, done.quarantined) == (1_000 - 45 - 2, 1)
    after = await _resolutions(postgres)
    waiting = {n for n in range(MANY) if after[encode_key(ints(n))] is None}
    assert waiting == {*range(20, 30), *range(34, 40), 41, *range(43, 46), 52, 60, *range(1_001, MANY)}
    loaded = {n for n in range(MANY) if after[encode_key(ints(n))] == "loaded"}
    assert loaded == {*range(20), 30, 31, 40, 50, 51}


@pytest.mark.usefixtures("few")
async def test_a_baseline_ends_the_wait_of_keys_of_other_columns(postgres: PostgresHarness) -> None:
    lanes, source = Lanes(postgres.target), Extractor()
    await lanes.load(source.page(people(1)))
    nul, code = Scalar(ScalarKind.TEXT, "x\0y"), Scalar(ScalarKind.TEXT, "a")
    pairs = [(code,), (nul,), (code, nul), (Scalar(ScalarKind.INT, "5"), code), ints(7), ints(10**12)]
    await _insert(postgres, lanes, pairs)
    assert (await lanes.load(source.page(people(2), after=ints(6), upto=ints(8)))).resolved == 1  # no baseline
    assert (await lanes.load(source.page(people(1), upto=ints(2)))).resolved == 4
    assert [r for r in (await _resolutions(postgres)).values() if r is None] == [None]
    assert (await lanes.load(source.page(people(3), after=ints(2)))).resolved == 1


MOMENTS = (ScalarKind.DATE, ScalarKind.TIMESTAMPTZ)
KINDS: dict[str, tuple[RowSchema, list[str]]] = {
    ScalarKind.INT: (schema(id="integer"), ["-7", "0", "5", "10", "99999999999", "-99999999999"]),
    ScalarKind.NUMERIC: (schema(id="numeric(6,2)"), ["-7.5", "0", "0.25", "10", "99999999999", "0.255"]),
    ScalarKind.TEXT: (
        schema(id="varchar"),
        ["", "a", "B", "a\0", "a\0b", "ä", "🙂", "\\u0000", '"', "\\", "\\\\u0000"],
    ),
    ScalarKind.DATE: (schema(id="date"), ["2024-01-01", "0001-01-01", "9999-12-31", "29999-01-01", "5874897-01-01"]),
    ScalarKind.TIMESTAMPTZ: (
        schema(id="timestamptz"),
        ["2024-01-01 00:00:00.000000Z", "2024-01-01 00:00:00.000001Z", "294277-01-01 00:00:00.000000Z"],
    ),
    ScalarKind.BOOLEAN: (schema(id="boolean"), ["false", "true"]),
    ScalarKind.UUID: (schema(id="uuid"), ["00" * 16, "0f" * 16, "ff" * 16]),
    ScalarKind.BYTES: (schema(id="varbyte"), ["", "00", "0001", "ff"]),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_key_is_found_within_a_range_and_only_there(postgres: PostgresHarness, kind: str) -> None:
    rows, texts = KINDS[kind]
    keys: list[Key] = [(Scalar(ScalarKind(kind), text),) for text in texts]
    lanes = Lanes(postgres.target)
    await _insert(postgres, lanes, [*keys, (Scalar(ScalarKind.TIME, "00:00:00"),)])
    names = (lanes.pipeline.group, lanes.pipeline.name, 1, 0, False)
    bounds = [None, *(key for key in keys if storable(key) and _fits(rows, key))]
    async with postgres.connected() as connection:
        for after in bounds:
            for upto in bounds:
                low, high = bound(after), bound(upto)
                sql = quarantined_in_range(rows, after=len(low), upto=len(high))
                found = {row["key"] for row in await connection.fetch(sql, *names, *low, *high)}
                assert found == {encode_key(key) for key in keys if _between(key, after, upto)}, (after, upto)


def _fits(rows: RowSchema, key: Key) -> bool:
    """Whether the column can hold it now; a waiting key may be from a wider one."""
    number = rows.key_columns[0].type
    return number.scalar not in (ScalarKind.INT, ScalarKind.NUMERIC) or abs(Decimal(key[0].text)) < 1_000


def _between(key: Key, after: Key | None, upto: Key | None) -> bool:
    above = after is None or _order(key) > _order(after)
    return storable(key) and above and (upto is None or _order(key) <= _order(upto))


def _order(key: Key) -> Any:
    """Moments of years with more digits come later."""
    return (key[0].text.index("-"), key[0].text) if key[0].kind in MOMENTS else key_order(key)


async def test_a_key_of_several_columns_is_compared_as_a_whole(postgres: PostgresHarness) -> None:
    rows = schema(key=("code", "at", "part"), code="varchar", at="date", part="numeric(12,2)", note="varchar")
    lanes, source = Lanes(postgres.target), Extractor(rows)

    def made(code: str, day: int, part: str) -> dict[str, Any]:
        return {"code": code, "at": date(2024, 1, day), "part": Decimal(part), "note": None}

    def key(code: str, day: int, part: str) -> Key:
        kinds = (ScalarKind.TEXT, ScalarKind.DATE, ScalarKind.NUMERIC)
        return tuple(Scalar(k, t) for k, t in zip(kinds, (code, f"2024-01-{day:02}", part), strict=True))

    await lanes.load(source.page([made("a", 1, "1")]))
    waiting = [key(code, day, part) for code in "ab" for day in (1, 2) for part in ("-1", "10", "9.5")]
    await _insert(postgres, lanes, waiting)
    page = source.page([made("a", 2, "10.00")], after=key("a", 1, "9.5"), upto=key("b", 1, "9.5"))
    done = await lanes.load(page)
    after = await _resolutions(postgres)
    covered = [k for k in waiting if key_order(key("a", 1, "9.5")) < key_order(k) <= key_order(key("b", 1, "9.5"))]
    assert done.resolved == len(covered)
    assert {k for k, r in after.items() if r is not None} == {encode_key(k) for k in covered}
    assert [k for k, r in after.items() if r == "loaded"] == [encode_key(key("a", 2, "10"))]


async def test_a_batch_asks_for_its_own_keys_through_the_index(postgres: PostgresHarness) -> None:
    lanes, source = Lanes(postgres.target), Extractor()
    await lanes.load(source.page(people(1)))
    await _insert(postgres, lanes, [ints(n) for n in range(MANY)])
    await postgres.execute("ANALYZE qupersync_quarantine")
    async with postgres.connected() as connection, connection.transaction():
        await connection.execute(SETTINGS)
        for name, last, indexes in (
            ("unresolved_keys", quarantine.FEW + 1, ("unresolved", "waiting")),  # either has them together
            ("unresolved_named", ["0" * 32] * 100, ("unresolved",)),
        ):
            plan = await connection.fetch(f"EXPLAIN {statement(name)}", lanes.pipeline.group, lanes.pipeline.name, last)
            told = "\n".join(row[0] for row in plan)
            assert any(f"qupersync_quarantine_{index} " in told for index in indexes), told
