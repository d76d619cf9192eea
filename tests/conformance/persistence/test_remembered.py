"""What a source said once: kept by key, bounded, all of a call or none of it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from qupersync_extractor.application.remembering import FACTS_BYTES_MAX, KEY_BYTES_MAX, Remembered
from qupersync_extractor.infrastructure.memory.remembered import MemoryRemembered
from qupersync_extractor.infrastructure.postgres.remembered import PostgresRemembered

A_DAY = 25 * 3600.0
Made = Callable[..., Remembered]


@pytest.fixture
def make(persistence: Any) -> Made:
    def made(**limits: int) -> Remembered:
        if hasattr(persistence, "store"):
            return MemoryRemembered(persistence.store, **limits)
        return PostgresRemembered(persistence.engine, **limits)

    return made


async def test_what_was_said_is_recalled_by_key_and_subject(make: Made) -> None:
    remembered = make()
    facts = {"at": "2026-01-02T03:04:05", "kind": "FULL", "rows": 2**40, "share": 0.5, "auto": True, "by": None}
    await remembered.remember("one", {"1": facts, "2": {"deep": {"list": [1, "ä", []]}}})
    await remembered.remember("other", {"1": {"kind": "REINDEX"}})
    assert await remembered.recall("one", ["3", "1", "1", "2"]) == {"1": facts, "2": {"deep": {"list": [1, "ä", []]}}}
    assert await remembered.recall("other", ["1", "2"]) == {"1": {"kind": "REINDEX"}}
    assert await remembered.recall("unknown", ["1"]) == {}
    assert await remembered.recall("one", []) == {}


async def test_later_facts_replace_earlier_ones_whole(make: Made) -> None:
    remembered = make()
    await remembered.remember("one", {"1": {"kind": "FULL", "rows": 1}, "2": {"kind": "FULL"}})
    await remembered.remember("one", {"1": {"kind": "REINDEX"}})
    await remembered.remember("one", {})
    assert await remembered.recall("one", ["1", "2"]) == {"1": {"kind": "REINDEX"}, "2": {"kind": "FULL"}}


async def test_what_is_recalled_can_be_changed_without_changing_what_is_kept(make: Made) -> None:
    remembered = make()
    said: dict[str, Any] = {"kinds": ["FULL"]}
    await remembered.remember("one", {"1": said})
    said["kinds"].append("REINDEX")
    (await remembered.recall("one", ["1"]))["1"].clear()
    assert await remembered.recall("one", ["1"]) == {"1": {"kinds": ["FULL"]}}


async def test_many_keys_at_once(make: Made) -> None:
    remembered = make()
    facts = {f"{number:05}": {"number": number} for number in range(40_000)}
    await remembered.remember("one", facts)
    assert await remembered.recall("one", list(facts)) == facts


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"1": {"x": 1}, "": {"x": 1}}, "empty"),
        ({"1": {"x": 1}, "a\0b": {"x": 1}}, "NUL"),
        ({"1": {"x": 1}, "ä" * (KEY_BYTES_MAX // 2 + 1): {"x": 1}}, f"over {KEY_BYTES_MAX} bytes"),
        ({"1": {"x": 1}, "2": {"x": "y" * FACTS_BYTES_MAX}}, f"{FACTS_BYTES_MAX} are kept"),
        ({"1": {"x": 1}, "2": {"x": "a\0b"}}, "NUL"),
        ({"1": {"x": 1}, "2": {"x": float("nan")}}, "JSON"),
        ({"1": {"x": 1}, "2": {"x": object()}}, "JSON"),
    ],
)
async def test_what_cannot_be_kept_is_refused_and_nothing_of_the_call_is(
    make: Made, facts: dict[str, Any], reason: str
) -> None:
    remembered = make()
    with pytest.raises(ValueError, match=reason):
        await remembered.remember("one", facts)
    assert await remembered.recall("one", ["1"]) == {}


async def test_beyond_the_limit_the_longest_unused_go_first(make: Made, persistence: Any) -> None:
    remembered = make(keys_max=3)
    await remembered.remember("other", {"z": {"n": 0}})
    await remembered.remember("one", {"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1}})
    await persistence.pass_time(A_DAY)
    await remembered.recall("one", ["a"])  # used again
    await remembered.remember("one", {"c": {"n": 1}})  # said again, though nothing new
    await remembered.remember("one", {"d": {"n": 2}})
    assert set(await remembered.recall("one", ["a", "b", "c", "d"])) == {"a", "c", "d"}
    assert set(await remembered.recall("other", ["z"])) == {"z"}


async def test_one_call_beyond_the_limit_keeps_as_many_as_may_be(make: Made) -> None:
    remembered = make(keys_max=5)
    await remembered.remember("one", {f"{number:02}": {"n": number} for number in range(9)})
    assert len(await remembered.recall("one", [f"{number:02}" for number in range(9)])) == 5


async def test_many_at_once_neither_wait_for_each_other_for_ever_nor_lose_anything(make: Made) -> None:
    remembered = make(keys_max=60)
    keys = [f"{number:02}" for number in range(40)]

    async def told(place: int) -> None:
        turned = keys[place * 5 :] + keys[: place * 5]
        await remembered.remember("one", {key: {"by": place} for key in turned})
        await remembered.recall("one", turned)
        await remembered.remember("other", {f"{place} {key}": {"by": place} for key in turned})

    await asyncio.gather(*map(told, range(8)))
    found = await remembered.recall("one", keys)
    assert list(found) == keys
    assert len({facts["by"] for facts in found.values()}) == 1  # all of one call, the last
    others = await remembered.recall("other", [f"{place} {key}" for place in range(8) for key in keys])
    assert len(others) >= 60  # calls that overlap leave some surplus to each other, and never take too much
    await remembered.remember("other", {"new": {"by": 9}})
    assert len(await remembered.recall("other", [*others, "new"])) <= 60
