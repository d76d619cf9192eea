"""What every adapter of `Stream` promises the relay."""

import asyncio
from typing import Any

import pytest

from qupersync_extractor.application.ports import WrongLastSequenceError
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.kernel.errors import StreamFullError, StreamUnavailableError, TerminalError
from qupersync_shared.kernel.ids import Generation, Lane, PipelineName, StreamSequence

COST = PipelineName("cost")
NONE = StreamSequence(0)
FIRST = Generation(0)


async def fill(harness: Any, make_record: Any) -> int:
    """Publishes large events until the stream refuses one as full; how many it took."""
    expected = NONE
    for sequence in range(1, 100):
        record = make_record(sequence, payload=b"x" * 200_000)
        try:
            expected = await harness.stream.publish(record, FIRST, expected=expected)
        except StreamFullError:
            return sequence - 1
    pytest.fail("the stream never became full")


async def test_a_record_arrives_as_it_was_stored_with_its_generation(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    record = make_record(1, payload=bytes(range(256)) * 40)

    sequence = await harness.stream.publish(record, Generation(3), expected=NONE)

    [stored] = await harness.stored(COST, Lane(0))
    assert stored.stream_sequence == sequence
    assert stored.payload == record.payload
    envelope = BatchEnvelope.from_headers(dict(stored.headers))
    assert (envelope.id, envelope.generation, envelope.key_columns) == (record.id, 3, ("id", "naïve key,\n"))


async def test_an_empty_payload_is_a_message(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    await harness.stream.publish(make_record(1, payload=b""), FIRST, expected=NONE)
    assert [stored.payload for stored in await harness.stored(COST, Lane(0))] == [b""]


async def test_the_fence_refuses_what_does_not_follow_the_lanes_last_message(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    first = await harness.stream.publish(make_record(1), FIRST, expected=NONE)
    for wrong in (NONE, StreamSequence(first + 1)):
        with pytest.raises(WrongLastSequenceError):
            await harness.stream.publish(make_record(2), FIRST, expected=wrong)
    second = await harness.stream.publish(make_record(2), FIRST, expected=first)
    assert second > first
    assert len(await harness.stored(COST, Lane(0))) == 2


async def test_the_same_record_again_is_refused_by_the_fence_and_stored_again_when_expected(
    harness: Any, make_record: Any
) -> None:
    await harness.stream.declare(COST)
    record = make_record(1)
    first = await harness.stream.publish(record, FIRST, expected=NONE)
    with pytest.raises(WrongLastSequenceError):
        await harness.stream.publish(record, FIRST, expected=NONE)
    again = await harness.stream.publish(record, Generation(1), expected=first)
    assert again > first, "a resend must be stored, not swallowed as a duplicate"


async def test_lanes_have_fences_of_their_own(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)

    async def publish(lane: int) -> list[StreamSequence]:
        sequences = [NONE]
        for sequence in range(1, 11):
            record = make_record(sequence, lane=lane, payload=b"%d:%d" % (lane, sequence))
            sequences.append(await harness.stream.publish(record, FIRST, expected=sequences[-1]))
        return sequences[1:]

    published = await asyncio.gather(*(publish(lane) for lane in range(4)))

    assert len({sequence for lane in published for sequence in lane}) == 40
    for lane, sequences in enumerate(published):
        stored = await harness.stored(COST, Lane(lane))
        assert [message.stream_sequence for message in stored] == sequences == sorted(sequences)
        assert [message.payload for message in stored] == [b"%d:%d" % (lane, n) for n in range(1, 11)]


async def test_two_publishers_of_one_lane_never_both_succeed(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    attempts = [harness.stream.publish(make_record(1), FIRST, expected=NONE) for _ in range(8)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, WrongLastSequenceError) for result in results) == 7
    assert len(await harness.stored(COST, Lane(0))) == 1


async def test_last_message_none_own_and_foreign(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    assert await harness.stream.last_message(COST, Lane(0)) is None

    record = make_record(1)
    own = await harness.stream.publish(record, FIRST, expected=NONE)
    last = await harness.stream.last_message(COST, Lane(0))
    assert last is not None
    assert last.envelope is not None
    assert (last.stream_sequence, last.envelope.id, last.envelope.sequence) == (own, record.id, 1)
    assert await harness.stream.last_message(COST, Lane(1)) is None

    foreign = await harness.put_foreign(COST, Lane(0))
    last = await harness.stream.last_message(COST, Lane(0))
    assert last is not None
    assert (last.stream_sequence, last.envelope) == (foreign, None)


async def test_an_event_of_another_lane_on_a_lane_is_foreign(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    astray = {**make_record(1, lane=1).headers, "ce-generation": "0"}
    await harness.put_foreign(COST, Lane(0), astray)
    last = await harness.stream.last_message(COST, Lane(0))
    assert last is not None
    assert last.envelope is None


async def test_after_a_foreign_message_the_lane_goes_on_behind_it(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    first = await harness.stream.publish(make_record(1), FIRST, expected=NONE)
    foreign = await harness.put_foreign(COST, Lane(0))
    with pytest.raises(WrongLastSequenceError):
        await harness.stream.publish(make_record(2), FIRST, expected=first)
    await harness.stream.publish(make_record(2), FIRST, expected=foreign)


async def test_after_a_purge_a_resend_is_stored(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    record = make_record(1)
    first = await harness.stream.publish(record, FIRST, expected=NONE)
    await harness.purge(COST)
    assert await harness.stream.last_message(COST, Lane(0)) is None
    with pytest.raises(WrongLastSequenceError):
        await harness.stream.publish(record, Generation(1), expected=first)
    again = await harness.stream.publish(record, Generation(1), expected=NONE)
    assert again > first, "sequences go on after a purge"
    assert len(await harness.stored(COST, Lane(0))) == 1


async def test_a_full_stream_is_back_pressure_and_keeps_what_it_has(make_harness: Any, make_record: Any) -> None:
    harness = await make_harness(bytes_max=1 << 20)
    await harness.stream.declare(COST)
    stored = await fill(harness, make_record)
    assert 3 <= stored <= 5
    assert len(await harness.stored(COST, Lane(0))) == stored, "nothing older was discarded"
    with pytest.raises(WrongLastSequenceError):  # the fence still speaks
        await harness.stream.publish(make_record(99), FIRST, expected=NONE)

    await harness.purge(COST)
    await harness.stream.publish(make_record(stored + 1), FIRST, expected=NONE)


async def test_a_full_stream_stops_only_its_own_pipeline(make_harness: Any, make_record: Any) -> None:
    harness = await make_harness(bytes_max=1 << 20)
    other = PipelineName("other")
    await harness.stream.declare(COST)
    await harness.stream.declare(other)
    await fill(harness, make_record)
    await harness.stream.publish(make_record(1, pipeline="other"), FIRST, expected=NONE)


async def test_a_missing_stream_is_transient_and_a_new_one_begins_at_one(harness: Any, make_record: Any) -> None:
    with pytest.raises(StreamUnavailableError):
        await harness.stream.publish(make_record(1), FIRST, expected=NONE)
    with pytest.raises(StreamUnavailableError):
        await harness.stream.last_message(COST, Lane(0))

    await harness.stream.declare(COST)
    first = await harness.stream.publish(make_record(1), FIRST, expected=NONE)
    await harness.stream.publish(make_record(2), FIRST, expected=first)
    await harness.delete(COST)
    with pytest.raises(StreamUnavailableError):
        await harness.stream.publish(make_record(3), FIRST, expected=StreamSequence(2))

    await harness.stream.declare(COST)
    assert await harness.stream.last_message(COST, Lane(0)) is None
    assert await harness.stream.publish(make_record(3), FIRST, expected=NONE) == 1


async def test_declaring_again_keeps_the_messages(harness: Any, make_record: Any) -> None:
    await harness.stream.declare(COST)
    await harness.stream.publish(make_record(1), FIRST, expected=NONE)
    await asyncio.gather(*(harness.stream.declare(COST) for _ in range(3)))
    assert len(await harness.stored(COST, Lane(0))) == 1


async def test_declaring_at_once_is_safe(harness: Any) -> None:
    await asyncio.gather(*(harness.stream.declare(COST) for _ in range(5)))
    assert await harness.stream.last_message(COST, Lane(0)) is None


async def test_an_event_as_large_as_max_payload_says_passes_and_a_larger_one_is_refused_whole(
    harness: Any, make_record: Any
) -> None:
    await harness.stream.declare(COST)
    limit = await harness.stream.max_payload()
    assert 900_000 < limit <= 1_000_000
    headers = make_record(1).headers
    room = limit - sum(len(name) + len(value) + 4 for name, value in headers.items())

    first = await harness.stream.publish(make_record(1, payload=b"x" * room), FIRST, expected=NONE)
    with pytest.raises(TerminalError, match="bytes"):
        await harness.stream.publish(make_record(2, payload=b"x" * (limit + 200)), FIRST, expected=first)
    await harness.stream.publish(make_record(2), FIRST, expected=first)  # the connection still stands
