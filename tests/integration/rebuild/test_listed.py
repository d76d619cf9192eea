"""Rebuilds as others see them, while they are under way and afterwards."""

from tests.conformance.loader.events import people
from tests.integration.rebuild.sides import Sides

from qupersync_loader.application.rebuild.told import answer
from qupersync_loader.application.shadows import Phase
from qupersync_loader.infrastructure.postgres.rebuild.listed import ListedRebuilds
from qupersync_shared.contracts.rebuilds import RebuildsRequest, RebuildTold
from qupersync_shared.kernel.ids import GroupName


async def told(sides: Sides, *, group: GroupName | None = None, ended: int = 20) -> tuple[RebuildTold, ...]:
    group = group or sides.live.pipeline.group
    reply = await answer(ListedRebuilds(sides.postgres.engine, group), RebuildsRequest(group=group, ended=ended))
    assert reply.refused is None
    return reply.rebuilds


async def test_a_rebuild_under_way_says_how_far_it_is(sides: Sides) -> None:
    assert await told(sides) == ()
    await sides.snapshot(people(1, 2, 3))
    await sides.change(people(3, name="new"))
    await sides.change(people(4))
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.make()
        (begun,) = await told(sides)
        assert (begun.pipeline, begun.phase, begun.running, begun.trouble) == ("people", "reading", True, None)
        assert (begun.done, begun.total, begun.eta_seconds) == (None, None, None)
        assert [(lane.sequence, lane.live_sequence) for lane in begun.lanes] == [(None, 3)] * 2

        await sides.catch_up(shadow, pages=sides.told[:2])
        (under_way,) = await told(sides)
        assert (under_way.done, under_way.total) == (4, 6)
        assert under_way.eta_seconds is not None
        assert [(lane.first, lane.sequence, lane.live_sequence) for lane in under_way.lanes] == [(1, 2, 3)] * 2
        assert await told(sides, group=GroupName("another")) == ()

    (left,) = await told(sides)
    assert not left.running
    assert left.trouble is not None
    assert "qupersync rebuild people" in left.trouble
    assert left.eta_seconds is None


async def test_tables_that_differ_wait_for_a_person(sides: Sides) -> None:
    await sides.snapshot(people(1))
    async with sides.prepared() as shadow:
        await shadow.note(Phase.DIFFERENT, rows=1, detail="lane 0: 2 rows against 1")

    (seen,) = await told(sides)

    assert seen.trouble is not None
    assert seen.trouble.startswith("lane 0: 2 rows against 1")
    assert "--accept-difference" in seen.trouble


async def test_those_that_ended_follow_the_last_first(sides: Sides) -> None:
    await sides.snapshot(people(1))
    await sides.rebuild()
    first = (await told(sides))[0].id
    await sides.rebuild()
    async with sides.prepared():
        seen = await told(sides)

    assert [one.ended_at is None for one in seen] == [True, False, False]
    assert seen[2].id == first
    assert [one.phase for one in seen[1:]] == ["swapped", "swapped"]
    assert all(one.trouble is None and one.lanes == () for one in seen[1:])
    assert len(await told(sides, ended=1)) == 2
