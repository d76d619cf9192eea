"""What survives processes: source, databases, stream with its consumers, progress; the project's own adapters."""

import copy
import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.properties.protocol.loop import StepLoop
from tests.properties.protocol.schedule import Setting

from qupersync_extractor.domain.pipeline import Pipeline, SourceTable
from qupersync_extractor.infrastructure.memory.outbox import MemoryOutboxReader
from qupersync_extractor.infrastructure.memory.progress import MemoryProgress
from qupersync_extractor.infrastructure.memory.registry import MemoryRegistry
from qupersync_extractor.infrastructure.memory.relay_cursors import MemoryRelayCursors
from qupersync_extractor.infrastructure.memory.source import MemorySource
from qupersync_extractor.infrastructure.memory.store import MemoryStore
from qupersync_extractor.infrastructure.memory.stream import MemoryStream, StoredMessage, _Messages
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.memory.target import MemoryTarget
from qupersync_shared.contracts.schema import Column
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.ids import FencingToken, GroupName, Lane, PipelineName

NAME: Final = PipelineName("orders")
TABLE: Final = SourceTable("public", "orders")
START: Final = datetime(2025, 6, 1, 12, tzinfo=UTC)
KEYS: Final = 8
LANES_MAX: Final = 3
LEASE_SECONDS: Final = 30.0
ACK_WAIT_SECONDS: Final = 20.0
LAG: Final = timedelta(seconds=10)
LOOKBACK: Final = timedelta(seconds=120)
LATE: Final = timedelta(seconds=100)  # and the source's clock is put back by 20 s at most: together within the lookback
SNAPSHOT_EVERY: Final = timedelta(minutes=5)


def pipeline(setting: Setting, lanes: int) -> Pipeline:
    return Pipeline(
        name=NAME,
        relation=TABLE,
        key=("id",),
        cursor="updated_at",
        lookback=LOOKBACK if setting.sweeps else timedelta(0),
        safety_lag=LAG,
        page_rows=setting.page_rows,
        lanes=lanes,
        snapshot_every=SNAPSHOT_EVERY if setting.snapshots else None,
    )


def target_pipeline(group: GroupName, lanes: int) -> TargetPipeline:
    return TargetPipeline(group=group, name=NAME, schema="public", table="orders", lanes=lanes)


@dataclass(slots=True)
class SkewedClock:
    """A process's clock, which may be wrong."""

    loop: StepLoop
    skew: timedelta = timedelta(0)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.loop.time()) + self.skew


class Store(MemoryStore):
    """The extractor's database on the schedule's clock; a lock that is free costs nothing."""

    def __init__(self, loop: StepLoop) -> None:
        super().__init__()
        self._loop = loop

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time())

    async def lock(self, pipeline: PipelineName) -> Any:
        lock = self._locks[pipeline]
        if lock.locked():
            return await super().lock(pipeline)
        self.check()
        await lock.acquire()
        return lock


class Registry(MemoryRegistry):
    """Tokens never come again, not even after a restore: in PostgreSQL they are at least its clock's milliseconds."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self._given = FencingToken(0)

    async def acquire(self, pipeline: PipelineName, owner: str, seconds: float) -> FencingToken | None:
        token = await super().acquire(pipeline, owner, seconds)
        if token is not None:
            self._given = FencingToken(max(token, self._given + 1))
            self._store.pipelines[pipeline].token = self._given
            return self._given
        return None


class Stream(MemoryStream):
    """Remembers every message that it ever stored."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: list[StoredMessage] = []

    def _append(self, stream: Any, message: StoredMessage) -> None:
        super()._append(stream, message)
        self.ever.append(message)

    def put_back(self, kept: list[StoredMessage], last: int) -> None:
        """The stream as it once was."""
        self._streams[NAME] = _Messages(list(kept), last)

    @property
    def exists(self) -> bool:
        return NAME in self._streams

    @property
    def kept(self) -> list[StoredMessage]:
        return self._streams[NAME].kept if self.exists else []


@dataclass(slots=True)
class Consumer:
    """A lane's durable consumer: everything up to `floor` is acknowledged; one message may be on its way."""

    floor: int = 0
    pending: int | None = None
    until: float = 0.0


@dataclass(slots=True)
class Group:
    """A loader group: its target, its clock, and its consumers."""

    name: GroupName
    target: MemoryTarget
    consumers: dict[Lane, Consumer] = field(default_factory=dict)

    def consumer(self, lane: Lane) -> Consumer:
        return self.consumers.setdefault(lane, Consumer())


class World:
    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.loop = StepLoop()
        self.source = MemorySource(START)
        self.source.shows_transactions = not setting.sweeps
        self.table = self.source.table(
            TABLE,
            [
                Column(name, LogicalType.parse(kind))
                for name, kind in (("id", "bigint"), ("version", "bigint"), ("updated_at", "timestamptz"))
            ],
        )
        self.store = Store(self.loop)
        self.registry = Registry(self.store)
        self.cursors = MemoryRelayCursors(self.store)
        self.outbox = MemoryOutboxReader(self.store)
        self.stream = Stream()
        self.progress = MemoryProgress()
        self.extractor_clock = SkewedClock(self.loop)
        self.loader_clock = SkewedClock(self.loop)
        self.groups = [Group(GroupName(name), MemoryTarget()) for name in ("main", "other")[: setting.groups]]
        self._source_skew = timedelta(0)
        self.asked: Counter[tuple[str, int]] = Counter()  # resends, by group and lane
        self.lost_answers: list[bool] = []  # of the next commands; whether they are carried out all the same

    @property
    def lanes(self) -> list[Lane]:
        """The lanes of the current log."""
        return [Lane(number) for number in range(self.store.pipelines[NAME].state.lanes)]

    @property
    def any_lanes(self) -> list[Lane]:
        return [Lane(number) for number in range(LANES_MAX)]

    def messages(self, lane: Lane) -> list[StoredMessage]:
        return [message for message in self.stream.kept if message.lane == lane]

    def waiting(self, group: Group, lane: Lane) -> StoredMessage | None:
        """The lane's next message that the group has not acknowledged."""
        floor = group.consumer(lane).floor
        return next((m for m in self.stream.kept if m.lane == lane and m.stream_sequence > floor), None)

    def content(self, group: Group) -> dict[int, int]:
        """The version of each row that stands in a group's target."""
        table = group.target.store.tables.get("public.orders")
        rows = table.rows.values() if table is not None else ()
        return {row.values["id"]: row.values["version"] for row in rows if not row.deleted}

    def wanted(self) -> dict[int, int]:
        return {row["id"]: row["version"] for row in self.table.rows}

    def set_source_clock(self, skew: timedelta) -> None:
        """The source's clock is put forward or back; transactions and rows keep what they were told."""
        self.source.now += skew - self._source_skew
        self._source_skew = skew

    def calm(self) -> None:
        """Every server answers again, and clocks go right from where they are."""
        self.store.unavailable = self.store.commit_fault = None
        self.stream.trouble, self.stream.lose_acks = None, 0
        self.source.trouble = None
        self.lost_answers.clear()
        for group in self.groups:
            group.target.store.down = None

    # ------------------------------------------------------------------------------------------------------- backups

    def back_up_extractor(self) -> Mapping[str, Any]:
        return {
            entry.name: {key: _copied(value) for key, value in getattr(self.store, entry.name).items()}
            for entry in dataclasses.fields(MemoryStore)
            if not entry.name.startswith("_") and isinstance(getattr(self.store, entry.name), dict)
        }

    def restore_extractor(self, backup: Mapping[str, Any]) -> None:
        for name, rows in backup.items():
            setattr(self.store, name, {key: _copied(value) for key, value in rows.items()})

    def back_up_stream(self) -> Any:
        """Messages and consumers are one store; the bucket of progress is another stream of the same server."""
        consumers = [{lane: copy.copy(consumer) for lane, consumer in group.consumers.items()} for group in self.groups]
        return copy.deepcopy(self.progress._lanes), list(self.stream.kept), self._last(), consumers

    def restore_stream(self, backup: Any) -> None:
        lanes, kept, last, consumers = backup
        self.progress._lanes = dict(lanes)
        self.stream.put_back(kept, last)
        for group, before in zip(self.groups, consumers, strict=True):
            group.consumers = {lane: copy.copy(consumer) for lane, consumer in before.items()}

    def _last(self) -> int:
        return self.stream._streams[NAME].last if self.stream.exists else 0

    @staticmethod
    def back_up_target(group: Group) -> Any:
        store = group.target.store
        return {name: _copied(one) for name, one in store.pipelines.items()}, {
            name: _copied(one) for name, one in store.tables.items()
        }

    @staticmethod
    def restore_target(group: Group, backup: Any) -> None:
        pipelines, tables = backup
        group.target.store.pipelines = {name: _copied(one) for name, one in pipelines.items()}
        group.target.store.tables = {name: _copied(one) for name, one in tables.items()}


def _copied(value: Any) -> Any:
    """A row of a store with containers and mutable parts of its own; what is frozen is shared."""
    if not dataclasses.is_dataclass(value) or value.__dataclass_params__.frozen:  # type: ignore[union-attr]
        return value
    changed = {}
    for entry in dataclasses.fields(value):
        part = getattr(value, entry.name)
        changed[entry.name] = part.copy() if isinstance(part, dict | list | set) else _copied(part)
    return dataclasses.replace(value, **changed)


class SharedParts:
    """In place of `copy` in the in-memory target: its values are frozen, so new containers do."""

    @staticmethod
    def deepcopy(value: Any) -> Any:
        return _copied(value)
