"""The stream: one subject per lane, a fence on the lane's last message, consumers with one delivery at a time."""

from dataclasses import dataclass, field, replace
from typing import Final

from tests.properties.simulation.events import Event, Message

from qupersync_shared.kernel.ids import Generation, Lane, StreamSequence

_NOTHING: Final = StreamSequence(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """`floor`: everything up to it is acknowledged; `delivered` waits for its ack until `deadline`."""

    floor: StreamSequence = _NOTHING
    delivered: StreamSequence | None = None
    deadline: int = 0


@dataclass(slots=True, kw_only=True)
class SimulatedStream:
    last: StreamSequence = _NOTHING
    lanes: dict[Lane, list[Message]] = field(default_factory=dict)
    consumers: dict[tuple[str, Lane], Consumer] = field(default_factory=dict)

    def copy(self) -> "SimulatedStream":
        return SimulatedStream(
            last=self.last,
            lanes={lane: list(messages) for lane, messages in self.lanes.items()},
            consumers=dict(self.consumers),
        )

    def top(self, lane: Lane) -> Message | None:
        messages = self.lanes.get(lane)
        return messages[-1] if messages else None

    def publish(
        self, event: Event, generation: Generation, *, expected: StreamSequence | None
    ) -> StreamSequence | None:
        """The message's place; None when the lane's last message is not the expected one (None: not asked)."""
        top = self.top(event.lane)
        if expected is not None and (top.sequence if top else 0) != expected:
            return None
        self.last = StreamSequence(self.last + 1)
        message = Message(sequence=self.last, event=event, generation=generation)
        self.lanes.setdefault(event.lane, []).append(message)
        return self.last

    # --------------------------------------------------------------------------------------------------- consumers

    def consumer(self, group: str, lane: Lane) -> Consumer:
        return self.consumers.get((group, lane), Consumer())

    def pending(self, group: str, lane: Lane) -> Message | None:
        """The first message above the consumer's floor."""
        floor = self.consumer(group, lane).floor
        messages = self.lanes.get(lane, ())
        if not messages or messages[-1].sequence <= floor:
            return None
        return next(message for message in messages if message.sequence > floor)

    def fetch(self, group: str, lane: Lane, *, now: int, ack_wait: int) -> Message | None:
        """The next message, unless one is out and its ack is still awaited (`max_ack_pending` is 1)."""
        message = self.pending(group, lane)
        consumer = self.consumer(group, lane)
        if message is None or (consumer.delivered is not None and now < consumer.deadline):
            return None
        self.consumers[group, lane] = replace(consumer, delivered=message.sequence, deadline=now + ack_wait)
        return message

    def ack(self, group: str, lane: Lane, sequence: StreamSequence) -> None:
        """Acknowledges a place in the stream, whoever it was delivered to."""
        if self.consumer(group, lane).delivered == sequence:
            self.consumers[group, lane] = Consumer(floor=sequence)

    def nak(self, group: str, lane: Lane, sequence: StreamSequence) -> None:
        consumer = self.consumer(group, lane)
        if consumer.delivered == sequence:
            self.consumers[group, lane] = replace(consumer, delivered=None)

    def expire(self, group: str, lane: Lane) -> None:
        """The ack wait passes: the same message may go to another loader."""
        self.consumers[group, lane] = replace(self.consumer(group, lane), delivered=None)
