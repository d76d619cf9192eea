"""The comparison: it finds a single damaged value of any type, and nothing else."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from tests.conformance.loader.conftest import PostgresHarness
from tests.conformance.loader.events import people, schema
from tests.integration.rebuild.sides import Sides

from qupersync_loader.application.content import open_event
from qupersync_loader.domain.pipeline import DeletePolicy
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.kernel.positions import decode_key, encode_key

KINDS = schema(
    id="bigint", small="smallint", whole="integer", big="bigint", single="real", dbl="double", money="numeric(38,10)",
    yes="boolean", fixed="char", words="varchar", day="date", moment="timestamp", zoned="timestamptz", hour="time",
    zoned_hour="timetz", doc="super", raw="varbyte", tag="uuid",
)  # fmt: skip
EARLY = -61_120_000_000_000_000  # the year 33
FAR = 8_000_000_000_000_000_000  # microseconds: the year 255,000 or so

ROW: dict[str, Any] = {
    "small": 1, "whole": 2, "big": 3, "single": 0.0, "dbl": float("nan"), "money": Decimal("1.5"), "yes": False,
    "fixed": "f", "words": "é", "day": date(2024, 1, 1), "moment": FAR, "zoned": FAR, "hour": time(1, 2, 3, 4),
    "zoned_hour": "01:00:00+02", "doc": '{"a": [1.0, null]}', "raw": b"\x00\xff", "tag": UUID(int=7).bytes,
}  # fmt: skip
DAMAGE = {
    "small": "2", "whole": "-2", "big": "4", "single": "'NaN'", "dbl": "0", "money": "money + 0.0000000001",
    "yes": "true", "fixed": "'F'", "words": "'e'", "day": "'infinity'", "moment": "moment + interval '1 us'",
    "zoned": "zoned - interval '1 us'", "hour": "hour + interval '1 us'", "zoned_hour": "'00:00:00+01'",
    "doc": """'{"a": [1.0, false]}'""", "raw": r"'\x00fe'", "tag": "gen_random_uuid()",
}  # fmt: skip


def ids(keys: Any) -> list[str]:
    return [decode_key(key)[0].text for key in keys]


async def test_one_damaged_value_of_any_type_is_found_and_named(postgres: PostgresHarness) -> None:
    sides = Sides(postgres, rows=KINDS, lanes=3)
    await sides.snapshot([{"id": i, **ROW} for i in range(30)] + [{"id": 30, **dict.fromkeys(ROW)}])
    async with sides.prepared() as shadow:
        assert (await sides.look(shadow)).equal
        for name, damage in DAMAGE.items():
            for row, value in ((7, damage), (8, "NULL"), (30, damage.replace(f"{name} ", "'2020-01-01'::timestamp "))):
                if row == 30 and name in {"money", "moment", "zoned", "hour"}:
                    continue  # these are made from what is there
                await postgres.execute(f"UPDATE people SET {name} = {value} WHERE id = {row}")
                found = await sides.look(shadow)
                assert [ids(each.keys) for each in found.differences] == [[str(row)]], (name, value)
                assert found.differences[0].ranges == 1
                restore = (
                    f"UPDATE people AS l SET {name} = s.{name} FROM {shadow.pipeline.table} AS s WHERE s.id = l.id"
                )
                await postgres.execute(f"{restore} AND l.id = {row}")
        assert (await sides.look(shadow)).equal


async def test_what_a_loader_holds_to_be_equal_is_equal(postgres: PostgresHarness) -> None:
    sides = Sides(postgres, rows=KINDS)
    await sides.snapshot([{"id": 1, **ROW}])
    async with sides.prepared() as shadow:
        await postgres.execute("""UPDATE people SET single = '-0', doc = '{"a": [1.00, null]}'""")
        assert (await sides.look(shadow)).equal


async def test_rows_that_are_missing_too_many_or_in_another_slot_are_found(sides: Sides) -> None:
    await sides.snapshot(people(*range(1, 200)))
    async with sides.prepared() as shadow:
        await sides.postgres.execute("DELETE FROM people WHERE id = 17")
        found = await sides.look(shadow)
        assert (found.live_rows, found.shadow_rows) == (198, 199)
        assert [ids(each.keys) for each in found.differences] == [["17"]]
        (difference,) = found.differences
        assert difference.shadow_rows - difference.live_rows == 1
        await sides.postgres.execute(
            f"INSERT INTO people SELECT * FROM {shadow.pipeline.table} WHERE id = 17; "
            "INSERT INTO people SELECT 1000 + id, name, amount, synced_at, _qs_sequence, _qs_slot FROM people "
            "WHERE id = 3"
        )
        assert [ids(each.keys) for each in (await sides.look(shadow)).differences] == [["1003"]]
        await sides.postgres.execute(
            "DELETE FROM people WHERE id = 1003; UPDATE people SET _qs_slot = 4095 - _qs_slot WHERE id = 5"
        )
        found = await sides.look(shadow)
        assert {key for each in found.differences for key in ids(each.keys)} == {"5"}


async def test_only_the_first_keys_of_many_are_named(sides: Sides) -> None:
    await sides.snapshot(people(*range(1, 3000)))
    async with sides.prepared() as shadow:
        await sides.postgres.execute("UPDATE people SET name = name || '!'")
        found = await sides.look(shadow)
        assert [len(each.keys) for each in found.differences] == [8, 8]


async def test_keys_of_several_columns_are_named(postgres: PostgresHarness) -> None:
    kind = schema(key=("word", "n"), word="varchar", n="integer", other="varchar")
    sides = Sides(postgres, rows=kind)
    await sides.snapshot([{"word": 'a "b\\', "n": i, "other": "é"} for i in range(5)])
    async with sides.prepared() as shadow:
        await postgres.execute("UPDATE people SET other = 'E' WHERE n = 3")
        (difference,) = (await sides.look(shadow)).differences
        (key,) = difference.keys
        assert [scalar.text for scalar in decode_key(key)] == ['a "b\\', "3"]


async def test_keys_are_named_in_their_canonical_form(postgres: PostgresHarness) -> None:
    """As events and quarantines have them, so that what is named can be looked for."""
    names = ("day", "moment", "zoned", "money", "hour", "raw", "whole")
    kind = schema(
        key=names, day="date", moment="timestamp", zoned="timestamptz", money="numeric(18,4)", hour="time",
        raw="varbyte", whole="integer", other="varchar",
    )  # fmt: skip
    plain = {"money": Decimal("1.5000"), "hour": time(1, 2, 3), "raw": b"\x00\xff", "other": "x"}
    before_christ = -62_198_755_200_000_000
    rows = [
        {"day": date(33, 4, 3), "moment": EARLY, "zoned": datetime(999, 1, 1, tzinfo=UTC), "whole": 10},
        {"day": date(2024, 2, 29), "moment": before_christ, "zoned": before_christ, "whole": 200},
        {"day": date(2024, 2, 29), "moment": FAR // 100, "zoned": FAR // 100, "whole": -3},
    ]
    batch = pa.RecordBatch.from_pylist([{**row, **plain} for row in rows], schema=kind.arrow())
    sides = Sides(postgres, rows=kind)
    await sides.snapshot([{**row, **plain} for row in rows])
    async with sides.prepared() as shadow:
        await postgres.execute("ALTER TABLE people ALTER whole TYPE numeric(20, 5); UPDATE people SET other = 'y'")
        named = {key for each in (await sides.look(shadow)).differences for key in each.keys}
        assert named == {encode_key(key_at(batch, kind, index)) for index in range(3)}


async def test_keys_in_quarantine_on_either_side_do_not_count(sides: Sides) -> None:
    await sides.snapshot(people(1, 2, 3, 4))
    await sides.postgres.refuse_names("bad2")
    await sides.change(people(2, name="bad"))
    await sides.postgres.refuse_names()
    async with sides.prepared() as shadow:
        found = await sides.look(shadow)
        assert found.equal
        assert found.excepted_keys == 1
        await sides.postgres.execute("UPDATE people SET name = 'x' WHERE id = 3")
        assert [ids(each.keys) for each in (await sides.look(shadow)).differences] == [["3"]]


async def test_rows_marked_deleted_do_not_count(postgres: PostgresHarness) -> None:
    sides = Sides(postgres, deletes=DeletePolicy.SOFT)
    await sides.snapshot(people(1, 2, 3))
    await sides.snapshot(people(1, 3))
    async with sides.prepared() as shadow:
        await sides.catch_up(shadow)
        assert (await sides.look(shadow)).equal
        await postgres.execute("UPDATE people SET _qs_deleted_at = NULL WHERE id = 2")
        assert [ids(each.keys) for each in (await sides.look(shadow)).differences] == [["2"]]


async def test_what_a_source_forgot_is_no_difference(postgres: PostgresHarness) -> None:
    sides = Sides(postgres, deletes=DeletePolicy.KEEP)
    await sides.snapshot(people(1, 2, 3))
    await sides.snapshot(people(3, 4))
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        await sides.catch_up(shadow, pages=sides.told[1:])
        found = await sides.look(shadow)
        assert found.equal
        assert (found.live_rows, found.shadow_rows) == (2, 2)
        await postgres.execute("UPDATE people SET name = 'x' WHERE id = 4")
        assert [ids(each.keys) for each in (await sides.look(shadow)).differences] == [["4"]]


@pytest.mark.parametrize(
    "kind", ["timestamptz", "timestamp", "date", "numeric(20,4)", "uuid", "varbyte", "boolean", "time"]
)
async def test_keys_of_every_type_are_named_in_canonical_form(postgres: PostgresHarness, kind: str) -> None:
    values: dict[str, Any] = {
        "timestamptz": datetime(2024, 5, 1, 2, 3, 4, 5, tzinfo=UTC), "timestamp": 1_714_528_984_000_005,
        "date": date(2024, 5, 1), "numeric(20,4)": Decimal("12.5"), "uuid": UUID(int=255).bytes, "varbyte": b"\x01",
        "boolean": True, "time": time(1, 2, 3),
    }  # fmt: skip
    sides = Sides(postgres, rows=schema(id=kind, name="varchar"))
    await sides.snapshot([{"id": values[kind], "name": "n"}])
    async with sides.prepared() as shadow:
        await postgres.execute("UPDATE people SET name = 'x'")
        (difference,) = (await sides.look(shadow)).differences
        (event,) = [each for each in sides.told[0] if each.envelope.row_count]
        assert decode_key(difference.keys[0]) == open_event(event.envelope, event.body).key(0)
