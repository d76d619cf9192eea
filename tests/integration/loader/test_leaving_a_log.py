"""A target leaves a log for all its lanes at once: events share the row, whoever changes the log has it alone."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.conformance.loader.conftest import Lanes, PostgresHarness
from tests.conformance.loader.events import Event, Extractor, people
from tests.integration.loader.world import eventually

from qupersync_loader.application.content import facts_of, open_event
from qupersync_loader.application.outcome import Ack, Outcome
from qupersync_loader.application.ports import TargetWork
from qupersync_loader.domain.watermark import next_watermark
from qupersync_shared.kernel.ids import Lane


async def begun(postgres: PostgresHarness) -> tuple[Lanes, Extractor]:
    lanes, source = Lanes(postgres.target, lanes=2), Extractor(lanes=2)
    await lanes.load(source.page(people(*range(20))))
    return lanes, source


def somebody_waits(postgres: PostgresHarness) -> Callable[[], Awaitable[bool]]:
    async def waits() -> bool:
        return bool(
            await postgres.value(
                "SELECT count(*) > 0 FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )

    return waits


async def apply(work: TargetWork, event: Event, *, exclusive: bool) -> None:
    """Everything but the commit, as the use case does it."""
    await work.look()
    await work.stage(open_event(event.envelope, event.body))
    state = await work.lock(exclusive=exclusive)
    await work.apply()
    await work.save(next_watermark(state.watermark, facts_of(event.envelope)), event.envelope)


async def test_the_log_is_not_left_while_an_event_of_it_is_being_applied(postgres: PostgresHarness) -> None:
    lanes, source = await begun(postgres)
    old = source.incremental(people(*range(20), name="old"))
    new = Extractor(lanes=2, log=2).page(people(*range(20), name="new"))
    async with lanes.target.session(lanes.pipeline) as session, session.work(Lane(0)) as work:
        await apply(work, old[0], exclusive=False)
        leaving = asyncio.create_task(lanes.give(new[1]))
        await eventually(somebody_waits(postgres), "lane 1 waits for lane 0 to end")
        assert not leaving.done()
        await work.commit()
    assert _cause(await leaving) == "applied"
    assert (await lanes.state(0)).log == 2


async def test_events_of_the_old_log_wait_while_it_is_being_left_and_are_then_over(postgres: PostgresHarness) -> None:
    lanes, source = await begun(postgres)
    old = source.incremental(people(*range(20), name="old"))
    new = Extractor(lanes=2, log=2).page(people(*range(20), name="new"))
    async with lanes.target.session(lanes.pipeline) as session, session.work(Lane(1)) as work:
        await apply(work, new[1], exclusive=True)
        late = asyncio.create_task(lanes.give(old[0]))
        await eventually(somebody_waits(postgres), "lane 0 waits for the log to be left")
        assert not late.done()
        await work.commit()
    assert _cause(await late) == "already_applied"
    names = {row["name"].rstrip("0123456789") for row in await postgres.rows(lanes.pipeline)}
    assert names == {"n", "new"}


async def test_events_of_other_lanes_do_not_wait_for_each_other(postgres: PostgresHarness) -> None:
    lanes, source = await begun(postgres)
    page = source.incremental(people(*range(20), name="x"))
    async with lanes.target.session(lanes.pipeline) as session, session.work(Lane(0)) as work:
        await apply(work, page[0], exclusive=False)
        assert _cause(await asyncio.wait_for(lanes.give(page[1]), 10)) == "applied"
        await work.commit()


def _cause(outcome: Outcome) -> str:
    return str(outcome.cause) if isinstance(outcome, Ack) else outcome.reason
