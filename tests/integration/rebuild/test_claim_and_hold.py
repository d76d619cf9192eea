"""One rebuild at a time; a hold stops loaders for moments, and a moment outlives it."""

import asyncio
from contextlib import suppress

import pytest
from tests.conformance.loader.conftest import Lanes
from tests.conformance.loader.events import people
from tests.integration.rebuild.sides import Sides

from qupersync_loader.application.outcome import Ack
from qupersync_loader.application.shadows import Phase, Shadow
from qupersync_loader.infrastructure.postgres.rebuild.registry import who
from qupersync_shared.kernel.errors import ConflictError, LeaseLostError, SchemaRefusedError, TransientError
from qupersync_shared.kernel.ids import Lane

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def waiting(sides: Sides, count: int = 1) -> None:
    """Returns when so many sessions wait for locks."""
    async with asyncio.timeout(60):
        while await sides.postgres.value(_WAITING) < count:  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.02)


async def test_a_second_rebuild_is_told_who_has_the_first(sides: Sides) -> None:
    await sides.snapshot(people(1))
    async with sides.prepared():
        with pytest.raises(ConflictError, match="is being rebuilt by") as refused:
            async with sides.shadows.claim(sides.live.pipeline):
                pass
        assert who() in str(refused.value)
        other = Lanes(sides.postgres.target, name="others", table="others")
        async with sides.shadows.claim(other.pipeline):
            pass  # another pipeline's is nobody's concern
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        state = await shadow.found()
        assert state is not None
        assert state.phase is Phase.READING
        assert all(pair.level for pair in state.lanes.values())


async def test_whoever_lost_the_claim_does_nothing_more(sides: Sides) -> None:
    await sides.snapshot(people(1))
    async with sides.prepared() as shadow:
        await sides.postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        )
        async with asyncio.timeout(60):
            with suppress(LeaseLostError):
                while True:
                    await shadow.lanes()
        async with sides.prepared():  # somebody else goes on with it
            for attempt in (shadow.prepare(), shadow.discard(), sides.put(shadow)):
                with pytest.raises(LeaseLostError):
                    await attempt


async def test_a_rebuild_that_was_taken_over_is_not_this_ones(sides: Sides) -> None:
    await sides.snapshot(people(1))
    async with sides.prepared() as shadow:
        await sides.postgres.execute("UPDATE qupersync_rebuild SET claim = gen_random_uuid()")
        with pytest.raises(LeaseLostError, match="not this process's"):
            await sides.put(shadow)
        with pytest.raises(LeaseLostError, match="not this process's"):
            await shadow.prepare()


async def test_nothing_is_rebuilt_that_nobody_loaded(sides: Sides) -> None:
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        with pytest.raises(SchemaRefusedError, match="has not loaded"):
            await shadow.make()
    await sides.snapshot(people(1))
    elsewhere = Lanes(sides.postgres.target, lanes=2, table="elsewhere")
    async with sides.shadows.claim(elsewhere.pipeline) as shadow:
        with pytest.raises(SchemaRefusedError, match="has not loaded"):
            await shadow.make()


async def test_a_discarded_shadow_leaves_nothing_and_may_be_discarded_again(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    await sides.postgres.refuse_names("n2")
    async with sides.shadows.claim(sides.live.pipeline) as shadow:
        await shadow.discard()
        await sides.ready(shadow)
        assert await sides.leftovers()
        await shadow.note(Phase.COMPARING, rows=5, detail="at it")
        noted = await sides.postgres.fetch("SELECT phase, rows, detail, who FROM qupersync_rebuild")
        assert [tuple(row) for row in noted] == [("comparing", 5, "at it", who())]
        await shadow.discard()
        await shadow.discard()
        assert await shadow.found() is None
        assert await sides.leftovers() == []
        await sides.ready(shadow)
        assert (await shadow.lanes())[Lane(0)].level


async def test_a_shadow_table_that_somebody_dropped_is_made_anew(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared() as shadow:
        await sides.postgres.execute(f"DROP TABLE {shadow.pipeline.table}")
        assert await shadow.found() is None
        await sides.ready(shadow)
        await sides.put(shadow)
    assert len(await sides.rows()) == 2


async def test_loaders_stand_still_while_all_is_held_and_go_on_afterwards(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    page = sides.source.incremental(people(3, 4, 5, 6))
    async with sides.prepared() as shadow:
        async with shadow.hold() as held:
            assert all(pair.level for pair in held.lanes.values())
            loads = [asyncio.create_task(sides.live.give(event)) for event in page]
            await waiting(sides, 2)
            assert await held.look() == held.lanes
            assert len(await sides.rows()) == 2
        assert all(isinstance(outcome, Ack) for outcome in await asyncio.gather(*loads))
    assert len(await sides.rows()) == 6


async def test_a_loader_in_the_middle_of_an_event_is_waited_for(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared() as shadow, sides.postgres.connected() as loader:
        await loader.execute(
            "BEGIN; SELECT FROM qupersync_pipeline FOR SHARE; "
            "SELECT FROM qupersync_watermark WHERE lane = 1 AND group_name = 'main' FOR UPDATE"
        )
        holding = asyncio.create_task(_held_once(shadow))
        await waiting(sides)
        assert not holding.done()
        await loader.execute("COMMIT")
        await holding


async def test_loaders_that_do_not_let_go_in_time_are_left_alone(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.impatient.claim(sides.live.pipeline) as shadow, sides.postgres.connected() as loader:
        await sides.ready(shadow)
        await loader.execute("BEGIN; SELECT FROM qupersync_watermark WHERE lane = 1 AND group_name = 'main' FOR UPDATE")
        with pytest.raises(TransientError, match="do not let go of its lanes"):
            await _held_once(shadow)
        await loader.execute("ROLLBACK")
        await _held_once(shadow)


async def test_a_moment_sees_both_tables_as_they_stood_however_long_ago(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared() as shadow:
        async with shadow.hold() as held:
            context = held.moment()
            moment = await context.__aenter__()
        try:
            await sides.change(people(1, name="later"))
            await sides.postgres.execute("DELETE FROM people WHERE id = 2")
            found = await moment.compare(sides.schema)
            assert found.equal
            assert (found.live_rows, found.shadow_rows) == (2, 2)
        finally:
            await context.__aexit__(None, None, None)


async def test_rows_that_row_security_hides_are_no_silent_difference(sides: Sides) -> None:
    await sides.snapshot(people(1, 2))
    async with sides.prepared() as shadow:
        await sides.postgres.execute(
            "CREATE POLICY one ON people USING (id = 1); "
            "ALTER TABLE people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        )
        assert ["row security" in each.what for each in await shadow.obstacles(sides.schema)] == [True]
        with pytest.raises(TransientError, match="row-level security"):
            await sides.look(shadow)


async def _held_once(shadow: Shadow) -> None:
    async with shadow.hold():
        pass
