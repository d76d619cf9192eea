"""Everything there is in one schedule, and what its parts ask of each other."""

from dataclasses import replace
from datetime import datetime
from random import Random

from tests.properties.simulation.database import ExtractorDatabase
from tests.properties.simulation.events import Event, Ids
from tests.properties.simulation.extractor import Extractor, KeepAlive
from tests.properties.simulation.invariants import check_published
from tests.properties.simulation.loader import Loader
from tests.properties.simulation.options import IDLE_TICKS, LANES_MAX, Fault, Options
from tests.properties.simulation.relay import Relay
from tests.properties.simulation.rules import Rules
from tests.properties.simulation.source import SimulatedSource
from tests.properties.simulation.stream import SimulatedStream
from tests.properties.simulation.target import Target

from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.domain.logs import Sighting
from qupersync_shared.contracts.commands import ResendReply, ResendStatus
from qupersync_shared.kernel.ids import EventId, Generation, Lane, Log, Sequence, StreamSequence


class World:
    """`progress` is the bucket: what groups last said of themselves, as fresh as their heartbeats."""

    def __init__(self, options: Options, rules: Rules) -> None:
        self.options = options
        self.rules = replace(rules, moment=options.moment)
        self.random = Random(f"schedule {options.seed}")
        self.ids = Ids()
        self.trace: list[str] = []
        self.draining = False
        self.fingerprint = "1"
        self.source = SimulatedSource(options, self.random)
        self.database = ExtractorDatabase.empty(self.rules, options.lanes)
        self.stream = SimulatedStream()
        self.progress: dict[tuple[str, Lane], Sighting] = {}
        groups = [chr(ord("a") + number) for number in range(options.groups)]
        self.targets = {group: Target(rules=self.rules) for group in groups}
        self.extractors = [Extractor(self, name) for name in ("extractor 1", "extractor 2")]
        self.keep_alive = KeepAlive(self)
        self.relays = [Relay(self, name) for name in ("relay 1", "relay 2")]
        self.loaders = [Loader(self, group, name) for group in groups for name in ("1", "2")]
        self.published_as: dict[tuple[EventId, Generation], StreamSequence] = {}
        self.publishes = 0
        self._stamp = 0
        self.resends = 0

    def say(self, text: str) -> None:
        self.trace.append(f"t{self.source.now:>4} {text}")

    def moment(self, tick: int) -> datetime:
        return self.options.moment(tick)

    def happens(self, fault: Fault, chance: float) -> bool:
        """Whether a fault that lies on the way happens now; never while draining."""
        return fault in self.options.faults and not self.draining and self.random.random() < chance

    def stamp(self) -> int:
        """A clock that is finer than ticks: no two calls see the same."""
        self._stamp += 1
        return self._stamp

    def idle(self, state: Extraction) -> bool:
        last = state.last_event_at
        return last is None or self.source.now - self.options.tick_of(last) >= IDLE_TICKS

    @property
    def lanes(self) -> list[Lane]:
        """Every lane that any log may have had."""
        return [Lane(number) for number in range(LANES_MAX)]

    # ------------------------------------------------------------------------------------- what parts ask of each other

    def publish(
        self, event: Event, generation: Generation, *, expected: StreamSequence | None
    ) -> StreamSequence | None:
        place = self.stream.publish(event, generation, expected=expected)
        if place is not None:
            self.publishes += 1
            check_published(self, event, generation, place)
            self.say(f"stream {place}: {event} generation {generation}")
        return place

    def ask_for_resend(self, lane: Lane, log: Log, from_sequence: int) -> ResendReply | None:
        """None when no answer comes; the command may have been carried out all the same."""
        unheard = self.happens(Fault.ANSWER_LOST, 0.2)
        if unheard and self.random.random() < 0.5:
            return None
        self.resends += 1
        generation = self.database.rewind(lane, log, Sequence(from_sequence))
        self.say(f"relay: resend of lane {lane} from {from_sequence}: generation {generation}")
        if unheard:
            return None
        if generation is None:
            return ResendReply(status=ResendStatus.UNAVAILABLE)
        return ResendReply(status=ResendStatus.REWOUND, generation=generation)

    def ask_for_snapshot(self, reason: str) -> bool:
        """Whether the wish was accepted; a loader without a baseline is not served by a snapshot under way."""
        if self.happens(Fault.ANSWER_LOST, 0.2):
            return False
        self.database.wish_snapshot(reason=reason, restart=True)
        return True

    def deliverable(self, group: str) -> list[Event]:
        """Every event that a late delivery may bring to a group: handled before, or standing in the stream."""
        standing = {m.event.id: m.event for messages in self.stream.lanes.values() for m in messages}
        return list((self.targets[group].handled | standing).values())

    def report_fork(self, log: Log) -> bool:
        if self.happens(Fault.ANSWER_LOST, 0.2):
            return False
        self.database.report_fork(log)
        return True

    def beat(self, group: str) -> None:
        """A group's heartbeat: progress as it stands in its target."""
        for lane, mark in self.targets[group].watermarks.items():
            self.progress[group, lane] = Sighting(
                where=f"group {group}", lane=lane, log=mark.log, sequence=mark.sequence, event_id=mark.event_id
            )
