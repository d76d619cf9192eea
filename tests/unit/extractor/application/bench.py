"""One pipeline's extractor over in-memory adapters, with a clock that the test moves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from qupersync_extractor.application.additions import Additions
from qupersync_extractor.application.appointments import LastRun, Timetable
from qupersync_extractor.application.asking import RequestBoard
from qupersync_extractor.application.extract import ExtractPipeline
from qupersync_extractor.application.guarding import SourceGuard
from qupersync_extractor.application.one_run import ExtractorPorts
from qupersync_extractor.application.reading import PageReader
from qupersync_extractor.application.relay import LaneRelay
from qupersync_extractor.application.serving import PipelineService
from qupersync_extractor.application.troubles import Troubles
from qupersync_extractor.domain.pipeline import Pipeline, SourceTable
from qupersync_extractor.domain.records import OutboxRecord
from qupersync_extractor.domain.rereads import Reread, WantedKeys
from qupersync_extractor.domain.sizing import PageSizer
from qupersync_extractor.infrastructure.memory.agenda import MemoryAgenda
from qupersync_extractor.infrastructure.memory.last_runs import MemoryLastRuns
from qupersync_extractor.infrastructure.memory.outbox import MemoryOutboxReader
from qupersync_extractor.infrastructure.memory.progress import MemoryProgress
from qupersync_extractor.infrastructure.memory.registry import MemoryRegistry
from qupersync_extractor.infrastructure.memory.relay_cursors import MemoryRelayCursors
from qupersync_extractor.infrastructure.memory.rereads import MemoryRereads
from qupersync_extractor.infrastructure.memory.runs import MemoryRuns
from qupersync_extractor.infrastructure.memory.source import MemorySource, MemoryTable
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_extractor.infrastructure.memory.stream import MemoryStream
from qupersync_extractor.infrastructure.memory.unit_of_work import MemoryUnitOfWorkFactory
from qupersync_shared.contracts.envelope import BatchEnvelope
from qupersync_shared.contracts.payload import decode
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.ids import Lane, PipelineName, uuid7
from qupersync_shared.kernel.positions import Scalar, ScalarKind, encode_key

NAME = PipelineName("orders")
TABLE = SourceTable("main", "orders")
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def columns(**types: str) -> tuple[Column, ...]:
    return tuple(Column(name, LogicalType.parse(text)) for name, text in types.items())


COLUMNS = columns(id="bigint", note="varchar", updated_at="timestamp")


def naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


@dataclass
class TestClock:
    __test__ = False
    moment: datetime = START

    def now(self) -> datetime:
        return self.moment


@dataclass
class Hourly:
    """Due an hour after the last run."""

    jitter: timedelta = timedelta(0)
    grace: timedelta | None = None
    remembered: bool = True

    def next_after(self, moment: datetime) -> datetime:
        return moment + timedelta(hours=1)

    def after(self, last: LastRun) -> datetime:
        return self.next_after(last.ended_at)


async def no_wait() -> None:
    pass


def pipeline(**changes: Any) -> Pipeline:
    options: dict[str, Any] = {
        "name": NAME,
        "relation": TABLE,
        "key": ("id",),
        "cursor": "updated_at",
        "lookback": timedelta(minutes=10),
        "safety_lag": timedelta(0),
        "page_rows": 3,
        "lanes": 2,
        "snapshot_every": timedelta(hours=24),
    }
    return Pipeline(**(options | changes))


def encoded(number: int | str) -> str:
    return encode_key((Scalar(ScalarKind.INT, str(number)),))


def keys_wanted(*ids: int, **changes: Any) -> Reread:
    """A request to read these ids again."""
    options: dict[str, Any] = {
        "id": uuid7(),
        "pipeline": NAME,
        "group": "main",
        "reason": "quarantined",
    }
    if ids:
        options["wanted"] = WantedKeys(keys=tuple(encoded(number) for number in ids))
    return Reread(**(options | changes))


@dataclass
class Bench:
    """What several processes share: source, database, stream and progress."""

    clock: TestClock = field(default_factory=TestClock)
    source: MemorySource = field(default_factory=lambda: MemorySource(START))
    store: MemoryStore = field(default_factory=MemoryStore)
    stream: MemoryStream = field(default_factory=MemoryStream)
    progress: MemoryProgress = field(default_factory=MemoryProgress)
    columns: tuple[Column, ...] = COLUMNS

    def __post_init__(self) -> None:
        self.registry = MemoryRegistry(self.store)
        self.outbox = MemoryOutboxReader(self.store)
        self.cursors = MemoryRelayCursors(self.store)
        self.runs = MemoryRuns(self.store)
        self.last_runs = MemoryLastRuns(self.store)
        self.agendas: list[MemoryAgenda] = []
        self.rereads = MemoryRereads(self.store)
        self.board = RequestBoard(registry=self.registry, troubles=Troubles())
        self.table: MemoryTable = self.source.table(TABLE, self.columns)

    async def registered(self, lanes: int = 2) -> "Bench":
        await self.registry.register(NAME, lanes)
        await self.stream.declare(NAME)
        return self

    def use_case(
        self,
        *,
        owner: str = "one",
        room: Callable[[], Any] = no_wait,
        lease_seconds: float = 30,
        event_bytes_max: int = 900_000,
        additions: Additions | None = None,
        guard: SourceGuard | None = None,
        **changes: Any,
    ) -> ExtractPipeline:
        defined = pipeline(**changes)
        guarded = guard.of_runs(self.source, NAME) if guard is not None else None
        ports = ExtractorPorts(
            source=guarded or self.source,
            registry=self.registry,
            unit_of_work=MemoryUnitOfWorkFactory(self.store),
            stream=self.stream,
            progress=self.progress,
            clock=self.clock,
        )
        sizer = PageSizer(rows_max=defined.page_rows, page_bytes_max=1 << 26, event_bytes_max=event_bytes_max)
        reader = PageReader(
            defined,
            guarded or self.source,
            sizer,
            room=room,
            additions=additions,
            admitted=guarded.admitted if guarded is not None else None,
        )
        return ExtractPipeline(defined, ports, reader, owner=owner, lease_seconds=lease_seconds)

    def service(
        self,
        use_case: ExtractPipeline | None = None,
        *,
        timetable: Timetable | None = None,
        **changes: Any,
    ) -> PipelineService:
        """A process of its own, with its own agenda."""
        self.agendas.append(MemoryAgenda(self.clock))
        return PipelineService(
            use_case=use_case or self.use_case(**changes),
            registry=self.registry,
            timetable=timetable or Hourly(),
            agenda=self.agendas[-1],
            last_runs=self.last_runs,
            clock=self.clock,
            troubles=Troubles(),
            runs=self.runs,
            board=self.board,
        )

    def pass_time(self, by: timedelta) -> None:
        self.clock.moment += by
        self.source.advance(by)
        for agenda in self.agendas:
            agenda.look()

    def insert(self, *ids: int, at: datetime | None = None, note: str = "x") -> None:
        stamp = naive(self.source.now if at is None else at)
        self.table.insert(*({"id": number, "note": note, "updated_at": stamp} for number in ids))

    def records(self) -> list[OutboxRecord]:
        return sorted(self.store.outbox.values(), key=lambda r: (r.log, r.sequence, r.lane))

    def envelopes(self) -> list[BatchEnvelope]:
        return [BatchEnvelope.from_headers(dict(record.headers)) for record in self.records()]

    def sent_ids(self, *, after: int = 0) -> set[int]:
        """The ids in every event whose sequence lies beyond `after`."""
        sent: set[int] = set()
        for record in self.records():
            if record.sequence > after:
                sent |= set(decode(record.payload).column("id").to_pylist())
        return sent

    @property
    def sequence(self) -> int:
        return self.store.pipelines[NAME].state.sequence

    async def lane_relay(self, lane: int = 0, owner: str = "relay") -> LaneRelay:
        claimed = {cursor.lane: cursor for cursor in await self.cursors.claim(NAME, owner, 30)}
        return LaneRelay(
            pipeline=NAME,
            cursor=claimed[Lane(lane)],
            owner=owner,
            outbox=self.outbox,
            cursors=self.cursors,
            stream=self.stream,
        )
