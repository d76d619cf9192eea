"""The source budget's books: one budget over all processes, in the order of asking, whatever becomes of a process."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from qupersync_extractor.application.source_turns import SourceTurns
from qupersync_extractor.application.source_use import (
    WAITING_SECONDS,
    EndedRead,
    Own,
    SourceRead,
    SourceStanding,
    SourceUse,
)
from qupersync_extractor.domain.source_budget import Amount, SourceLimits
from qupersync_extractor.infrastructure.memory.source_use import MemorySourceUse
from qupersync_extractor.infrastructure.postgres.source_use import PostgresSourceUse
from qupersync_shared.kernel.ids import PipelineName, uuid7

LEASE = 600.0
ONE = SourceLimits(reads=1)
LONG_AGO = 10_000.0


@pytest.fixture
def use(persistence: Any) -> SourceUse:
    if hasattr(persistence, "store"):
        return MemorySourceUse(persistence.store)
    return PostgresSourceUse(persistence.engine, persistence.signals)


async def older(persistence: Any, seconds: float) -> None:
    """Everything in the books is older by so much; minutes by whole ones."""
    if hasattr(persistence, "store"):
        persistence.store.advance(seconds)
        return
    await persistence.execute(
        "UPDATE qupersync.source_read SET expires_at = expires_at - $1::float8 * interval '1s',"
        " asked_at = asked_at - $1::float8 * interval '1s', began_at = began_at - $1::float8 * interval '1s'",
        seconds,
    )
    await persistence.execute(
        "UPDATE qupersync.source_use SET minute = minute - floor($1::float8 / 60) * interval '1min'", seconds
    )


def wanted(pipeline: str = "orders", *, rows: int = 10) -> SourceRead:
    return SourceRead(id=uuid7(), pipeline=PipelineName(pipeline), expected=Amount(rows=rows, bytes=rows * 10))


def ended(read: SourceRead, *, rows: int = 10) -> EndedRead:
    return EndedRead(id=read.id, took=Amount(rows=rows, bytes=rows * 10))


class Party:
    """One process, by its calls."""

    def __init__(self, use: SourceUse, name: str, limits: SourceLimits = ONE) -> None:
        self.use, self.name, self.limits = use, name, limits

    async def settle(
        self,
        *,
        waiting: tuple[SourceRead, ...] = (),
        reading: tuple[SourceRead, ...] = (),
        ended: tuple[EndedRead, ...] = (),
    ) -> frozenset[UUID]:
        """The reads of this process that are under way after the call."""
        own = Own(waiting=waiting, reading=reading, ended=ended)
        return (await self.use.settle(self.name, own, self.limits, seconds=LEASE)).begun(self.name)

    async def standing(self) -> SourceStanding:
        return await self.use.standing(self.limits)


async def test_who_asks_first_begins_first_over_all_processes(use: SourceUse) -> None:
    one, other = Party(use, "one"), Party(use, "other")
    first, second, third = wanted("a"), wanted("b"), wanted("c")
    assert await one.settle(waiting=(first,)) == {first.id}
    assert await other.settle(waiting=(second,)) == set()
    assert await one.settle(waiting=(third,), reading=(first,)) == {first.id}
    standing = await one.standing()
    assert [(read.pipeline, read.owner) for read in standing.reading] == [("a", "one")]
    assert [(read.pipeline, read.owner) for read in standing.waiting] == [("b", "other"), ("c", "one")]
    assert standing.held_up_by(ONE) == "reads"
    assert standing.waiting[0].asked_at <= standing.now

    assert await one.settle(waiting=(third,), ended=(ended(first),)) == set()  # it is the other one's turn
    assert await other.settle(waiting=(second,)) == {second.id}
    assert await other.settle(ended=(ended(second),)) == set()
    assert await one.settle(waiting=(third,)) == {third.id}


async def test_several_begin_at_once_as_far_as_there_is_room(use: SourceUse) -> None:
    two = SourceLimits(reads=2)
    one = Party(use, "one", two)
    reads = (wanted(), wanted(), wanted())
    begun = await one.settle(waiting=reads)
    assert begun == {reads[0].id, reads[1].id}
    assert await one.settle(waiting=reads[2:], ended=(ended(reads[0]), ended(reads[1]))) == {reads[2].id}


async def test_what_a_process_does_not_name_any_more_is_over(use: SourceUse) -> None:
    one, other = Party(use, "one"), Party(use, "other")
    first, second = wanted(), wanted()
    await one.settle(waiting=(first,))
    await other.settle(waiting=(second,))
    assert await one.settle() == set()
    assert await other.settle(waiting=(second,)) == {second.id}
    assert (await other.standing()).minute.used == Amount()


async def test_a_call_whose_answer_was_lost_may_be_made_again(use: SourceUse) -> None:
    one = Party(use, "one")
    first, second = wanted(), wanted()
    assert await one.settle(waiting=(first, second)) == {first.id}
    assert await one.settle(waiting=(first, second)) == {first.id}
    for _ in range(2):
        assert await one.settle(waiting=(second,), ended=(ended(first, rows=7),)) == {second.id}
    standing = await one.standing()
    assert (standing.minute.carried + standing.minute.used) == Amount(rows=7, bytes=70)


async def test_who_waits_and_is_not_heard_of_is_passed_over_until_it_is(use: SourceUse, persistence: Any) -> None:
    one, frozen, third = Party(use, "one"), Party(use, "frozen"), Party(use, "third")
    reading, early, late = wanted(), wanted(), wanted()
    await one.settle(waiting=(reading,))
    await frozen.settle(waiting=(early,))
    await third.settle(waiting=(late,))
    await older(persistence, WAITING_SECONDS + 1)
    assert (await one.standing()).waiting == []
    await third.settle(waiting=(late,))
    await frozen.settle(waiting=(early,))  # heard of again, it has its place
    assert [read.id for read in (await one.standing()).waiting] == [early.id, late.id]
    await older(persistence, WAITING_SECONDS + 1)
    await one.settle(ended=(ended(reading),))
    assert await third.settle(waiting=(late,)) == {late.id}


async def test_the_place_of_a_process_that_died_is_free_when_it_expires(use: SourceUse, persistence: Any) -> None:
    dead, other = Party(use, "dead"), Party(use, "other")
    first, second = wanted(), wanted()
    await dead.settle(waiting=(first,))
    assert await other.settle(waiting=(second,)) == set()
    await older(persistence, LEASE + 1)
    assert await other.settle(waiting=(second,)) == {second.id}


async def test_a_clock_that_was_put_back_keeps_no_place_for_a_process_that_died(
    use: SourceUse, persistence: Any
) -> None:
    dead, other = Party(use, "dead"), Party(use, "other")
    first, second = wanted(), wanted()
    await dead.settle(waiting=(first,))
    await older(persistence, -24 * 3600)
    assert await other.settle(waiting=(second,)) == {second.id}


async def test_a_read_that_outlived_its_place_counts_again_and_is_booked(use: SourceUse, persistence: Any) -> None:
    frozen, other = Party(use, "frozen"), Party(use, "other")
    first, second = wanted(), wanted()
    await frozen.settle(waiting=(first,))
    await older(persistence, LEASE + 1)
    assert await other.settle(waiting=(second,)) == {second.id}
    assert await frozen.settle(reading=(first,)) == {first.id}  # it reads, whatever the books said meanwhile
    assert len((await other.standing()).reading) == 2
    await older(persistence, LEASE + 1)
    await frozen.settle(ended=(ended(first, rows=5),))
    standing = await other.standing()
    assert (standing.minute.carried + standing.minute.used).rows == 5
    await older(persistence, LONG_AGO)
    await frozen.settle()
    await other.settle(ended=(ended(second, rows=5),))  # nobody remembers it
    assert (await other.standing()).minute.used == Amount()


async def test_overdraft_is_carried_into_the_minutes_that_follow(use: SourceUse, persistence: Any) -> None:
    limits = SourceLimits(rows_per_minute=100)
    one, other = Party(use, "one", limits), Party(use, "other", limits)
    first, second, third = wanted(rows=1000), wanted(), wanted()
    assert await one.settle(waiting=(first,)) == {first.id}
    assert await other.settle(waiting=(second,)) == set()  # the first may take all of it
    assert (await other.standing()).held_up_by(limits) == "rows_per_minute"
    await one.settle(ended=(ended(first, rows=1000),))
    assert await other.settle(waiting=(second,)) == set()
    await older(persistence, 60 * 5)
    assert await other.settle(waiting=(second,)) == set()
    assert (await other.standing()).minute.carried.rows in (500, 400)  # a minute may have begun meanwhile
    await older(persistence, 60 * 6)
    assert await other.settle(waiting=(second,)) == {second.id}
    assert await one.settle(waiting=(third,)) == {third.id}


async def test_bytes_are_counted_as_rows_are(use: SourceUse, persistence: Any) -> None:
    limits = SourceLimits(bytes_per_minute=100)
    one = Party(use, "one", limits)
    first, second = wanted(rows=1), wanted(rows=1)
    await one.settle(waiting=(first,))
    assert await one.settle(waiting=(second,), ended=(ended(first, rows=100),)) == set()
    assert (await one.standing()).held_up_by(limits) == "bytes_per_minute"
    await older(persistence, 60 * 11)
    assert await one.settle(waiting=(second,)) == {second.id}


async def test_an_end_wakes_who_waits_in_another_process(use: SourceUse) -> None:
    one, other = Party(use, "one"), Party(use, "other")
    first, second = wanted(), wanted()
    await one.settle(waiting=(first,))
    await other.settle(waiting=(second,))
    await use.changed(0.01)  # listening has begun

    async def woken() -> None:
        while await other.settle(waiting=(second,)) != {second.id}:
            await use.changed(30)

    waiting = asyncio.create_task(woken())
    await asyncio.sleep(0)
    await one.settle(ended=(ended(first),))
    async with asyncio.timeout(20):
        await waiting


async def test_processes_that_contend_keep_the_budget_and_all_come_to_their_turn(use: SourceUse) -> None:
    limits = SourceLimits(reads=2)
    processes = [SourceTurns(use=use, owner=name, limits=limits, seconds=LEASE) for name in ("one", "two", "three")]
    at_once: list[int] = []
    under_way = 0

    async def pipeline(turns: SourceTurns, name: str) -> None:
        nonlocal under_way
        for _ in range(3):
            turn = turns.ask(PipelineName(name), Amount(rows=10))
            try:
                await turn.granted
                under_way += 1
                at_once.append(under_way)
                await asyncio.sleep(0)
                turn.count(10, 100)
                under_way -= 1
            finally:
                turn.end()

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(pipeline(turns, f"{turns.owner}-{number}") for turns in processes for number in range(4))
        )
        await asyncio.gather(*(turns.close() for turns in processes))
    standing = await use.standing(limits)
    assert len(at_once) == 36
    assert max(at_once) <= 2
    assert standing.reads == ()
    assert standing.minute.used.rows <= 360
