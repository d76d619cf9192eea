"""Lane leases, and cursor writes that compare before they set."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from qupersync_extractor.domain.records import RelayCursor
from qupersync_shared.kernel.ids import Generation, Lane, Log, PipelineName, Sequence, StreamSequence

PIPELINE = PipelineName("orders")


async def test_a_claim_makes_the_missing_rows(persistence: Any, writer: Any) -> None:
    assert await persistence.cursors.read(PIPELINE, Lane(0)) is None
    claimed = await persistence.cursors.claim(PIPELINE, "a", 60)
    assert claimed == [RelayCursor(pipeline=PIPELINE, lane=Lane(lane), log=Log(1)) for lane in (0, 1)]
    assert await persistence.cursors.read(PIPELINE, Lane(1)) == claimed[1]
    assert await persistence.cursors.claim(PipelineName("unknown"), "a", 60) == []


async def test_a_lane_belongs_to_one_relay(persistence: Any, writer: Any) -> None:
    cursors = persistence.cursors
    mine = await cursors.claim(PIPELINE, "a", 60)
    assert await cursors.claim(PIPELINE, "b", 60) == []
    assert await cursors.claim(PIPELINE, "a", 60) == mine
    moved = replace(mine[0], last_sequence=Sequence(3))
    assert not await cursors.advance(moved, "b")
    assert await cursors.advance(moved, "a")
    await cursors.release("a")
    assert (await cursors.claim(PIPELINE, "b", 60))[0] == moved
    assert not await cursors.advance(moved, "a")


async def test_the_leases_on_one_pipeline_may_be_given_up_alone(persistence: Any, writer: Any) -> None:
    cursors = persistence.cursors
    await cursors.claim(PIPELINE, "a", 60)
    await cursors.release("a", PipelineName("another"))
    assert await cursors.claim(PIPELINE, "b", 60) == []
    await cursors.release("b", PIPELINE)
    assert await cursors.claim(PIPELINE, "b", 60) == []
    await cursors.release("a", PIPELINE)
    assert len(await cursors.claim(PIPELINE, "b", 60)) == 2


async def test_of_many_relays_at_once_every_lane_gets_one(persistence: Any, writer: Any) -> None:
    claims = await asyncio.gather(*(persistence.cursors.claim(PIPELINE, f"relay-{n}", 60) for n in range(6)))
    assert sorted(cursor.lane for claimed in claims for cursor in claimed) == [0, 1]


async def test_an_expired_lane_is_free_and_a_renewed_one_is_not(persistence: Any, writer: Any) -> None:
    cursors = persistence.cursors
    await cursors.claim(PIPELINE, "a", 30)
    await persistence.pass_time(20)
    await cursors.renew("a", 30)
    await cursors.renew("b", 30)
    await persistence.pass_time(20)
    assert await cursors.claim(PIPELINE, "b", 30) == []
    await persistence.pass_time(20)
    assert len(await cursors.claim(PIPELINE, "b", 30)) == 2
    await cursors.renew("a", 600)
    assert await cursors.claim(PIPELINE, "a", 30) == []


async def test_a_clock_that_was_put_back_keeps_nobody_from_the_lanes_of_a_dead_relay(
    persistence: Any, writer: Any
) -> None:
    cursors = persistence.cursors
    assert len(await cursors.claim(PIPELINE, "dead", 30)) == 2
    await persistence.pass_time(-24 * 3600)
    assert len(await cursors.claim(PIPELINE, "b", 30)) == 2
    assert await cursors.claim(PIPELINE, "c", 30) == []


@pytest.mark.parametrize("change", [{"log": Log(2)}, {"generation": Generation(1)}, {"lane": Lane(9)}])
async def test_a_cursor_of_another_log_or_generation_is_not_stored(
    persistence: Any, writer: Any, change: dict[str, Any]
) -> None:
    cursor = (await persistence.cursors.claim(PIPELINE, "a", 60))[0]
    moved = replace(cursor, last_sequence=Sequence(5), last_stream_sequence=StreamSequence(6))
    assert not await persistence.cursors.advance(replace(moved, **change), "a")
    assert await persistence.cursors.read(PIPELINE, Lane(0)) == cursor
    assert await persistence.cursors.advance(moved, "a")
    assert await persistence.cursors.read(PIPELINE, Lane(0)) == moved


async def test_a_rewind_takes_the_lesser_sequence_and_the_next_generation(persistence: Any, writer: Any) -> None:
    cursors = persistence.cursors
    for _ in range(6):
        await writer.page()
    cursor = (await cursors.claim(PIPELINE, "a", 60))[0]
    cursor = replace(cursor, last_sequence=Sequence(4), last_stream_sequence=StreamSequence(40))
    assert await cursors.advance(cursor, "a")
    for from_sequence, last, generation in ((3, 2, 1), (6, 2, 2), (1, 0, 3)):
        assert await _rewind(persistence, from_sequence) == generation
        assert await cursors.read(PIPELINE, Lane(0)) == replace(
            cursor, last_sequence=Sequence(last), generation=Generation(generation)
        )
    assert not await cursors.advance(replace(cursor, last_sequence=Sequence(5)), "a")  # it was under way meanwhile
    assert (await cursors.read(PIPELINE, Lane(1))).generation == 0


async def test_rewinds_at_once_all_raise_the_generation(persistence: Any, writer: Any) -> None:
    for _ in range(4):
        await writer.page()
    cursor = (await persistence.cursors.claim(PIPELINE, "a", 60))[0]
    assert await persistence.cursors.advance(replace(cursor, last_sequence=Sequence(4)), "a")
    generations = await asyncio.gather(*(_rewind(persistence, sequence) for sequence in (4, 2, 3)))
    assert set(generations) == {1, 2, 3}
    assert (await persistence.cursors.read(PIPELINE, Lane(0))).last_sequence == 1


async def test_a_rewind_to_what_is_gone_changes_nothing(persistence: Any, writer: Any) -> None:
    cursors = persistence.cursors
    for _ in range(4):
        await writer.page()
    cursor = (await cursors.claim(PIPELINE, "a", 60))[0]
    assert await cursors.advance(replace(cursor, last_sequence=Sequence(4)), "a")
    await persistence.drop_records(Sequence(2))
    assert await _rewind(persistence, 2) is None
    assert await _rewind(persistence, 5) is None
    assert await _rewind(persistence, 3, log=2) is None
    assert await _rewind(persistence, 3, lane=2) is None
    assert await cursors.read(PIPELINE, Lane(0)) == replace(cursor, last_sequence=Sequence(4))
    assert await _rewind(persistence, 3) == 1
    await persistence.registry.reset(PIPELINE, lanes=2, reason="reset")
    assert await _rewind(persistence, 3) is None
    assert await _rewind(persistence, 3, log=2) is None


async def test_a_new_log_begins_anew_but_keeps_its_place_in_the_stream(persistence: Any, writer: Any) -> None:
    cursors = persistence.cursors
    await writer.page()
    mine = await cursors.claim(PIPELINE, "a", 60)
    old = replace(mine[0], last_sequence=Sequence(1), last_stream_sequence=StreamSequence(17))
    assert await cursors.advance(old, "a")
    await persistence.registry.reset(PIPELINE, lanes=3, reason="three lanes")
    assert await cursors.claim(PIPELINE, "b", 60) == [RelayCursor(pipeline=PIPELINE, lane=Lane(2), log=Log(2))]
    first, second = await cursors.claim(PIPELINE, "a", 60)
    assert first == RelayCursor(
        pipeline=PIPELINE,
        lane=Lane(0),
        log=Log(2),
        last_stream_sequence=StreamSequence(17),
        generation=Generation(old.generation + 1),
    )
    assert (second.log, second.last_sequence) == (2, 0)
    assert not await cursors.advance(replace(old, last_sequence=Sequence(2)), "a")
    assert await cursors.claim(PIPELINE, "a", 60) == [first, second]


async def test_fewer_lanes_are_claimed_after_a_reset(persistence: Any, writer: Any) -> None:
    await persistence.cursors.claim(PIPELINE, "a", 60)
    await persistence.registry.reset(PIPELINE, lanes=1, reason="one lane")
    assert [cursor.lane for cursor in await persistence.cursors.claim(PIPELINE, "a", 60)] == [0]


async def _rewind(persistence: Any, from_sequence: int, *, lane: int = 0, log: int = 1) -> Generation | None:
    found: Generation | None = await persistence.cursors.rewind(
        PIPELINE, Lane(lane), Log(log), from_sequence=Sequence(from_sequence)
    )
    return found
