"""One event's transaction on the target."""

import asyncio
import json
from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import asyncpg
import pyarrow as pa
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from qupersync_loader.application.content import Batch, without_nul_bytes
from qupersync_loader.application.ports import Applied, DeadLetter, LaneState, Letters, NotPreparedError
from qupersync_loader.domain.filled import FilledColumns
from qupersync_loader.domain.pipeline import NulBytes, OnBadRow, TargetPipeline
from qupersync_loader.domain.watermark import SnapshotSeen, Watermark
from qupersync_loader.infrastructure.postgres.filled import decode_filled
from qupersync_loader.infrastructure.postgres.knowledge import Knowledge
from qupersync_loader.infrastructure.postgres.letters import settle_letters
from qupersync_loader.infrastructure.postgres.names import ROW, quote_table
from qupersync_loader.infrastructure.postgres.quarantine import Quarantine, bound, columns, storable
from qupersync_loader.infrastructure.postgres.refusals import (
    Refusal,
    RefusedRow,
    halve,
    refused_row,
    refuses_rows,
)
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.infrastructure.postgres.staging import copy, encode
from qupersync_loader.infrastructure.postgres.statements import Statements
from qupersync_shared.contracts.envelope import BatchEnvelope, Mode
from qupersync_shared.kernel.errors import EventRefusedError, RowsRefusedError
from qupersync_shared.kernel.ids import EventId, Lane, Log, Sequence, SnapshotId
from qupersync_shared.kernel.positions import encode_position
from qupersync_shared.runtime.database import affected, raw_connection, sqlstate

_THREAD_BYTES: Final = 65_536  # encoding less than this takes well under a millisecond
_TWICE: Final = "21000"
# Deferred constraints would speak up at COMMIT, where no row can be told from the rest. The planner knows nothing of
# a table that was just filled, and must not compare every row with every other.
_SETTINGS: Final = "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL enable_nestloop = off; SET LOCAL enable_seqscan = off"
_SAVEPOINT: Final = "SAVEPOINT qupersync_batch"
_BACK: Final = "ROLLBACK TO SAVEPOINT qupersync_batch"


class PostgresWork:
    """The port `TargetWork`. Errors leave it as the driver raises them: the session translates."""

    def __init__(self, connection: AsyncConnection, pipeline: TargetPipeline, lane: Lane, knowledge: Knowledge) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self._lane = lane
        self._knowledge = knowledge
        self._batch: Batch | None = None
        self._staged: list[int] = []
        self._refusals: list[Refusal] = []
        self._touched: list[int] = []
        self._altered = 0
        self._log: tuple[int | None, int | None] = (None, None)
        self._filled = FilledColumns()
        self._emptied: tuple[str, ...] = ()

    async def look(self) -> LaneState:
        found = await self._connection.execute(
            text(statement("look")),
            {"group_name": self._pipeline.group, "pipeline": self._pipeline.name, "lane": self._lane},
        )
        row = found.mappings().one_or_none()
        if row is None:
            return LaneState()
        return LaneState(
            log=row["pipeline_log"], lanes=row["pipeline_lanes"], watermark=watermark_of(row), parked=row["parked"]
        )

    # ------------------------------------------------------------------------------------------------ staging

    async def stage(self, batch: Batch) -> None:
        self._batch = batch
        self._staged = list(range(batch.count))
        self._refusals = []
        if not batch.count:
            return
        try:
            await self._copy(batch.rows, 0)
        except (asyncpg.PostgresError, ValueError) as error:
            if not refuses_rows(error):
                raise
            await self._stage_carefully(batch)

    async def _stage_carefully(self, batch: Batch) -> None:
        """Some row cannot even be copied. Nothing was done before, so the transaction simply begins anew."""
        await self._connection.rollback()
        await self.look()
        driver = await raw_connection(self._connection)
        if self._pipeline.nul_bytes is NulBytes.REMOVE:
            batch, self._touched = without_nul_bytes(batch)
            self._batch = batch

        async def part(start: int, end: int) -> int:
            await self._copy(batch.rows.slice(start, end - start), start)
            return end - start

        _, refusals = await halve(driver, batch.count, part)
        refused = {refusal.index for refusal in refusals}
        gone = batch.gone()
        # What is gone at the source and cannot even be copied is not in the target either: nothing to keep of it.
        self._refusals = [refusal for refusal in refusals if refusal.index not in gone]
        self._staged = [index for index in self._staged if index not in refused]

    async def _copy(self, rows: pa.RecordBatch, start: int) -> None:
        """Copies rows, the first of which is the batch's row `start`."""
        indexes = pa.array(range(start, start + rows.num_rows), pa.int32())
        rows = rows.append_column(pa.field(ROW, pa.int32()), indexes)
        body = await asyncio.to_thread(encode, rows) if rows.nbytes > _THREAD_BYTES else encode(rows)
        await copy(await raw_connection(self._connection), self._statements, rows, body)

    @property
    def _statements(self) -> Statements:
        return self._knowledge.statements(self._pipeline, self._known_batch.schema, self._emptied)

    @property
    def _known_batch(self) -> Batch:
        if self._batch is None:
            raise RuntimeError("nothing was staged")
        return self._batch

    # ------------------------------------------------------------------------------------------------ locking

    async def lock(self, *, exclusive: bool) -> LaneState:
        driver = await raw_connection(self._connection)
        names = (self._pipeline.group, self._pipeline.name)
        which = "lock_pipeline_exclusive" if exclusive else "lock_pipeline_shared"
        pipeline = await driver.fetchrow(statement(which), *names)
        row = await driver.fetchrow(statement("lock_watermark"), *names, self._lane)
        self._log = (pipeline["log"], pipeline["lanes"]) if pipeline is not None else (None, None)
        # Under the lock: before an event fills a column that nothing was known of, this row says so.
        self._filled = decode_filled(pipeline["filled"]) if pipeline is not None else FilledColumns()
        return LaneState(
            log=Log(self._log[0]) if self._log[0] is not None else None,
            lanes=self._log[1],
            watermark=None if row is None else watermark_of(row),
            parked=row is not None and row["parked"],
        )

    # ----------------------------------------------------------------------------------------------- applying

    async def apply(self) -> Applied:
        batch = self._known_batch
        self._emptied = self._filled.to_empty(batch.schema.names, at=batch.place)
        if not self._filled.gone.issuperset(self._emptied):
            # They came, and went again, since the table was last looked at for this schema.
            self._knowledge.forget(self._pipeline)
            raise NotPreparedError
        driver = await raw_connection(self._connection)
        await driver.execute(_SETTINGS)
        removed = await self._remove(driver, batch)
        written = await self._upsert(driver, batch)
        if written and self._touched:
            # Few rows are looked up by the key's index; what is compared whole was compared before.
            await driver.execute("SET LOCAL enable_nestloop = on")
            self._altered = await driver.fetchval(self._statements.written, batch.envelope.sequence, self._touched)
        refused = [refused_row(batch, refusal) for refusal in self._refusals]
        if refused and self._pipeline.on_bad_row is OnBadRow.HALT:
            raise RowsRefusedError(
                f"{len(refused)} rows are refused, the first because {refused[0].reason}",
                cure="`on_bad_row: halt` holds the lane: mend table or rows, or write `quarantine`",
            )
        resolved = await self._settle(driver, batch, refused)
        return Applied(
            rows=batch.count,
            written=written,
            removed=removed,
            quarantined=len(refused),
            resolved=resolved,
            altered=self._altered,
        )

    async def _upsert(self, driver: asyncpg.Connection, batch: Batch) -> int:
        if not self._staged:
            return 0
        sequence = batch.envelope.sequence
        await driver.execute(_SAVEPOINT)
        try:
            return affected(await driver.execute(self._statements.upsert, sequence))
        except asyncpg.PostgresError as error:
            _refuse_doubled(error, batch)
            if not refuses_rows(error):
                raise
            unique = isinstance(error, asyncpg.UniqueViolationError)
        await driver.execute(_BACK)
        exchanged = await self._upsert_vacated(driver, batch) if unique else None
        if exchanged is not None:
            return exchanged
        found = await driver.fetch(self._statements.staged_places)
        places = [row[0] for row in found]

        async def part(start: int, end: int) -> int:
            try:
                return affected(
                    await driver.execute(self._statements.upsert_part, sequence, places[start], places[end - 1])
                )
            except asyncpg.PostgresError as error:
                _refuse_doubled(error, batch)
                raise

        written, refusals = await halve(driver, len(places), part)
        self._refusals += [Refusal(index=found[r.index][1], reason=r.reason) for r in refusals]
        return written

    async def _upsert_vacated(self, driver: asyncpg.Connection, batch: Batch) -> int | None:
        """Rows may exchange values under a unique index: all give theirs up before any takes another's. None where
        that does not help, and nothing was done.
        """
        key = set(batch.schema.key)
        table = quote_table(self._pipeline.schema, self._pipeline.table)
        others = [name for name in batch.schema.names if name not in key]
        found = [row["name"] for row in await driver.fetch(statement("vacatable"), table, others)]
        if not found:
            return None
        try:
            await driver.execute(self._statements.vacate(found))
            return affected(await driver.execute(self._statements.upsert, batch.envelope.sequence))
        except asyncpg.PostgresError as error:
            if not refuses_rows(error):
                raise
        await driver.execute(_BACK)
        return None

    async def _remove(self, driver: asyncpg.Connection, batch: Batch) -> int:
        """Deletes come first, so that a row may take over what a deleted one held of some other unique index."""
        envelope = batch.envelope
        removed = 0
        if batch.has_gone:
            sql = self._statements.remove_gone
            removed = 0 if sql is None else affected(await driver.execute(sql, envelope.sequence))
        return removed + (await self._remove_range(driver, batch) if envelope.covers_range else 0)

    async def _remove_range(self, driver: asyncpg.Connection, batch: Batch) -> int:
        envelope = batch.envelope
        copied = set(self._staged)
        refused = [refused_row(batch, r).key for r in self._refusals if r.index not in copied]
        present = [key for key in (*envelope.withheld_keys, *refused) if storable(key)]
        after, upto = bound(envelope.range_from), bound(envelope.range_to)
        sql = self._statements.remove_range(after=len(after), upto=len(upto), present=bool(present))
        if sql is None:
            return 0
        return affected(
            await driver.execute(
                sql,
                envelope.sequence,
                envelope.lanes,
                envelope.lane,
                *after,
                *upto,
                *(columns(present, len(batch.schema.key)) if present else ()),
            )
        )

    async def _settle(self, driver: asyncpg.Connection, batch: Batch, refused: list[RefusedRow]) -> int:
        quarantine = Quarantine(driver, self._pipeline)
        count = await quarantine.settle(batch, refused)
        if refused:
            await quarantine.add(batch, refused)
        return count

    # ------------------------------------------------------------------------------------------------- saving

    async def park(self, letter: DeadLetter) -> None:
        driver = await raw_connection(self._connection)
        envelope = letter.envelope
        await driver.execute(
            statement("park"),
            self._pipeline.group,
            envelope.id,
            self._pipeline.name,
            envelope.lane,
            envelope.lanes,
            envelope.log,
            envelope.sequence,
            envelope.snapshot_id,
            json.dumps(dict(letter.headers)),
            letter.body,
            letter.reason,
        )

    async def settle_letters(
        self, envelope: BatchEnvelope, *, redriven: Collection[UUID], snapshot: SnapshotSeen | None
    ) -> Letters:
        driver = await raw_connection(self._connection)
        return await settle_letters(driver, self._pipeline, envelope, redriven=redriven, snapshot=snapshot)

    async def save(self, watermark: Watermark, envelope: BatchEnvelope) -> None:
        driver = await raw_connection(self._connection)
        names = (self._pipeline.group, self._pipeline.name)
        # A reread of the past moves no position.
        moved = None if envelope.mode is Mode.REREAD else envelope.position
        if self._log != (watermark.log, watermark.lanes):
            await driver.execute(statement("register"), *names, self._pipeline.schema, self._pipeline.table)
            await driver.execute(statement("change_log"), *names, watermark.log, watermark.lanes)
            await driver.execute(statement("drop_lanes"), *names, watermark.lanes)
        await driver.execute(
            statement("save_watermark"),
            *names,
            self._lane,
            watermark.lanes,
            watermark.log,
            watermark.sequence,
            watermark.event_id,
            watermark.building,
            watermark.snapshot_whole,
            watermark.snapshot.id if watermark.snapshot else None,
            watermark.snapshot.first if watermark.snapshot else None,
            watermark.snapshot.last if watermark.snapshot else None,
            watermark.honest_time,
            encode_position(moved) if moved is not None else None,
            self._altered,
        )

    async def commit(self) -> None:
        await self._connection.commit()


def watermark_of(row: Any) -> Watermark | None:
    """The watermark columns of a row; None where the lane has none."""
    if row["log"] is None:
        return None
    return Watermark(
        lanes=row["lanes"],
        log=Log(row["log"]),
        sequence=Sequence(row["sequence"]),
        event_id=EventId(row["event_id"]),
        building=None if row["building"] is None else SnapshotId(row["building"]),
        snapshot_whole=None if row["snapshot_whole"] is None else SnapshotId(row["snapshot_whole"]),
        snapshot=_snapshot_of(row),
        honest_time=row["honest_time"],
    )


def _snapshot_of(row: Any) -> SnapshotSeen | None:
    if row["snapshot_id"] is None:
        return None
    return SnapshotSeen(
        id=SnapshotId(row["snapshot_id"]), first=Sequence(row["snapshot_first"]), last=row["snapshot_last"]
    )


def _refuse_doubled(error: asyncpg.PostgresError, batch: Batch) -> None:
    if sqlstate(error) == _TWICE:
        raise EventRefusedError(
            f"event {batch.envelope.sequence} of lane {batch.envelope.lane} holds a key twice"
        ) from error
