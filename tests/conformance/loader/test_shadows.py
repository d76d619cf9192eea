"""What both adapters of `Shadows` must do: in memory, and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.conformance.loader.asking import MovedClock, NotedCommands
from tests.conformance.loader.conftest import PostgresHarness, _postgres
from tests.conformance.loader.events import PEOPLE, Event, Extractor, delivery, ints, people, pipeline

from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.outcome import Ack
from qupersync_loader.application.ports import Target
from qupersync_loader.application.shadows import Comparison, LanePair, Phase, Shadow, Shadows, Way
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.memory.shadows import MemoryShadows, ShadowedTarget
from qupersync_loader.infrastructure.postgres.rebuild.shadows import PostgresShadows
from qupersync_shared.kernel.errors import ConflictError, TransientError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.kernel.positions import encode_key


@dataclass(kw_only=True)
class Side:
    """A target with its shadows, and two pages of one snapshot that the live table has applied."""

    target: Target
    shadows: Shadows
    live: TargetPipeline
    pages: list[list[Event]]
    source: Extractor
    harness: PostgresHarness | None = None

    async def apply(self, into: TargetPipeline, *pages: list[Event]) -> None:
        use_case = ApplyEvent(into, NotedCommands(), MovedClock())
        for event in [event for page in pages for event in page]:
            async with self.target.session(into) as session:
                outcome = await use_case(Lane(event.envelope.lane), delivery(event), session)
            assert isinstance(outcome, Ack), outcome

    async def damage(self) -> None:
        """Row 3 of the live table is altered by hand, row 4 is lost."""
        if self.harness is not None:
            await self.harness.execute("UPDATE public.people SET name = 'altered' WHERE id = 3")
            await self.harness.execute("DELETE FROM public.people WHERE id = 4")
            return
        assert isinstance(self.target, ShadowedTarget)
        rows = self.target.store.tables["public.people"].rows
        object.__setattr__(rows[ints(3)], "values", {**rows[ints(3)].values, "name": "altered"})
        del rows[ints(4)]

    async def rows(self) -> dict[int, str]:
        if self.harness is not None:
            return {row["id"]: row["name"] for row in await self.harness.rows(self.live)}
        assert isinstance(self.target, ShadowedTarget)
        found = self.target.store.tables["public.people"].rows.values()
        return {row.values["id"]: row.values["name"] for row in found}


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def side(request: pytest.FixtureRequest) -> AsyncIterator[Side]:
    source = Extractor(lanes=2)
    pages = [source.page(people(1, 2, 3, 4, 5), upto=ints(5)), source.page(people(6, 7, 8), after=ints(5))]
    live = pipeline(lanes=2)
    if request.param == "memory":
        target = ShadowedTarget()
        made = Side(target=target, shadows=MemoryShadows(target=target), live=live, pages=pages, source=source)
        await made.apply(live, *pages)
        yield made
        return
    stack, template = request.getfixturevalue("local_stack"), request.getfixturevalue("target_template")
    async with _postgres(stack, template) as harness:
        shadows = PostgresShadows(harness.dsn)
        made = Side(target=harness.target, shadows=shadows, live=live, pages=pages, source=source, harness=harness)
        await made.apply(live, *pages)
        yield made


@asynccontextmanager
async def _level(side: Side) -> AsyncIterator[Shadow]:
    """A claimed shadow that has applied what the live table has."""
    async with side.shadows.claim(side.live) as shadow:
        await shadow.make()
        await side.apply(shadow.pipeline, *side.pages)
        yield shadow


async def _compare(shadow: Shadow) -> Comparison:
    async with shadow.hold() as held, held.moment() as moment:
        return await moment.compare(PEOPLE)


async def test_there_is_one_claim_at_a_time(side: Side) -> None:
    async with side.shadows.claim(side.live):
        with pytest.raises(ConflictError, match="being rebuilt"):
            async with side.shadows.claim(side.live):
                pass
    async with side.shadows.claim(side.live):
        pass


async def test_a_shadow_is_empty_when_it_is_made_and_found_with_what_it_has(side: Side) -> None:
    async with side.shadows.claim(side.live) as shadow:
        assert await shadow.found() is None
        assert {lane: pair.shadow for lane, pair in (await shadow.lanes()).items()} == {0: None, 1: None}
        made = await shadow.make()
        assert made.table == shadow.pipeline.target
        assert not any(pair.shadow for pair in made.lanes.values())
        await side.apply(shadow.pipeline, side.pages[0])
        await shadow.note(Phase.COMPARING, rows=5, detail="on the way")
    async with side.shadows.claim(side.live) as shadow:
        found = await shadow.found()
        assert found is not None
        assert (found.id, found.phase, found.table) == (made.id, Phase.COMPARING, made.table)
        again = await shadow.make()
        assert again.id == made.id
        assert {lane: _shadow(pair) for lane, pair in again.lanes.items()} == {0: 1, 1: 1}
        await shadow.discard()
        assert await shadow.found() is None
        await shadow.discard()
    assert set(await side.rows()) == set(range(1, 9))


def _shadow(pair: LanePair) -> int | None:
    return pair.shadow.sequence if pair.shadow is not None else None


async def test_a_hold_stops_the_live_lanes_and_not_the_shadows(side: Side) -> None:
    async with side.shadows.claim(side.live) as shadow:
        await shadow.make()
        later = side.source.incremental(people(9))
        async with shadow.hold() as held:
            assert not any(pair.level for pair in held.lanes.values())
            loading = asyncio.create_task(side.apply(side.live, later))
            await side.apply(shadow.pipeline, *side.pages)
            assert all(pair.level for pair in (await held.look()).values())
            assert not loading.done()
        await loading
        assert 9 in await side.rows()


async def test_equal_tables_are_equal_and_damage_is_named(side: Side) -> None:
    async with _level(side) as shadow:
        same = await _compare(shadow)
        assert (same.equal, same.live_rows, same.shadow_rows) == (True, 8, 8)
        await side.damage()
        found = await _compare(shadow)
    assert (found.equal, found.live_rows, found.shadow_rows) == (False, 7, 8)
    assert {key for one in found.differences for key in one.keys} == {encode_key(ints(3)), encode_key(ints(4))}


async def test_a_moment_stands_still_while_both_go_on(side: Side) -> None:
    async with _level(side) as shadow:
        async with shadow.hold() as held:
            entered = held.moment()
            moment = await entered.__aenter__()
        try:
            await side.apply(side.live, side.source.incremental(people(1, name="later")))
            assert (await moment.compare(PEOPLE)).equal
        finally:
            await entered.__aexit__(None, None, None)


@pytest.mark.parametrize("way", Way)
async def test_the_shadows_rows_come_into_the_live_tables_place(side: Side, way: Way) -> None:
    await side.damage()
    async with _level(side) as shadow:
        await shadow.prepare()
        async with shadow.hold() as held:
            swapped = await held.put_in_place(way, PEOPLE)
        assert swapped.way is way
        await shadow.note(Phase.SWAPPED if way is Way.SWAP else Phase.MERGED, rows=8)
        assert await shadow.found() is None
    if way is Way.MERGE:
        assert (swapped.written, swapped.removed) == (2, 0)
    assert await side.rows() == {n: f"n{n}" for n in range(1, 9)}
    await side.apply(side.live, side.source.incremental(people(9)))
    assert 9 in await side.rows()


async def _stay(_: Shadow, __: Side) -> None:
    """Nothing is brought on."""


async def _half(shadow: Shadow, side: Side) -> None:
    await side.apply(shadow.pipeline, side.pages[0])


@pytest.mark.parametrize("bring", [_stay, _half])
async def test_what_is_not_level_is_not_put_in_place(side: Side, bring: Callable[..., object]) -> None:
    async with side.shadows.claim(side.live) as shadow:
        await shadow.make()
        await bring(shadow, side)  # type: ignore[misc]
        with pytest.raises(TransientError):
            async with shadow.hold() as held:
                await held.put_in_place(Way.SWAP, PEOPLE)
        assert await shadow.found() is not None
    assert set(await side.rows()) == set(range(1, 9))
