"""Builds batch events as an extractor would, one chain per lane, and hands them over as deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from qupersync_loader.application.content import facts_of
from qupersync_loader.application.ports import BaselineAhead
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.contracts.payload import checksum, encode
from qupersync_shared.contracts.schema import GONE_COLUMN, SLOT_COLUMN, Column, RowSchema
from qupersync_shared.contracts.slots import canonical_keys, slot_of_key, slots_of
from qupersync_shared.contracts.subjects import lane_subject
from qupersync_shared.contracts.types import LogicalType
from qupersync_shared.kernel.ids import GroupName, Lane, PipelineName, uuid7
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind

START = datetime(2024, 5, 1, tzinfo=UTC)


def schema(*, key: Sequence[str] = ("id",), **columns: str) -> RowSchema:
    """`schema(id="bigint", name="varchar")`."""
    return RowSchema(columns=tuple(Column(n, LogicalType.parse(t)) for n, t in columns.items()), key=tuple(key))


PEOPLE = schema(id="bigint", name="varchar", amount="numeric(10,2)")


def pipeline(**changes: Any) -> TargetPipeline:
    plain = TargetPipeline(
        group=GroupName("main"), name=PipelineName("people"), schema="public", table="people", lanes=1
    )
    return replace(plain, **changes)


def ints(*values: int) -> Key:
    return tuple(Scalar(ScalarKind.INT, str(value)) for value in values)


def people(*ids: int, name: str = "n", amount: str = "1.00") -> list[dict[str, Any]]:
    return [{"id": i, "name": f"{name}{i}", "amount": Decimal(amount)} for i in ids]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of one lane."""

    envelope: BatchEnvelope
    body: bytes

    def headers(self, generation: int = 0) -> dict[str, str]:
        return self.envelope.model_copy(update={"generation": generation}).headers()


@dataclass(kw_only=True)
class SentDelivery:
    """A delivery that notes what becomes of it."""

    headers: Mapping[str, str]
    body: bytes
    attempt: int = 1
    pending: int = 0
    ended: list[str] = field(default_factory=list)
    ahead: tuple[BaselineAhead, ...] = ()
    looks: int = 0

    async def ack(self) -> None:
        self.ended.append("ack")

    async def nak(self, delay_seconds: float) -> None:
        self.ended.append(f"nak {delay_seconds}")

    async def in_progress(self) -> None:
        self.ended.append("in progress")

    async def baselines_ahead(self) -> tuple[BaselineAhead, ...]:
        self.looks += 1
        return self.ahead


def delivery(event: Event, *, generation: int = 0, attempt: int = 1, ahead: Sequence[Event] = ()) -> SentDelivery:
    """`ahead`: what stands further on the lane."""
    baselines = tuple(
        BaselineAhead(event=facts_of(one.envelope), fingerprint=one.envelope.schema_fingerprint)
        for one in ahead
        if one.envelope.is_baseline
    )
    return SentDelivery(headers=event.headers(generation), body=event.body, attempt=attempt, ahead=baselines)


class Extractor:
    """Makes pages; every page is one event on each lane."""

    def __init__(self, rows: RowSchema = PEOPLE, *, name: str = "people", lanes: int = 1, log: int = 1) -> None:
        self.schema = rows
        self.name = PipelineName(name)
        self.lanes = lanes
        self.log = log
        self.sequence = 0
        self.clock = START
        self.last: dict[int, UUID] = {}
        self.snapshot: UUID | None = None

    def incremental(self, rows: Sequence[Mapping[str, Any]] = (), **changes: Any) -> list[Event]:
        return self._page(rows, mode=Mode.INCREMENTAL, **changes)

    def reread(
        self, rows: Sequence[Mapping[str, Any]] = (), gone: Sequence[Mapping[str, Any]] = (), **changes: Any
    ) -> list[Event]:
        return self._page([*rows, *gone], mode=Mode.REREAD, gone=len(gone), **changes)

    def page(
        self,
        rows: Sequence[Mapping[str, Any]] = (),
        *,
        after: Key | None = None,
        upto: Key | None = None,
        **changes: Any,
    ) -> list[Event]:
        """A page of a snapshot over (after, upto]."""
        if after is None:
            self.snapshot = uuid7()
        return self._page(
            rows,
            mode=Mode.SNAPSHOT,
            snapshot_id=self.snapshot,
            snapshot_first=after is None,
            snapshot_last=upto is None,
            range_from=after,
            range_to=upto,
            **changes,
        )

    def _page(
        self, rows: Sequence[Mapping[str, Any]], *, mode: Mode, gone: int | None = None, **changes: Any
    ) -> list[Event]:
        self.sequence += 1
        self.clock += timedelta(minutes=1)
        batch = pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=self.schema.arrow())
        slots = slots_of(canonical_keys(batch, self.schema)) if rows else np.empty(0, np.int16)
        batch = batch.append_column(pa.field(SLOT_COLUMN, pa.int16(), nullable=False), pa.array(slots, pa.int16()))
        if gone is not None:
            flags = [i >= len(rows) - gone for i in range(len(rows))]
            batch = batch.append_column(pa.field(GONE_COLUMN, pa.bool_(), nullable=False), pa.array(flags, pa.bool_()))
        return [self._event(batch, slots, Lane(lane), mode, changes) for lane in range(self.lanes)]

    def _event(self, batch: pa.RecordBatch, slots: Any, lane: Lane, mode: Mode, changes: dict[str, Any]) -> Event:
        part = batch.take(pa.array(np.flatnonzero(slots % self.lanes == lane), pa.int64()))
        body = encode(part)
        changes = dict(changes)
        withheld = tuple(k for k in changes.pop("withheld_keys", ()) if slot_of_key(k) % self.lanes == lane)
        envelope = BatchEnvelope(
            **{
                "id": uuid7(),
                "source": f"qupersync/extractor/{self.name}",
                "subject": lane_subject(self.name, lane),
                "time": self.clock,
                "pipeline": self.name,
                "lane": lane,
                "lanes": self.lanes,
                "log": self.log,
                "sequence": self.sequence,
                "previous_id": self.last.get(lane),
                "mode": mode,
                "row_count": part.num_rows,
                "key_columns": self.schema.key,
                "withheld_keys": withheld,
                "honest_time": self.clock,
                "schema_fingerprint": self.schema.fingerprint,
                "checksum": checksum(body),
                "correlation_id": uuid7(),
                **changes,
            }
        )
        self.last[lane] = envelope.id
        return Event(envelope=envelope, body=body)
