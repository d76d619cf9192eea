"""Dead letters: what makes them good, and how long they hold the honest time back."""

import asyncio
from typing import Any

import pytest
from tests.conformance.loader.conftest import Harness, Lanes
from tests.conformance.loader.events import Event, Extractor, ints, people

from qupersync_loader.application.outcome import Ack
from qupersync_loader.domain.pipeline import DeletePolicy
from qupersync_loader.domain.watermark import Watermark
from qupersync_shared.contracts.payload import checksum


def undecodable(event: Event) -> Event:
    body = b"not arrow"
    return Event(envelope=event.envelope.model_copy(update={"checksum": checksum(body)}), body=body)


async def watermark(lanes: Lanes, lane: int = 0) -> Watermark:
    found = (await lanes.state(lane)).watermark
    assert found is not None
    return found


async def ids(harness: Harness, lanes: Lanes) -> list[Any]:
    return [row["id"] for row in await harness.rows(lanes.pipeline)]


async def test_a_reread_makes_its_letters_good_in_its_own_transaction(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    honest = source.clock
    one, two = (undecodable(source.incremental(people(i))[0]) for i in (2, 3))
    await lanes.load([one], [two])
    await lanes.load(source.reread(people(2), redrives=(one.envelope.id,)))
    assert await harness.resolutions() == [(2, "reread"), (3, None)]
    assert (await watermark(lanes)).honest_time == honest
    again = source.reread(people(3), redrives=(one.envelope.id, two.envelope.id))
    await lanes.load(again)
    assert await harness.resolutions() == [(2, "reread"), (3, "reread")]
    assert (await lanes.state()).parked is False
    await lanes.load(source.incremental())
    assert (await watermark(lanes)).honest_time == source.clock
    assert await ids(harness, lanes) == [1, 2, 3]


async def test_a_parked_reread_makes_nothing_good(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    one = undecodable(source.incremental(people(2))[0])
    await lanes.load([one], [undecodable(source.reread(people(2), redrives=(one.envelope.id,))[0])])
    assert await harness.resolutions() == [(2, None), (3, None)]


async def test_a_letter_of_another_lane_stays(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=2), Extractor(lanes=2)
    await lanes.load(source.page(people(*range(10))))
    bad = [undecodable(event) for event in source.incremental(people(*range(10), name="x"))]
    await lanes.load(bad)
    named = tuple(event.envelope.id for event in bad)
    first = source.reread(people(*range(10), name="x"), redrives=named)
    await lanes.load([first[1]])
    assert await harness.resolutions() == [(2, None), (2, "reread")]
    assert ((await lanes.state(0)).parked, (await lanes.state(1)).parked) == (True, False)
    await lanes.load([first[0]])
    assert await harness.resolutions() == [(2, "reread"), (2, "reread")]


async def test_a_snapshot_that_is_over_has_said_again_what_was_parked_before_it(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    honest = source.clock
    await lanes.load([undecodable(source.incremental(people(2))[0])])
    await lanes.load(source.page(people(1), upto=ints(1)))
    between = undecodable(source.incremental(people(9))[0])
    await lanes.load([between], source.page(people(2), after=ints(1), upto=ints(5)))
    assert await harness.resolutions() == [(2, None), (4, None)]
    await lanes.load(source.page(people(9), after=ints(5)))
    # What was parked while the snapshot was under way may be newer than the page that read it.
    assert await harness.resolutions() == [(2, "snapshot"), (4, None)]
    assert (await watermark(lanes)).honest_time == honest
    await lanes.load(source.page(people(1, 2, 9)))
    assert await harness.resolutions() == [(2, "snapshot"), (4, "snapshot")]
    mark = await watermark(lanes)
    assert (mark.honest_time, mark.snapshot_whole) == (source.clock, source.snapshot)
    assert await ids(harness, lanes) == [1, 2, 9]


@pytest.mark.parametrize("parked", [0, 1, 2])
async def test_a_snapshot_that_lacks_one_of_its_pages_makes_nothing_good(
    harness: Harness, lanes: Lanes, parked: int
) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    honest = source.clock
    await lanes.load([undecodable(source.incremental(people(2))[0])])
    pages = [
        source.page(people(1), upto=ints(1))[0],
        source.page(people(2), after=ints(1), upto=ints(5))[0],
        source.page(people(9), after=ints(5))[0],
    ]
    bad = pages[parked] = undecodable(pages[parked])
    await lanes.load(pages)
    await lanes.load(source.incremental())
    assert await harness.resolutions() == [(2, None), (3 + parked, None)]
    assert (await watermark(lanes)).honest_time == honest
    # Once the page's own range was read again, nothing is lacking any more.
    ranges = {0: (None, ints(1)), 1: (ints(1), ints(5)), 2: (ints(5), None)}
    after, upto = ranges[parked]
    rows = people(*((1,), (2,), (9,))[parked])
    await lanes.load(
        source.reread(rows, range_from=after, range_to=upto, range_complete=True, redrives=(bad.envelope.id,))
    )
    assert await harness.resolutions() == [(2, "snapshot"), (3 + parked, "reread")]
    await lanes.load(source.incremental())
    assert (await watermark(lanes)).honest_time == source.clock
    assert await ids(harness, lanes) == [1, 2, 9]


async def test_a_greater_log_makes_the_letters_of_older_logs_good(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)), [undecodable(source.incremental(people(2))[0])])
    again = Extractor(log=2)
    await lanes.load(again.page(people(1), upto=ints(1)))
    assert await harness.resolutions() == [(2, None)]
    await lanes.load(again.page(people(2), after=ints(1)))
    assert await harness.resolutions() == [(2, "snapshot")]
    mark = await watermark(lanes)
    assert (mark.honest_time, mark.snapshot_whole) == (again.clock, again.snapshot)


async def test_letters_of_lanes_that_are_no_more_wait_for_all_lanes(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=3), Extractor(lanes=3)
    await lanes.load(source.page(people(*range(10))))
    await lanes.load([undecodable(event) for event in source.incremental(people(*range(10), name="x"))])
    fewer = Extractor(lanes=2, log=2)
    page = fewer.page(people(*range(10), name="x"))
    await lanes.load([page[0]])
    await harness.target.tidy([lanes.pipeline], keep_days=30)
    assert {resolution for _, resolution in await harness.resolutions()} == {None}
    await lanes.load([page[1]])
    await harness.target.tidy([lanes.pipeline], keep_days=30)
    assert {resolution for _, resolution in await harness.resolutions()} == {"snapshot"}
    assert (await harness.target.states(lanes.pipeline.group))[lanes.pipeline.name].parked.nothing


async def test_a_source_that_forgets_does_not_say_again_what_was_parked(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, deletes=DeletePolicy.KEEP), Extractor()
    await lanes.load(source.page(people(1)), [undecodable(source.incremental(people(2))[0])])
    await lanes.load(source.page(people(3)))
    assert await harness.resolutions() == [(2, None)]
    again = Extractor(log=2, lanes=2)
    for event in again.page(people(3)):
        outcome = await lanes.give(event)
        assert isinstance(outcome, Ack)
    await harness.target.tidy([lanes.pipeline], keep_days=30)
    assert await harness.resolutions() == [(2, None)]


@pytest.mark.parametrize("policy", [DeletePolicy.KEEP, DeletePolicy.APPLY])
async def test_after_a_change_of_lanes_a_reread_makes_letters_good_once_all_lanes_have_it(
    harness: Harness, policy: DeletePolicy
) -> None:
    lanes, source = Lanes(harness.target, lanes=3, deletes=policy), Extractor(lanes=3)
    await lanes.load(source.page(people(*range(10))))
    bad = [undecodable(event) for event in source.incremental(people(*range(10), name="x"))]
    await lanes.load(bad)
    fewer = Extractor(lanes=2, log=2)
    await lanes.load(fewer.page(people(*range(10)), upto=ints(5)))  # a snapshot that is not over says nothing again
    named = (bad[0].envelope.id, bad[2].envelope.id)
    again = fewer.reread(people(*range(10), name="x"), redrives=named)
    later = fewer.incremental(people(1, name="x"))
    await lanes.load([again[1]], [later[1]])
    assert {resolution for _, resolution in await harness.resolutions()} == {None}
    await lanes.load([again[0]])
    found = [resolution for _, resolution in await harness.resolutions()]
    assert found == ["reread", None, "reread"]


async def test_letters_of_left_lanes_wait_if_a_lane_did_not_apply_what_makes_them_good(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=3, deletes=DeletePolicy.KEEP), Extractor(lanes=3)
    await lanes.load(source.page(people(*range(10))))
    bad = undecodable(source.incremental(people(*range(10), name="x"))[0])
    await lanes.load([bad])
    more = Extractor(lanes=2, log=2)
    await lanes.load(more.page(people(*range(10))))
    again = more.reread(people(*range(10), name="x"), redrives=(bad.envelope.id,))
    parked = undecodable(again[0])
    await lanes.load([parked], [again[1]])  # one lane has parked it
    assert [resolution for _, resolution in await harness.resolutions()] == [None, None]
    lost = more.reread(people(*range(10), name="x"), redrives=(bad.envelope.id, parked.envelope.id))
    behind = more.page(people(*range(10), name="x"))
    await lanes.load([behind[1]], [lost[0]])  # one has lost it, and has begun anew behind it
    assert [resolution for _, resolution in await harness.resolutions()] == [None, "reread"]
    last = more.reread(people(*range(10), name="x"), redrives=(bad.envelope.id,))
    await lanes.load([behind[0]], [last[0]])
    outcomes = await asyncio.gather(*(lanes.give(event) for event in last))
    assert [outcome.cause for outcome in outcomes if isinstance(outcome, Ack)] == ["already_applied", "applied"]
    assert [resolution for _, resolution in await harness.resolutions()] == ["reread", "reread"]


async def test_of_lanes_that_apply_the_same_page_at_once_one_makes_the_letter_good(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=3, deletes=DeletePolicy.KEEP), Extractor(lanes=3)
    await lanes.load(source.page(people(*range(10))))
    bad = undecodable(source.incremental(people(*range(10), name="x"))[0])
    await lanes.load([bad])
    more = Extractor(lanes=5, log=2)
    for event in more.page(people(*range(10))):
        await lanes.load([event])
    again = more.reread(people(*range(10), name="x"), redrives=(bad.envelope.id,))
    outcomes = await asyncio.gather(*(lanes.give(event) for event in again))
    assert {outcome.cause for outcome in outcomes if isinstance(outcome, Ack)} == {"applied"}
    assert await harness.resolutions() == [(2, "reread")]


async def test_the_state_tells_what_waits_by_lane(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, lanes=2), Extractor(lanes=2)
    await lanes.load(source.page(people(0)))
    await lanes.load([undecodable(source.incremental(people(1))[1])])
    await harness.refuse_names(*(f"bad{i}" for i in range(10)))
    page = source.incremental(people(*range(10), name="bad"))
    done = await lanes.load([page[1]])
    state = (await harness.target.states(lanes.pipeline.group))[lanes.pipeline.name]
    assert (state.parked.quarantined, state.parked.dead_letters) == (done.quarantined, 1)
    told = [(p.quarantined, p.dead_letters) for _, p in sorted(state.watermarks.items())]
    assert told == [(0, 0), (done.quarantined, 1)]
