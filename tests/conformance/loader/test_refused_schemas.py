"""Columns that the target refuses hold their lane until they fit, or until the source has taken them back."""

from dataclasses import replace
from typing import Any

import pytest
from tests.conformance.loader.conftest import Harness, Lanes
from tests.conformance.loader.events import Event, Extractor, delivery, ints, people, schema

from qupersync_loader.application.outcome import Ack, Nak, Outcome
from qupersync_loader.domain.pipeline import DeletePolicy, OnTerminal
from qupersync_shared.contracts.schema import RowSchema

CHANGED = schema(id="bigint", name="varchar", amount="varchar")


def changed(source: Extractor, rows: RowSchema = CHANGED) -> Extractor:
    """The same source, whose columns are others from now on."""
    source.schema = rows
    return source


def odd(*ids: int) -> list[dict[str, Any]]:
    return [{**row, "amount": "much"} for row in people(*ids, name="odd")]


async def begun(lanes: Lanes) -> Extractor:
    source = Extractor()
    await lanes.load(source.page(people(1, 2)))
    return source


async def give(lanes: Lanes, event: Event, *ahead: Event) -> Outcome:
    return await lanes.hand(0, delivery(event, ahead=ahead))


async def names(harness: Harness, lanes: Lanes) -> list[str]:
    return [row["name"] for row in await harness.rows(lanes.pipeline)]


async def test_a_refused_event_holds_its_lane_as_long_as_nothing_behind_it_could_be_loaded(lanes: Lanes) -> None:
    source = await begun(lanes)
    plain = source.schema
    refused = changed(source).page(odd(1, 2))[0]
    later = source.page(odd(1, 2, 3))[0]
    stale = replace(refused, envelope=refused.envelope.model_copy(update={"schema_fingerprint": "sha256:other"}))
    for ahead in ((), (later,), (stale,), (changed(source, plain).incremental(people(1))[0],)):
        outcome = await give(lanes, refused, *ahead)
        assert isinstance(outcome, Nak)
        assert outcome.halted
    assert await lanes.sequence() == 1


async def test_what_was_refused_is_passed_over_once_the_source_has_taken_it_back(
    harness: Harness, lanes: Lanes
) -> None:
    source = await begun(lanes)
    plain = source.schema
    first = changed(source).page(odd(1), upto=ints(1))[0]
    between = [source.page(odd(2), after=ints(1))[0], source.incremental(odd(3))[0]]
    back = changed(source, plain).page(people(2, name="back"))[0]
    behind = source.incremental(people(4))[0]
    for event in (first, *between):
        outcome = await give(lanes, event, back)
        assert isinstance(outcome, Ack)
        assert (outcome.cause, outcome.applied.rows) == ("passed_over", 0)
        assert "the lane goes on with the snapshot that begins at event 5 of log 1" in (outcome.trouble or "")
    assert await lanes.sequence() == 1
    await lanes.load([back], [behind])
    assert await names(harness, lanes) == ["back2", "n4"]
    assert lanes.commands.resends == []


async def test_another_process_passes_over_what_follows_without_a_request(harness: Harness, lanes: Lanes) -> None:
    source = await begun(lanes)
    plain = source.schema
    first = changed(source).page(odd(1), upto=ints(1))[0]
    between = source.page(odd(2), after=ints(1))[0]
    back = changed(source, plain).page(people(2))[0]
    other = Lanes(harness.target)
    assert isinstance(await give(lanes, first, back), Ack)
    outcome = await give(other, between, back)
    assert isinstance(outcome, Ack)
    assert outcome.cause == "passed_over"
    assert other.commands.resends == []
    await other.load([back])
    # What the stream loses from now on is a gap like any other.
    source.incremental()
    other.commands.rewinds(1)
    outcome = await give(other, source.incremental(people(5))[0])
    assert isinstance(outcome, Ack)
    assert (outcome.cause, len(other.commands.resends)) == ("resent", 1)


async def test_of_several_baselines_the_last_that_differs_is_awaited(lanes: Lanes) -> None:
    source = await begun(lanes)
    plain = source.schema
    refused = changed(source).page(odd(1))[0]
    third = changed(source, schema(id="bigint", name="varchar", amount="boolean")).page([])[0]
    back = changed(source, plain).page(people(2))[0]
    again = changed(source).page(odd(2))[0]
    outcome = await give(lanes, refused, third, back, again)
    assert isinstance(outcome, Ack)
    assert "event 4 of log 1" in (outcome.trouble or "")
    # The next process may not know: what is refused in its turn is passed over in its turn.
    outcome = await give(lanes, third, back, again)
    assert isinstance(outcome, Ack)
    await lanes.load([back])
    assert isinstance(await give(lanes, again), Nak)


async def test_a_greater_log_is_awaited_too(harness: Harness, lanes: Lanes) -> None:
    source = await begun(lanes)
    refused = changed(source).page(odd(1))[0]
    new = Extractor(log=2)
    back = new.page(people(7))[0]
    outcome = await give(lanes, refused, back)
    assert isinstance(outcome, Ack)
    await lanes.load([back])
    assert await names(harness, lanes) == ["n7"]


@pytest.mark.parametrize("policy", list(OnTerminal))
async def test_of_a_source_that_forgets_nothing_is_passed_over(harness: Harness, policy: OnTerminal) -> None:
    lanes = Lanes(harness.target, deletes=DeletePolicy.KEEP, on_terminal=policy)
    source = await begun(lanes)
    plain = source.schema
    refused = changed(source).page(odd(1))[0]
    between = source.incremental(odd(3))[0]
    assert isinstance(await give(lanes, refused), Nak)
    back = changed(source, plain).page(people(2, name="back"))[0]
    outcome = await give(lanes, refused, back)
    if policy is OnTerminal.HALT:
        assert isinstance(outcome, Nak)
        return
    for result in (outcome, await give(lanes, between, back)):
        assert isinstance(result, Ack)
        assert result.cause == "parked"
    await lanes.load([back])
    assert [sequence for sequence, _ in await harness.letters()] == [2, 3]
    assert await names(harness, lanes) == ["n1", "back2"]
