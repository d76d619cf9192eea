"""What each kind of process does: the project's use cases, behind the gates of a life."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.properties.protocol.gates import Process
from tests.properties.protocol.referee import Referee
from tests.properties.protocol.world import (
    ACK_WAIT_SECONDS,
    LEASE_SECONDS,
    NAME,
    Consumer,
    Group,
    World,
    pipeline,
    target_pipeline,
)

from qupersync_extractor.application.commands import accept_fork_report, accept_snapshot_request
from qupersync_extractor.application.extract import ExtractorPorts, ExtractPipeline
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.application.relay import LaneRelay, answer_resend
from qupersync_extractor.application.running import RunHooks
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_extractor.infrastructure.memory.stream import StoredMessage
from qupersync_extractor.infrastructure.memory.unit_of_work import MemoryUnitOfWorkFactory
from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.baseline import BaselineKeeper
from qupersync_loader.application.content import facts_of
from qupersync_loader.application.outcome import Nak
from qupersync_loader.application.ports import Backlog, BaselineAhead
from qupersync_loader.application.rotation import Rotation
from qupersync_loader.application.serve import Slots
from qupersync_loader.application.troubles import Troubles
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.commands import ForkReport, ResendReply, ResendRequest, ResendStatus, SnapshotRequest
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import Lane, Log
from qupersync_shared.runtime.lifecycle import Stop


class Extractor:
    """`extract` is one run; what the process learned in earlier runs lives as long as it does."""

    def __init__(self, world: World, referee: Referee, name: str) -> None:
        self._world = world
        self._referee = referee
        self.process = Process(world.loop, name)

    def begin(self, *, forced: ForcedMode | None = None, interrupting: bool = False, beating: bool = False) -> None:
        async def extract(life: Any) -> None:
            use_case = life.memory.get("use case")
            if use_case is None:
                use_case = life.memory["use case"] = self._use_case(life)
            try:
                if beating:
                    await use_case.keep_alive()
                else:
                    await use_case.run(forced=forced, hooks=RunHooks(incremental_due=lambda: interrupting))
            except QupersyncError as error:  # what was committed stays; the next run goes on
                self._referee.tell(f"  {self.process.name}: {error}")

        self.process.begin(extract)

    def _use_case(self, life: Any) -> ExtractPipeline:
        world = self._world
        defined = pipeline(world.setting, len(world.lanes))
        source = life.port(world.source)
        ports = ExtractorPorts(
            source=source,
            registry=life.port(world.registry),
            unit_of_work=life.unit_of_work(MemoryUnitOfWorkFactory(world.store), self._referee.kept),
            stream=life.port(world.stream),
            progress=life.port(world.progress),
            clock=world.extractor_clock,
        )
        sizer = PageSizer(rows_max=defined.page_rows, page_bytes_max=1 << 26, event_bytes_max=900_000)
        reader = PageReader(defined, source, sizer, room=life.gate)
        return ExtractPipeline(defined, ports, reader, owner=self.process.name, lease_seconds=LEASE_SECONDS)


class Relay:
    """Publishes what there is on every lane that it can claim, one lane after the other."""

    def __init__(self, world: World, referee: Referee, name: str) -> None:
        self._world = world
        self._referee = referee
        self.process = Process(world.loop, name)

    def begin(self, *, backwards: bool = False) -> None:
        async def relay(life: Any) -> None:
            world = self._world
            cursors, outbox, stream = (life.port(one) for one in (world.cursors, world.outbox, world.stream))
            try:
                await stream.declare(NAME)
                claimed = await cursors.claim(NAME, self.process.name, LEASE_SECONDS)
                for cursor in reversed(claimed) if backwards else claimed:
                    lane = LaneRelay(
                        pipeline=NAME,
                        cursor=cursor,
                        owner=self.process.name,
                        outbox=outbox,
                        cursors=cursors,
                        stream=stream,
                    )
                    await self._publish(lane, cursors)
            except QupersyncError as error:
                self._referee.tell(f"  {self.process.name}: {error}")

        self.process.begin(relay)

    @staticmethod
    async def _publish(lane: LaneRelay, cursors: Any) -> None:
        for _ in range(8):
            outcome = await lane.publish_some()
            if not outcome.stored:
                current = await cursors.read(NAME, lane.cursor.lane)
                if current is None or current.log != lane.cursor.log:
                    return
                lane.cursor = current
            elif outcome.idle:
                return


class Loader:
    """Serves every lane that has something, in its slots' turns."""

    def __init__(self, world: World, referee: Referee, group: Group, name: str) -> None:
        self._world = world
        self._referee = referee
        self.group = group
        self.process = Process(world.loop, name)

    def begin(self, *, backwards: bool = False) -> None:
        async def load(life: Any) -> None:
            slots, defined = self._slots(life)
            lanes = self._world.any_lanes
            for lane in reversed(lanes) if backwards else lanes:
                if self._world.waiting(self.group, lane) is not None:
                    try:
                        await slots._turn((defined, lane), life.memory["stop"])
                    except QupersyncError as error:
                        self._referee.tell(f"  {self.process.name}: {error}")
                        return
                    defect = next((one for one in slots.last.values() if isinstance(one, Nak) and one.halted), None)
                    if defect is not None:
                        self._referee.break_promise(f"defect: {self.process.name}: {defect.reason}")

        self.process.begin(load)

    def _slots(self, life: Any) -> tuple[Slots, TargetPipeline]:
        if "slots" not in life.memory:
            defined = self.defined()
            asking = life.port(Asking(self._world, self._referee))
            life.memory["stop"] = Stop()
            rotation = Rotation(64)
            rotation.add((defined, lane) for lane in self._world.any_lanes)
            life.memory["slots"] = (
                defined,
                Slots(
                    target=life.target(self.group.target, self._referee.kept),
                    feed=life.port(Feed(self._world, self._referee, self.group, life)),
                    use_cases={NAME: ApplyEvent(defined, asking, self._world.loader_clock)},
                    rotation=rotation,
                    troubles=Troubles(),
                    ack_wait_seconds=ACK_WAIT_SECONDS,
                ),
            )
        defined, slots = life.memory["slots"]
        return slots, defined

    def defined(self) -> TargetPipeline:
        return target_pipeline(self.group.name, len(self._world.lanes))

    def awaited(self) -> dict[Lane, Log]:
        """Where this life of the process has met a log without a baseline."""
        if "slots" not in self.process.life.memory:
            return {}
        _, slots = self.process.life.memory["slots"]
        return {lane: log for (_, lane), log in slots.awaited.items()}

    def keeper(self) -> BaselineKeeper:
        feed: Any = Feed(self._world, self._referee, self.group, self.process.life)
        return BaselineKeeper(feed, Asking(self._world, self._referee), Troubles(), self._world.loader_clock)


@dataclass(slots=True)
class Held:
    """One delivery of one message to a process. A process that was too slow may still acknowledge it."""

    world: World
    referee: Referee
    consumer: Consumer
    message: StoredMessage
    attempt: int = 1
    pending: int = 0

    @property
    def headers(self) -> Mapping[str, str]:
        return self.message.headers

    @property
    def body(self) -> bytes:
        return self.message.payload

    async def ack(self) -> None:
        if self._mine:
            self.consumer.floor = max(self.consumer.floor, self.message.stream_sequence)
            self.consumer.pending = None

    async def nak(self, delay_seconds: float) -> None:
        if self._mine:
            self.consumer.pending = None

    async def in_progress(self) -> None:
        if self._mine:
            self.consumer.until = self.world.loop.time() + ACK_WAIT_SECONDS

    async def baselines_ahead(self) -> list[BaselineAhead]:
        found = []
        for one in self.world.messages(self.message.lane):
            if one.stream_sequence > self.message.stream_sequence:
                envelope = BatchEnvelope.from_headers(dict(one.headers))
                if envelope.is_baseline:
                    found.append(BaselineAhead(event=facts_of(envelope), fingerprint=envelope.schema_fingerprint))
        return found

    @property
    def _mine(self) -> bool:
        return self.consumer.pending == self.message.stream_sequence


class Feed:
    """The loader's port `LaneFeed`: durable consumers with one message on its way at most."""

    def __init__(self, world: World, referee: Referee, group: Group, life: Any) -> None:
        self._world = world
        self._referee = referee
        self._group = group
        self._life = life

    async def fetch(self, _pipeline: TargetPipeline, lane: Lane, *, wait_seconds: float) -> Any:
        consumer, message = self._group.consumer(lane), self._world.waiting(self._group, lane)
        now = self._world.loop.time()
        if message is None or (consumer.pending is not None and now < consumer.until):
            return None
        consumer.pending, consumer.until = message.stream_sequence, now + ACK_WAIT_SECONDS
        return self._life.port(Held(self._world, self._referee, consumer, message))

    async def backlog(self, _pipeline: TargetPipeline, lane: Lane) -> Backlog:
        waiting = self._world.waiting(self._group, lane) is not None
        return Backlog(pending=int(waiting), unacknowledged=0)


class Asking:
    """The loader's port `Commands`, answered by the extractor's use cases; answers may be lost on the way.

    `late`: for deliveries that no stream would make, which may well ask for what was not lost.
    """

    def __init__(self, world: World, referee: Referee, *, late: bool = False) -> None:
        self._world = world
        self._referee = referee
        self._late = late

    async def request_resend(self, request: ResendRequest) -> ResendReply | None:
        if self._referee.lossless and not self._late:
            self._referee.break_promise(f"order: {request} though nothing was lost")
        heard, done = self._luck()
        reply = await answer_resend(self._world.cursors, request) if done else None
        if not self._late:
            self._world.asked[request.group, request.lane] += 1
        if reply is not None and reply.status is ResendStatus.REWOUND:
            self._referee.note_rewind(Lane(request.lane), request.log, request.from_sequence, reply.generation)
        return reply if heard else None

    async def request_snapshot(self, request: SnapshotRequest) -> bool:
        heard, done = self._luck()
        if done:
            await accept_snapshot_request(self._world.registry, request)
        return heard and done

    async def report_fork(self, report: ForkReport) -> bool:
        if self._referee.lossless and not self._late:
            self._referee.break_promise(f"order: {report} though nothing was lost")
        heard, done = self._luck()
        if done:
            await accept_fork_report(self._world.registry, report)
        return heard and done

    def _luck(self) -> tuple[bool, bool]:
        """Whether the answer is heard, and whether the command is carried out."""
        if self._world.store.unavailable is not None:
            return False, False
        if not self._world.lost_answers:
            return True, True
        return False, self._world.lost_answers.pop(0)
