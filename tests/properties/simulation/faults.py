"""The faults that come from outside: crashes, losses and restores. Those on the way stand where they happen."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.properties.simulation.database import ExtractorDatabase
from tests.properties.simulation.events import BrokenPromiseError, Message
from tests.properties.simulation.invariants import check_claims
from tests.properties.simulation.options import Fault
from tests.properties.simulation.stream import SimulatedStream
from tests.properties.simulation.target import Target

from qupersync_extractor.domain.logs import Sighting
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_loader.domain.judge import Apply
from qupersync_shared.kernel.ids import Generation, Lane, StreamSequence

if TYPE_CHECKING:
    from tests.properties.simulation.extractor import Extractor
    from tests.properties.simulation.loader import Loader
    from tests.properties.simulation.relay import Relay
    from tests.properties.simulation.world import World


# How often a fault strikes, compared with others: what destroys much is rare, so that there is something to destroy.
_WEIGHTS: Final = {
    Fault.CRASH: 8,
    Fault.REDELIVERY: 8,
    Fault.LATE_DUPLICATE: 8,
    Fault.MESSAGES_LOST: 8,
    Fault.OUTBOX_DROPPED: 4,
    Fault.TARGET_RESTORED: 4,
    Fault.STREAM_RESTORED: 3,
    Fault.EXTRACTOR_RESTORED: 3,
    Fault.LANE_PURGED: 2,
    Fault.SCHEMA_CHANGES: 2,
    Fault.STREAM_RECREATED: 1,
    Fault.EXTRACTOR_LOST: 1,
    Fault.LANES_CHANGED: 2,
}


@dataclass(slots=True)
class Faults:
    """Injects one of the schedule's faults at a time; keeps the backups that restores go back to."""

    world: "World"
    database: ExtractorDatabase | None = None
    stream: tuple[SimulatedStream, dict[tuple[str, Lane], Sighting]] | None = None
    targets: dict[str, Target] | None = None

    def strike(self) -> None:
        world = self.world
        faults = sorted(world.options.faults & _WEIGHTS.keys())
        if not faults:
            return
        match world.random.choices(faults, [_WEIGHTS[fault] for fault in faults])[0]:
            case Fault.CRASH:
                processes: list[Extractor | Relay | Loader] = [*world.extractors, *world.relays, *world.loaders]
                process = world.random.choice(processes)
                process.crash()
                world.say("a process crashes")
            case Fault.SCHEMA_CHANGES:
                world.fingerprint = str(int(world.fingerprint) + 1)
            case Fault.EXTRACTOR_RESTORED:
                self._restore_extractor()
            case Fault.EXTRACTOR_LOST:
                world.database = ExtractorDatabase.empty(world.rules, world.database.state.lanes)
                world.say("EXTRACTOR DATABASE LOST")
                self._restart_extractors()
            case Fault.STREAM_RESTORED:
                self._restore_stream()
            case Fault.STREAM_RECREATED:
                world.stream = SimulatedStream()
                world.say("STREAM RE-CREATED")
            case Fault.MESSAGES_LOST:
                self._lose_messages()
            case Fault.LANE_PURGED:
                lane = world.random.choice(world.lanes[: world.database.state.lanes])
                world.stream.lanes[lane] = []
                world.say(f"lane {lane} purged")
            case Fault.OUTBOX_DROPPED:
                world.say(f"outbox drops {world.database.drop_published()} records")
            case Fault.TARGET_RESTORED:
                self._restore_target()
            case Fault.LANES_CHANGED:
                lanes = world.random.choice([number for number in (1, 2, 3, 4) if number != world.database.state.lanes])
                world.database.reset(lanes)
                world.say(f"RESET to {lanes} lanes, log {world.database.state.log}")
            case Fault.LATE_DUPLICATE:
                self._late_duplicate()
            case Fault.REDELIVERY:
                world.stream.expire(world.random.choice(sorted(world.targets)), world.random.choice(world.lanes))
            case _:
                pass

    def _restore_extractor(self) -> None:
        world = self.world
        if self.database is None or world.random.random() < 0.5:
            self.database = world.database.copy()
            return
        token = world.database.token
        world.database, self.database = self.database, None
        world.say(f"EXTRACTOR RESTORED to {world.database.state.log}/{world.database.state.sequence}")
        if world.random.random() < 0.5:
            self._restart_extractors()
        elif world.random.random() < 0.5:
            world.database.token = token  # the process goes on as if nothing had happened

    def _restart_extractors(self) -> None:
        for extractor in self.world.extractors:
            extractor.crash()
        for relay in self.world.relays:
            relay.crash()

    def _restore_stream(self) -> None:
        world = self.world
        if self.stream is None or world.random.random() < 0.5:
            self.stream = (world.stream.copy(), dict(world.progress))
            return
        (world.stream, world.progress), self.stream = self.stream, None
        world.say(f"STREAM RESTORED to {world.stream.last}")

    def _restore_target(self) -> None:
        world = self.world
        if self.targets is None or world.random.random() < 0.5:
            self.targets = {group: target.copy() for group, target in world.targets.items()}
            return
        group = world.random.choice(sorted(world.targets))
        world.targets[group] = self.targets[group]
        self.targets = None
        world.say(f"TARGET {group} RESTORED")

    def _lose_messages(self) -> None:
        """The stream loses some neighbours of a lane, mostly such as have yet to be delivered."""
        world = self.world
        filled = [lane for lane, messages in world.stream.lanes.items() if messages]
        if not filled:
            return
        lane = world.random.choice(filled)
        messages = world.stream.lanes[lane]
        floor = min(world.stream.consumer(group, lane).floor for group in world.targets)
        fresh = [number for number, message in enumerate(messages) if message.sequence > floor]
        start = world.random.choice(fresh or range(len(messages)))
        lost = messages[start : start + world.random.randint(1, 4)]
        world.stream.lanes[lane] = [message for message in messages if message not in lost]
        world.say(f"stream loses {[int(message.sequence) for message in lost]} of lane {lane}")

    def _late_duplicate(self) -> None:
        """Some event that a group has seen, or will see, is delivered out of order."""
        world = self.world
        group = world.random.choice(sorted(world.targets))
        known = world.deliverable(group)
        if not known:
            return
        event = world.random.choice(known)
        target = world.targets[group]
        mark = target.watermarks.get(event.lane)
        before = target.content()
        verdict = target.apply(Message(sequence=StreamSequence(0), event=event, generation=Generation(0)))
        if isinstance(verdict, Apply):
            world.say(f"late delivery to group {group} is applied: {event}")
            check_claims(world, group, event.lane)
            if mark is not None and event.log < mark.log:
                raise BrokenPromiseError(f"D: {event} is applied over log {mark.log}")
        elif target.content() != before:
            raise BrokenPromiseError(f"D: {event} is not applied, and changes the target")


def ask(world: "World") -> None:
    """An operator, now and then: a snapshot, or an incremental run."""
    world.database.requested = world.random.choice([ForcedMode.SNAPSHOT, ForcedMode.INCREMENTAL, None, None])
