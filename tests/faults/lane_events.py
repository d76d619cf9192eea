"""What stands on the lanes of a stream, in its order: to see duplicates, holes and wrong order with one's own eyes."""

from collections import Counter
from dataclasses import dataclass

import nats
import nats.js.errors
from tests.e2e.world import World

from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.ids import PipelineName


@dataclass(frozen=True, slots=True)
class LaneEvent:
    stream_sequence: int
    lane: int
    log: int
    sequence: int
    generation: int


async def lane_events(world: World) -> list[LaneEvent]:
    """Every event that the pipeline's stream holds, in the stream's order."""
    connection = await nats.connect(world.configuration["nats"]["servers"][0])
    try:
        stream, name = connection.jetstream(), stream_name(PipelineName(world.name))
        state = (await stream.stream_info(name)).state
        found = []
        for number in range(state.first_seq, state.last_seq + 1):
            try:
                message = await stream.get_msg(name, number)
            except nats.js.errors.NotFoundError:
                continue
            one = BatchEnvelope.from_headers(dict(message.headers or {}))
            found.append(LaneEvent(number, one.lane, one.log, one.sequence, one.generation))
        return found
    finally:
        await connection.close()


def assert_each_once_in_order(events: list[LaneEvent]) -> None:
    """On every lane each event stands once, after those that came before it, and none is missing in between."""
    for lane in sorted({one.lane for one in events}):
        points = [(one.log, one.sequence) for one in events if one.lane == lane]
        twice = [point for point, count in Counter(points).items() if count > 1]
        assert not twice, f"lane {lane} holds {twice} more than once"
        assert points == sorted(points), f"lane {lane} is out of order: {points}"
        for log in {log for log, _ in points}:
            sequences = [sequence for one, sequence in points if one == log]
            assert sequences == list(range(sequences[0], sequences[-1] + 1)), f"lane {lane} has holes: {sequences}"
