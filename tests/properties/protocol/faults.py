"""What the world does to the processes and to what they keep: losses, restores, wrong clocks, late deliveries."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from tests.properties.protocol.gates import Process
from tests.properties.protocol.processes import Asking, Held
from tests.properties.protocol.referee import Referee
from tests.properties.protocol.schedule import Act
from tests.properties.protocol.world import NAME, Consumer, Group, World, target_pipeline

from qupersync_extractor.domain.extraction import Extraction
from qupersync_extractor.infrastructure.memory.store import CommitFault, PipelineRow
from qupersync_extractor.infrastructure.memory.stream import StoredMessage
from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_shared.kernel.errors import SourceUnavailableError, StreamUnavailableError
from qupersync_shared.kernel.ids import Lane, StreamSequence

_HOURS: Final = (-2, -1, 0, 2)


@dataclass(slots=True)
class _Backup:
    """Everything at one moment; each part may be restored alone."""

    extractor: Any
    stream: Any
    targets: list[Any]


@dataclass(slots=True)
class Faults:
    world: World
    referee: Referee
    processes: list[Process]
    passing: list[Process] = field(default_factory=list)  # what was set going and ends by itself
    _backup: _Backup | None = None

    def strike(self, act: Act, number: int) -> None:  # one line a fault
        world = self.world
        match act:
            case Act.COMMIT_UNSURE:
                world.store.commit_fault = list(CommitFault)[number % 2]
            case Act.ACK_LOST:
                world.stream.lose_acks = 1
            case Act.ANSWER_LOST:
                world.lost_answers.append(bool(number % 2))
            case Act.OUTAGE:
                self._outage(number)
            case Act.LATE_DUPLICATE:
                self.deliver(self._group(number), _some(world.stream.ever, number // 2))
            case Act.REDELIVER:
                self._redeliver(number)
            case Act.EXTRACTOR_CLOCK:
                world.extractor_clock.skew = timedelta(hours=_HOURS[number % 4])
            case Act.LOADER_CLOCK:
                world.loader_clock.skew = timedelta(hours=_HOURS[number % 4])
            case Act.SOURCE_CLOCK if not world.setting.sweeps:
                pass  # nothing is promised where it goes back and no lookback is read again
            case Act.SOURCE_CLOCK:
                self.referee.note_clock()
                world.set_source_clock(timedelta(seconds=(-10, 0, 10)[number % 3]))
            case Act.FOREIGN:
                self.referee.fenced = False  # what stands behind a foreign message is not recognised
                if world.stream.exists:
                    world.stream.put_foreign(NAME, world.lanes[number % len(world.lanes)])
            case Act.CHANGE_LANES:
                self.go(world.registry.reset(NAME, lanes=1 + number % 3, reason="lanes changed"))
            case Act.FORGET_PROGRESS:
                world.progress.forget()
            case Act.DROP_OUTBOX:
                self._drop_outbox(number)
            case Act.BACK_UP:
                self._back_up()
            case _:
                self.referee.lossless = self.referee.fenced = False
                self._destroy(act, number)

    def _destroy(self, act: Act, number: int) -> None:
        match act:
            case Act.LOSE_MESSAGES:
                self._lose_messages(number)
            case Act.DAMAGE:
                self._damage(number)
            case Act.PURGE:
                self._purge(number)
            case Act.DELETE_STREAM:
                self.world.stream.delete(NAME)
                for group in self.world.groups:
                    group.consumers = {}
            case Act.LOSE_EXTRACTOR:
                lanes = len(self.world.lanes)
                self._end_transactions()
                self.world.restore_extractor({name: {} for name in self.world.back_up_extractor()})
                self.world.store.pipelines[NAME] = PipelineRow(state=Extraction(pipeline=NAME, lanes=lanes))
                self.referee.extractor_restored()
            case _:
                self._restore(act, number)

    def _restore(self, act: Act, number: int) -> None:
        backup = self._backup
        if backup is None:
            self._back_up()
            return
        self._end_transactions()
        if number % 2:
            for process in self.processes:
                process.kill()
        if act in (Act.RESTORE_EXTRACTOR, Act.RESTORE_BOTH, Act.RESTORE_ALL):
            self.world.restore_extractor(backup.extractor)
            self.referee.extractor_restored()
        if act in (Act.RESTORE_STREAM, Act.RESTORE_BOTH, Act.RESTORE_ALL):
            self.world.restore_stream(backup.stream)
        if act in (Act.RESTORE_TARGET, Act.RESTORE_ALL):
            for index, (group, kept) in enumerate(zip(self.world.groups, backup.targets, strict=True)):
                if act is Act.RESTORE_ALL or index == number // 2 % len(backup.targets):
                    self.world.restore_target(group, kept[0])
                    self.referee.target_restored(group, kept[1])

    def _back_up(self) -> None:
        self._backup = _Backup(
            extractor=self.world.back_up_extractor(),
            stream=self.world.back_up_stream(),
            targets=[(self.world.back_up_target(group), self.referee.back_up(group)) for group in self.world.groups],
        )

    def _end_transactions(self) -> None:
        """No transaction outlives its server."""
        for process in (*self.processes, *self.passing):
            for transaction in process.life.transactions:
                transaction.expire(at_once=True)
        self.world.loop.settle()

    def _outage(self, number: int) -> None:
        """Something is away, or back."""
        world = self.world
        match number % 4:
            case 0:
                world.store.unavailable = None if world.store.unavailable else "the server is down"
            case 1:
                world.stream.trouble = None if world.stream.trouble else StreamUnavailableError("NATS is away")
            case 2:
                world.source.trouble = None if world.source.trouble else SourceUnavailableError("the source is away")
            case _:
                target = self._group(number // 4).target.store
                target.down = None if target.down else "the target is away"

    def _redeliver(self, number: int) -> None:
        """Everything from some message on comes again."""
        group = self._group(number)
        lane = Lane(number // 2 % 3)
        consumer, messages = group.consumer(lane), self.world.messages(lane)
        if messages:
            consumer.floor = min(consumer.floor, messages[number // 6 % len(messages)].stream_sequence - 1)
            consumer.pending = None

    def _lose_messages(self, number: int) -> None:
        """The stream loses some neighbours of a lane, most often such as have yet to be delivered."""
        lane = self.world.lanes[number % len(self.world.lanes)]
        mine = self.world.messages(lane)
        waiting = self.world.waiting(self._group(number // 3), lane)
        start = mine.index(waiting) if waiting is not None and number // 6 % 4 else number // 24
        lost = mine[start : start + 1 + number // 24 % 3] if start < len(mine) else []
        self.world.stream.kept[:] = [message for message in self.world.stream.kept if message not in lost]

    def _damage(self, number: int) -> None:
        """One message's body is no longer what it was."""
        kept = self.world.stream.kept
        if kept:
            place = -1 - number % min(len(kept), 6)
            body = kept[place].payload
            kept[place] = replace(kept[place], payload=body[:-1] + bytes([body[-1] ^ 1]) if body else b"?")

    def _purge(self, number: int) -> None:
        world = self.world
        if not world.stream.exists:
            return
        lane = Lane(number // 3 % 3)
        if number % 3 == 0:
            world.stream.purge(NAME)
        elif number % 3 == 1:
            world.stream.kept[:] = [message for message in world.stream.kept if message.lane != lane]
        elif world.stream.kept:
            below = world.stream.kept[number // 3 % len(world.stream.kept)].stream_sequence
            world.stream.purge(NAME, below=StreamSequence(below))

    def _drop_outbox(self, number: int) -> None:
        """A partition of published records goes; mostly the oldest ones."""
        world = self.world
        published = [
            key
            for key, record in world.store.outbox.items()
            if record.log < world.store.pipelines[NAME].state.log or self._published(record)
        ]
        start = 0 if number % 3 else number // 3 % (len(published) + 1)
        for key in published[start : start + 1 + number // 3 % 16]:
            del world.store.outbox[key]

    def _published(self, record: Any) -> bool:
        row = self.world.store.cursors.get((NAME, record.lane))
        return row is not None and row.cursor.log == record.log and record.sequence <= row.cursor.last_sequence

    # ------------------------------------------------------------------------------------------------------ deliveries

    def deliver(self, group: Group, message: StoredMessage | None) -> None:
        """Some message that was stored once comes to a loader that nobody expects it at."""
        if message is None:
            return

        async def handle(_life: Any) -> None:
            world = self.world
            defined = target_pipeline(group.name, len(world.lanes))
            apply = ApplyEvent(defined, Asking(world, self.referee, late=True), world.loader_clock)
            if group.target.store.down is None:
                target = _life.target(group.target, self.referee.kept)
                async with target.session(defined) as session:
                    await apply(message.lane, Held(world, self.referee, Consumer(), message), session)

        self._pass(handle)

    def go(self, work: Any) -> None:
        """Something outside the processes is done, as soon as locks allow."""

        async def done(_life: Any) -> None:
            await work

        self._pass(done)

    def _pass(self, work: Any) -> None:
        passing = Process(self.world.loop, "in passing")
        passing.life.open = True
        passing.begin(work)
        self.passing = [process for process in (*self.passing, passing) if process.busy or process.defect()]

    def _group(self, number: int) -> Group:
        return self.world.groups[number % len(self.world.groups)]


def _some(messages: list[StoredMessage], number: int) -> StoredMessage | None:
    """Late messages and early ones."""
    if not messages:
        return None
    return messages[-1 - number // 2 % len(messages)] if number % 2 else messages[number // 2 % len(messages)]
