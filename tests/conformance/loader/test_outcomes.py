"""What becomes of a delivery that is not simply the next event: gaps, forks, baselines, foreign and damaged ones."""

from dataclasses import replace
from typing import Any

import pytest
from tests.conformance.loader.conftest import Harness, Lanes
from tests.conformance.loader.events import Event, Extractor, SentDelivery, delivery, ints, people

from qupersync_loader.application.outcome import Ack, Nak, Outcome
from qupersync_loader.domain.pipeline import DeletePolicy, OnBadRow, OnTerminal
from qupersync_shared.contracts.payload import checksum
from qupersync_shared.kernel.ids import uuid7


def cause(outcome: Outcome) -> str:
    return str(outcome.cause) if isinstance(outcome, Ack) else f"nak: {outcome.reason}"


def damaged(event: Event) -> Event:
    return Event(envelope=event.envelope, body=event.body[:-9] + b"x" * 9)


def undecodable(event: Event) -> Event:
    """Authentic by all its envelope says, yet no Arrow stream."""
    body = b"not arrow"
    return Event(envelope=event.envelope.model_copy(update={"checksum": checksum(body)}), body=body)


async def ids(harness: Harness, lanes: Lanes) -> list[Any]:
    return [row["id"] for row in await harness.rows(lanes.pipeline)]


# --------------------------------------------------------------------------------------------------------- beginning


async def test_a_lane_without_a_watermark_leaves_out_what_comes_before_the_baseline(
    harness: Harness, lanes: Lanes
) -> None:
    source = Extractor()
    early = source.incremental(people(1))[0]
    assert cause(await lanes.give(early)) == "awaits_baseline"
    assert await lanes.sequence() is None
    await lanes.load(source.page(people(2)))
    assert await ids(harness, lanes) == [2]
    assert cause(await lanes.give(early)) == "already_applied"
    assert lanes.commands.snapshots == []


async def test_a_greater_log_begins_at_its_baseline_and_ends_the_old_one_for_all_lanes(
    harness: Harness,
) -> None:
    lanes = Lanes(harness.target, lanes=2)
    old = Extractor(lanes=2)
    await lanes.load(old.page(people(*range(10))))
    late = old.incremental(people(*range(10), name="x"))
    new = Extractor(lanes=2, log=2)
    assert cause(await lanes.give(Extractor(lanes=2, log=2).incremental()[0])) == "awaits_baseline"
    baseline = new.page(people(*range(10), name="y"))
    await lanes.load([baseline[0]])
    assert cause(await lanes.give(late[1])) == "already_applied"
    assert cause(await lanes.give(new.incremental()[1])) == "awaits_baseline"
    await lanes.load([baseline[1]])
    assert {row["name"][0] for row in await harness.rows(lanes.pipeline)} == {"y"}


# -------------------------------------------------------------------------------------------------------------- gaps


async def test_a_gap_is_asked_for_and_blocks_until_answered(lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    source.incremental(people(2))
    third = source.incremental(people(3))[0]
    outcome = await lanes.give(third)
    assert isinstance(outcome, Nak)
    assert "the stream lost events 2 to 2 of log 1, and no relay answers" in outcome.reason
    (asked,) = lanes.commands.resends
    assert (asked.group, asked.pipeline, asked.lane, asked.log, asked.from_sequence) == ("main", "people", 0, 1, 2)


async def test_after_a_rewind_older_copies_are_left_out_without_asking_again(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    second, third, fourth = (source.incremental(people(i))[0] for i in (2, 3, 4))
    lanes.commands.rewinds(1)
    assert cause(await lanes.give(third)) == "resent"
    assert cause(await lanes.give(fourth)) == "resent"
    assert len(lanes.commands.resends) == 1
    for event in (second, third, fourth):
        assert cause(await lanes.give(event, generation=1)) == "applied"
    assert await ids(harness, lanes) == [1, 2, 3, 4]


async def test_a_second_gap_in_the_resent_copies_is_asked_for_again(lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    events = [source.incremental(people(i))[0] for i in (2, 3, 4)]
    lanes.commands.rewinds(1)
    await lanes.give(events[1])
    lanes.commands.rewinds(2)
    assert cause(await lanes.give(events[2], generation=1)) == "resent"
    assert len(lanes.commands.resends) == 2


async def test_what_was_promised_and_never_came_is_asked_for_anew_after_a_minute(lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    source.incremental()
    lanes.commands.rewinds(1)
    await lanes.give(source.incremental()[0])
    lanes.clock.move(seconds=59)
    await lanes.give(source.incremental()[0])
    assert len(lanes.commands.resends) == 1
    lanes.clock.move(seconds=2)
    await lanes.give(source.incremental()[0])
    assert len(lanes.commands.resends) == 2


async def test_where_the_outbox_lacks_it_too_a_snapshot_is_asked_for_and_begun_with(
    harness: Harness, lanes: Lanes
) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2)))
    source.incremental(people(3))
    lanes.commands.lacks()
    outcome = await lanes.give(source.incremental(people(4))[0])
    assert isinstance(outcome, Ack)
    assert (outcome.cause, "stalled until the next snapshot" in str(outcome.trouble)) == ("stalled", True)
    assert cause(await lanes.give(source.incremental(people(5))[0])) == "stalled"
    assert (len(lanes.commands.resends), len(lanes.commands.snapshots)) == (1, 1)
    await lanes.load(source.page(people(1, 3, 4, 5)))
    assert await ids(harness, lanes) == [1, 3, 4, 5]
    state = await lanes.state()
    assert state.watermark is not None
    assert state.watermark.honest_time == source.clock


async def test_a_snapshot_nobody_accepts_keeps_the_event(lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    source.incremental()
    lanes.commands.lacks()
    lanes.commands.accepts = False
    assert "no extractor answers" in cause(await lanes.give(source.incremental()[0]))


# ------------------------------------------------------------------------------------------------------------- forks


async def test_a_fork_is_reported_and_acknowledged_once_accepted(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)), source.incremental(people(2)))
    other = source.incremental(people(9), previous_id=uuid7())[0]
    lanes.commands.accepts = False
    assert "a fork" in cause(await lanes.give(other))
    lanes.commands.accepts = True
    assert cause(await lanes.give(other)) == "forked"
    assert [(r.sequence, r.event_id) for r in lanes.commands.forks] == [(3, other.envelope.id)] * 2
    assert await ids(harness, lanes) == [1, 2]


# ----------------------------------------------------------------------------------------------- foreign and damaged


async def test_foreign_messages_move_nothing(lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    elsewhere = Extractor(name="others").incremental()[0]
    plain = SentDelivery(headers={}, body=b"hello")
    broken = delivery(source.incremental()[0])
    broken.headers = {**broken.headers, "ce-sequence": "minus one"}
    for sent in (delivery(elsewhere), plain, broken):
        assert cause(await lanes.hand(0, sent)) == "foreign"
    assert await lanes.sequence() == 1


async def test_an_event_of_a_later_version_is_not_thrown_away(lanes: Lanes) -> None:
    sent = delivery(Extractor().page(people(1))[0])
    sent.headers = {**sent.headers, "ce-type": "qupersync.batch.v2"}
    outcome = await lanes.hand(0, sent)
    assert isinstance(outcome, Nak)
    assert outcome.halted
    assert "upgrade" in outcome.reason


async def test_a_damaged_event_is_asked_for_once_more_and_its_second_copy_loads(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    second, third = source.incremental(people(2))[0], source.incremental(people(3))[0]
    assert "no relay answers" in cause(await lanes.give(damaged(second)))
    lanes.commands.rewinds(4)
    assert cause(await lanes.give(damaged(second))) == "resent"
    assert cause(await lanes.give(third, generation=3)) == "resent"
    assert [r.from_sequence for r in lanes.commands.resends] == [2, 2]
    assert cause(await lanes.give(second, generation=4)) == "applied"
    assert cause(await lanes.give(third, generation=4)) == "applied"
    assert await ids(harness, lanes) == [1, 2, 3]
    assert await harness.letters() == []


async def test_a_damaged_event_whose_second_copy_is_damaged_too_is_parked(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    second = source.incremental(people(2))[0]
    lanes.commands.rewinds(1)
    await lanes.give(damaged(second))
    outcome = await lanes.give(damaged(second), generation=1)
    assert cause(outcome) == "parked"
    assert await harness.letters() == [(2, "the body does not have the checksum that the envelope names")]


async def test_a_damaged_copy_of_what_was_applied_is_nobodys_trouble(lanes: Lanes) -> None:
    source = Extractor()
    page = source.page(people(1))[0]
    await lanes.load([page])
    assert cause(await lanes.give(damaged(page))) == "already_applied"
    assert lanes.commands.resends == []


async def test_p_a_parked_event_moves_the_watermark_and_holds_the_time_back(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    honest = source.clock
    bad = undecodable(source.incremental(people(2))[0])
    assert cause(await lanes.give(bad)) == "parked"
    assert cause(await lanes.give(bad)) == "already_applied"
    await lanes.load(source.incremental(people(3)))
    state = await lanes.state()
    assert state.watermark is not None
    assert (state.watermark.sequence, state.watermark.honest_time, state.parked) == (3, honest, True)
    assert await ids(harness, lanes) == [1, 3]
    found = (await harness.target.states(lanes.pipeline.group))[lanes.pipeline.name]
    assert (found.parked.dead_letters, found.parked.quarantined) == (1, 0)


async def test_a_parked_baseline_begins_the_lane_too(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    assert cause(await lanes.give(undecodable(source.page(people(1), upto=ints(5))[0]))) == "parked"
    await lanes.load(source.page(people(6), after=ints(5)))
    assert await ids(harness, lanes) == [6]
    state = await lanes.state()
    assert state.watermark is not None
    assert state.watermark.honest_time is None


async def test_halt_holds_the_lane_instead_of_parking(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, on_terminal=OnTerminal.HALT), Extractor()
    page = source.page(people(1))[0]
    await lanes.load([page])
    outcome = await lanes.give(undecodable(source.incremental()[0]))
    assert isinstance(outcome, Nak)
    assert outcome.halted
    assert cause(await lanes.give(undecodable(page))) == "already_applied"
    assert (await lanes.sequence(), await harness.letters()) == (1, [])


async def test_a_key_twice_in_one_event_is_parked_not_tried_for_ever(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    assert cause(await lanes.give(source.incremental(people(2, 3, 2))[0])) == "parked"
    ((sequence, reason),) = await harness.letters()
    assert (sequence, "holds a key twice" in reason) == (2, True)
    assert await ids(harness, lanes) == [1]


# -------------------------------------------------------------------------------------------------------- quarantine


async def test_p_refused_rows_are_quarantined_and_the_rest_loads(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(0)))
    await harness.refuse_names("n7", "n8", "n500", "n999")
    done = await lanes.load(source.incremental(people(*range(1, 1000))))
    assert (done.rows, done.written, done.quarantined) == (999, 995, 4)
    assert set(await ids(harness, lanes)) == set(range(1000)) - {7, 8, 500, 999}
    assert await harness.quarantine() == [("n500", None), ("n7", None), ("n8", None), ("n999", None)]
    found = (await harness.target.states(lanes.pipeline.group))[lanes.pipeline.name]
    assert found.parked.quarantined == 4


async def test_a_quarantined_row_counts_as_present_and_keeps_its_older_state(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1, 2, 3)))
    await harness.refuse_names("bad2")
    await lanes.load(source.page(people(1) + people(2, name="bad") + people(3)))
    assert [(r["id"], r["name"]) for r in await harness.rows(lanes.pipeline)] == [(1, "n1"), (2, "n2"), (3, "n3")]
    assert await harness.quarantine() == [("bad2", None)]


async def test_quarantined_rows_resolve_themselves_when_they_load_or_are_gone(harness: Harness, lanes: Lanes) -> None:
    source = Extractor()
    await lanes.load(source.page(people(0)))
    await harness.refuse_names("bad1", "bad2", "bad3", "bad4")
    await lanes.load(source.incremental(people(1, 2, 3, 4, name="bad")))
    again = await lanes.load(source.incremental(people(1, name="bad")))
    assert (again.quarantined, again.resolved) == (1, 0)
    assert len(await harness.quarantine()) == 4
    done = await lanes.load(
        source.incremental(people(1)),
        source.reread(gone=people(2)),
        source.page(people(0, 1), upto=ints(3)),
        source.page(withheld_keys=(ints(4),), after=ints(3)),
    )
    assert done.resolved == 3
    assert await harness.quarantine() == [("bad1", "loaded"), ("bad2", "gone"), ("bad3", "gone"), ("bad4", None)]
    assert await ids(harness, lanes) == [0, 1]


async def test_what_the_source_may_have_forgotten_stays_in_quarantine_until_it_loads(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, deletes=DeletePolicy.KEEP), Extractor()
    await lanes.load(source.page(people(0)))
    await harness.refuse_names("bad1", "bad2", "bad3")
    await lanes.load(source.incremental(people(1, 2, 3, name="bad")))
    done = await lanes.load(source.incremental(people(1)), source.reread(gone=people(2)), source.page(people(0)))
    assert done.resolved == 1
    assert await harness.quarantine() == [("bad1", "loaded"), ("bad2", None), ("bad3", None)]


async def test_halt_holds_the_lane_at_a_refused_row(harness: Harness) -> None:
    lanes, source = Lanes(harness.target, on_bad_row=OnBadRow.HALT), Extractor()
    await lanes.load(source.page(people(1)))
    await harness.refuse_names("n2")
    event = source.incremental(people(2, 3))[0]
    outcome = await lanes.give(event)
    assert isinstance(outcome, Nak)
    assert outcome.halted
    assert (await ids(harness, lanes), await harness.quarantine()) == ([1], [])
    await harness.refuse_names()
    await lanes.load([event])
    assert await ids(harness, lanes) == [1, 2, 3]


@pytest.mark.parametrize("attempt", [1, 2, 5, 50])
async def test_delays_grow_to_half_a_minute_and_begin_fast(lanes: Lanes, attempt: int) -> None:
    source = Extractor()
    await lanes.load(source.page(people(1)))
    source.incremental()
    outcome = await lanes.give(source.incremental()[0], attempt=attempt)
    assert isinstance(outcome, Nak)
    assert outcome.delay_seconds == min(30.0, 0.25 * 2 ** (attempt - 1))
    assert replace(outcome, halted=True) != outcome
