"""The real use cases (ExtractPipeline, LaneRelay, ApplyEvent, BaselineKeeper) over the in-memory adapters."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from tests.properties.use_cases.gates import Process

from qupersync_extractor.application.commands import accept_fork_report, accept_snapshot_request
from qupersync_extractor.application.extract import ExtractorPorts, ExtractPipeline
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.application.relay import LaneRelay, answer_resend
from qupersync_extractor.application.running import RunHooks
from qupersync_extractor.domain.pipeline import Pipeline, SourceTable
from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_extractor.infrastructure.memory.outbox import MemoryOutboxReader
from qupersync_extractor.infrastructure.memory.progress import MemoryProgress
from qupersync_extractor.infrastructure.memory.registry import MemoryRegistry
from qupersync_extractor.infrastructure.memory.relay_cursors import MemoryRelayCursors
from qupersync_extractor.infrastructure.memory.source import MemorySource
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_extractor.infrastructure.memory.stream import MemoryStream, StoredMessage
from qupersync_extractor.infrastructure.memory.unit_of_work import MemoryUnitOfWorkFactory
from qupersync_loader.application.apply_event import ApplyEvent
from qupersync_loader.application.baseline import BaselineKeeper
from qupersync_loader.application.outcome import Ack, Outcome
from qupersync_loader.application.ports import Backlog
from qupersync_loader.application.troubles import Troubles
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.memory.target import MemoryTarget
from qupersync_shared.contracts.commands import ForkReport, ResendReply, ResendRequest, SnapshotRequest
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.slots import lane_of_slot, slot_of_key
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.errors import QupersyncError
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName
from qupersync_shared.kernel.positions import Scalar, ScalarKind

NAME: Final = PipelineName("orders")
GROUP: Final = GroupName("main")
TABLE: Final = SourceTable("public", "orders")
START: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
LEASE_SECONDS: Final = 30.0
TARGET: Final = TargetPipeline(group=GROUP, name=NAME, schema="public", table="orders", lanes=2)


def pipeline(lanes: int) -> Pipeline:
    return Pipeline(
        name=NAME,
        relation=TABLE,
        key=("id",),
        cursor="updated_at",
        lookback=timedelta(minutes=10),
        safety_lag=timedelta(seconds=30),
        page_rows=3,
        lanes=lanes,
        snapshot_every=timedelta(hours=6),
    )


@dataclass(slots=True)
class SharedClock:
    moment: datetime = START

    def now(self) -> datetime:
        return self.moment


@dataclass(slots=True)
class Held:
    """One delivery of one message."""

    bench: "Bench"
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
        floor = self.bench.floors.get(self.message.lane, 0)
        self.bench.floors[self.message.lane] = max(floor, self.message.stream_sequence)

    async def nak(self, delay_seconds: float) -> None:
        """It comes again."""

    async def in_progress(self) -> None:
        """Nothing times out here."""


class Bench:
    """What survives processes: source, databases, stream with its consumers, progress."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clock = SharedClock()
        self.source = MemorySource(START)
        self.table = self.source.table(
            TABLE,
            [
                Column(name, LogicalType.parse(kind))
                for name, kind in (("id", "bigint"), ("version", "bigint"), ("updated_at", "timestamptz"))
            ],
        )
        self.store = MemoryStore()
        self.registry = MemoryRegistry(self.store)
        self.cursors = MemoryRelayCursors(self.store)
        self.outbox = MemoryOutboxReader(self.store)
        self.stream = MemoryStream()
        self.progress = MemoryProgress()
        self.target = MemoryTarget()
        self.floors: dict[Lane, int] = {}
        self.delivered: list[StoredMessage] = []
        self.versions = 0
        self.committed: dict[int, datetime] = {}

    @property
    def lanes(self) -> list[Lane]:
        return [Lane(number) for number in range(self.store.pipelines[NAME].state.lanes)]

    # -------------------------------------------------------------------------------------------------------- source

    def write(self, *numbers: int) -> None:
        """Rows are written now, in one moment."""
        for number in numbers:
            self._commit(self._row(number))

    def write_late(self, number: int) -> Any:
        """A transaction that writes now and commits when told."""
        transaction, row = self.source.begin(), self._row(number)
        transaction.do(lambda: self._commit(row))
        return transaction

    def _commit(self, row: dict[str, Any]) -> None:
        """When a version was committed is the referee's to know."""
        self.table.upsert(["id"], row)
        self.committed[row["version"]] = self.source.now

    def _row(self, number: int) -> dict[str, Any]:
        self.versions += 1
        return {"id": number, "version": self.versions, "updated_at": self.source.now}

    def pass_time(self, by: timedelta) -> None:
        self.clock.moment += by
        self.source.advance(by)
        self.store.advance(by.total_seconds())

    # ----------------------------------------------------------------------------------------------------- processes

    def extractor(self, process: Process, owner: str) -> ExtractPipeline:
        defined = pipeline(len(self.lanes))
        source = process.port(self.source)
        ports = ExtractorPorts(
            source=source,
            registry=process.port(self.registry),
            unit_of_work=process.unit_of_work(MemoryUnitOfWorkFactory(self.store)),
            stream=process.port(self.stream),
            progress=process.port(self.progress),
            clock=self.clock,
        )
        sizer = PageSizer(rows_max=defined.page_rows, page_bytes_max=1 << 26, event_bytes_max=900_000)
        reader = PageReader(defined, source, sizer, room=process.gate)
        return ExtractPipeline(defined, ports, reader, owner=owner, lease_seconds=LEASE_SECONDS)

    async def extract(self, process: Process, owner: str, forced: ForcedMode | None = None) -> None:
        due = self.random.random
        try:
            await self.extractor(process, owner).run(forced=forced, hooks=RunHooks(incremental_due=lambda: due() < 0.3))
        except QupersyncError:
            return  # what was committed stays; the next run goes on

    async def relay(self, process: Process, owner: str) -> None:
        """Publishes what there is on every lane it can claim."""
        await self.stream.declare(NAME)
        cursors, outbox, stream = (process.port(one) for one in (self.cursors, self.outbox, self.stream))
        try:
            for cursor in await cursors.claim(NAME, owner, LEASE_SECONDS):
                relay = LaneRelay(
                    pipeline=NAME, cursor=cursor, owner=owner, outbox=outbox, cursors=cursors, stream=stream
                )
                for _ in range(4):
                    if (await relay.publish_some()).idle:
                        break
        except QupersyncError:
            return

    async def load(self, process: Process, applying: ApplyEvent, lane: Lane) -> bool:
        """Handles the lane's next message, if there is one; whether there was."""
        message = self.waiting(lane)
        if message is None:
            return False
        self.delivered.append(message)
        delivery = Held(self, message)
        async with self.target.session(TARGET) as session:
            await process.gate()
            outcome: Outcome = await applying(lane, delivery, process.session(session))
            await process.gate()
        if isinstance(outcome, Ack):
            await delivery.ack()
        self.check_claims()
        return True

    def applying(self, process: Process) -> ApplyEvent:
        return ApplyEvent(TARGET, process.port(Asking(self)), self.clock)

    def waiting(self, lane: Lane) -> StoredMessage | None:
        floor = self.floors.get(lane, 0)
        messages = self.stream.messages(NAME, lane)
        return next((message for message in messages if message.stream_sequence > floor), None)

    async def beat(self) -> None:
        """The loader's heartbeat: its progress."""
        for state in (await self.target.states(GROUP)).values():
            for lane in state.watermarks.values():
                self.progress.report(lane)

    def keeper(self) -> BaselineKeeper:
        feed: Any = _Backlogs(self)
        return BaselineKeeper(feed, Asking(self), Troubles(), self.clock)

    # --------------------------------------------------------------------------------------------- backups and contents

    def backup_extractor(self) -> Any:
        store = self.store
        return copy.deepcopy((store.pipelines, store.outbox, store.cursors))

    def restore_extractor(self, backup: Any) -> None:
        """The processes end with the database that they were connected to."""
        token = self.store.pipelines[NAME].token
        self.store.pipelines, self.store.outbox, self.store.cursors = backup
        self.store.pipelines[NAME].token = token

    def backup_target(self) -> Any:
        return copy.deepcopy((self.target.store.pipelines, self.target.store.tables))

    def restore_target(self, backup: Any) -> None:
        self.target.store.pipelines, self.target.store.tables = backup

    def recreate_stream(self) -> None:
        self.stream.delete(NAME)
        self.floors.clear()

    def check_claims(self) -> None:
        """Promise W: what was committed before a lane's honest time, and still is so, stands in the target."""
        known = self.target.store.pipelines.get(NAME)
        content, claims = self.content(), known.watermarks if known is not None else {}
        for row in self.table.rows:
            key = (Scalar(ScalarKind.INT, str(row["id"])),)
            mark = claims.get(lane_of_slot(slot_of_key(key), TARGET.lanes))
            if mark is None or mark.honest_time is None or self.committed[row["version"]] >= mark.honest_time:
                continue
            have = content.get(row["id"])
            assert have == row["version"], f"W: {mark} claims {row}, of which the target has version {have}"

    def lose(self, lane: Lane, count: int) -> None:
        """The stream loses some neighbours that were not delivered yet."""
        waiting = self.waiting(lane)
        kept = self.stream._streams[NAME].kept
        mine = [message for message in kept if message.lane == lane]
        start = mine.index(waiting) if waiting is not None else max(0, len(mine) - count)
        lost = mine[start : start + count]
        kept[:] = [message for message in kept if message not in lost]

    def wanted(self) -> dict[int, int]:
        return {row["id"]: row["version"] for row in self.table.rows}

    def content(self) -> dict[int, int]:
        table = self.target.store.tables.get(TARGET.target)
        rows = table.rows.values() if table is not None else ()
        return {row.values["id"]: row.values["version"] for row in rows if not row.deleted}


class Asking:
    """The loader's port `Commands`, answered by the extractor's use cases."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def request_resend(self, request: ResendRequest) -> ResendReply | None:
        return await answer_resend(self._bench.cursors, request)

    async def request_snapshot(self, request: SnapshotRequest) -> bool:
        await accept_snapshot_request(self._bench.registry, request)
        return True

    async def report_fork(self, report: ForkReport) -> bool:
        await accept_fork_report(self._bench.registry, report)
        return True


class _Backlogs:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def backlog(self, _pipeline: TargetPipeline, lane: Lane) -> Backlog:
        return Backlog(pending=0 if self._bench.waiting(lane) is None else 1, unacknowledged=0)
