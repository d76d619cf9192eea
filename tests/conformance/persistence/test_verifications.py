"""The history of comparisons."""

import asyncio
from datetime import timedelta
from typing import Any

from qupersync_extractor.application.verifying.records import INTERRUPTED, REQUEST, SCHEDULE, VerificationCounts
from qupersync_shared.kernel.ids import GroupName, PipelineName, uuid7

ORDERS, COSTS = PipelineName("orders"), PipelineName("costs")
MAIN, OTHER = GroupName("main"), GroupName("other")
FOUND = VerificationCounts(
    source_rows=2**40, target_rows=3, ranges=4, bytes_moved=5, differing=2, in_motion=1, repaired=7, keys=("a", "b")
)


async def test_a_comparison_is_recorded_from_beginning_to_end(persistence: Any) -> None:
    kept, one = persistence.verifications, uuid7()
    await kept.begin(one, ORDERS, MAIN, cause=REQUEST)
    working = await kept.last(ORDERS, MAIN)
    assert (working.id, working.cause, working.ended_at, working.told) == (one, REQUEST, None, False)
    assert await kept.standing([ORDERS]) == []
    await kept.end(one, counts=FOUND)
    await kept.end(one, counts=VerificationCounts(), error="too late")  # it has ended
    (ended,) = await kept.standing([ORDERS])
    assert (ended.counts, ended.error, ended.told) == (FOUND, None, True)
    assert await kept.last(ORDERS, OTHER) is None
    assert await kept.last(ORDERS, MAIN, cause=SCHEDULE) is None


async def test_what_failed_says_nothing_and_what_never_ended_is_interrupted(persistence: Any) -> None:
    kept = persistence.verifications
    told, failed, lost, new = (uuid7() for _ in range(4))
    await kept.begin(told, ORDERS, MAIN, cause=SCHEDULE)
    await kept.end(told, counts=FOUND)
    await kept.begin(failed, ORDERS, MAIN, cause=REQUEST)
    await kept.end(failed, counts=VerificationCounts(), error="source: NUL \0")
    await kept.begin(lost, ORDERS, MAIN, cause=REQUEST)
    assert (await kept.last(ORDERS, MAIN)).id == lost
    await kept.begin(new, ORDERS, MAIN, cause=SCHEDULE)
    assert [one.id for one in await kept.standing([ORDERS, COSTS])] == [told]
    await kept.end(lost, counts=FOUND)  # somebody took it for dead, and began anew
    assert [one.id for one in await kept.standing([ORDERS])] == [told]
    assert (await kept.last(ORDERS, MAIN, cause=REQUEST)).error == INTERRUPTED


async def test_each_pipeline_and_group_stands_for_itself(persistence: Any) -> None:
    kept = persistence.verifications
    for pipeline, group, differing in ((ORDERS, MAIN, 1), (ORDERS, OTHER, 2), (COSTS, MAIN, 3), (ORDERS, MAIN, 0)):
        one = uuid7()
        await kept.begin(one, pipeline, group, cause=REQUEST)
        await kept.end(one, counts=VerificationCounts(differing=differing))
    found = {(one.pipeline, one.group): one.counts.differing for one in await kept.standing([ORDERS, COSTS])}
    assert found == {(ORDERS, MAIN): 0, (ORDERS, OTHER): 2, (COSTS, MAIN): 3}
    assert {one.pipeline for one in await kept.standing([COSTS])} == {COSTS}


async def test_one_of_many_claims_what_is_due(persistence: Any) -> None:
    kept = persistence.verifications
    claims = [uuid7() for _ in range(5)]
    taken = await asyncio.gather(*(kept.claim(one, ORDERS, MAIN, last=None) for one in claims))
    assert sum(taken) == 1
    winner = claims[taken.index(True)]
    assert (await kept.last(ORDERS, MAIN, cause=SCHEDULE)).id == winner
    await kept.end(winner, counts=FOUND)
    await kept.begin(uuid7(), ORDERS, MAIN, cause=REQUEST)  # what people ask for is no scheduled one
    assert not await kept.claim(uuid7(), ORDERS, MAIN, last=None)
    assert await kept.claim(uuid7(), ORDERS, OTHER, last=None)
    assert await kept.claim(uuid7(), ORDERS, MAIN, last=winner)


async def test_old_ones_are_forgotten_but_for_what_is_known_now(persistence: Any) -> None:
    kept = persistence.verifications
    old, known, works = (uuid7() for _ in range(3))
    for one in (old, known):
        await kept.begin(one, ORDERS, MAIN, cause=REQUEST)
        await kept.end(one, counts=FOUND)
    await kept.begin(works, COSTS, MAIN, cause=REQUEST)
    await persistence.pass_time(3600)
    assert await kept.forget(older_than=timedelta(hours=2)) == 0
    assert await kept.forget(older_than=timedelta(minutes=30)) == 1
    assert [one.id for one in await kept.standing([ORDERS])] == [known]
    assert (await kept.last(COSTS, MAIN)).id == works
