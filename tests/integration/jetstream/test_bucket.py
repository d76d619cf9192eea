"""The bucket read as a whole: neither many keys nor large values make a part of it vanish, or the read fail."""

import asyncio
from collections.abc import Sequence

import pytest

from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.jetstream import Connection, ensure_bucket

AT_ONCE = 64


async def written(connection: Connection, names: Sequence[str], value: bytes) -> None:
    js = await connection.jetstream()
    await ensure_bucket(js)
    for start in range(0, len(names), AT_ONCE):
        await asyncio.gather(*(bucket.write(js, name, value) for name in names[start : start + AT_ONCE]))


@pytest.mark.parametrize("count", [1024, 1025, 3 * 400 * 2])
async def test_all_keys_are_read_however_many_match(connection: Connection, count: int) -> None:
    names = [f"lane.group{number % 3}.cost.{number}" for number in range(count)]
    await written(connection, [*names, "lane.other.sales.0"], b"v")
    gone = names.pop()
    await bucket.remove(await connection.jetstream(), gone)
    found = await bucket.read(await connection.client(), ["lane.*.cost.*"], timeout=10)
    assert set(found) == set(names)
    assert {entry.value for entry in found.values()} == {b"v"}


async def test_large_values_are_read_whole(connection: Connection) -> None:
    names = [f"snapshot.p{number}" for number in range(60)]
    value = b"x" * 900_000
    await written(connection, names, value)
    found = await bucket.read(await connection.client(), ["snapshot.*"], timeout=30)
    assert set(found) == set(names)
    assert all(entry.value == value for entry in found.values())


async def test_nothing_is_read_where_nothing_matches(connection: Connection) -> None:
    await written(connection, ["process.loader.one"], b"v")
    assert await bucket.read(await connection.client(), ["lane.>"]) == {}
