"""Promise O: the extraction cursor and the outbox records of a page commit together, under the lease's token."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from qupersync_extractor.application.quarantine import WithheldRow
from qupersync_extractor.domain.extraction import Extraction, Snapshot, SnapshotWish, SweepMark, open_log
from qupersync_shared.kernel.errors import LeaseLostError, TerminalError, TransientError
from qupersync_shared.kernel.ids import (
    EventId,
    FencingToken,
    Lane,
    Log,
    PipelineName,
    Sequence,
    SnapshotId,
    uuid7,
)
from qupersync_shared.kernel.positions import KeyBound, Position, Scalar, ScalarKind

PIPELINE = PipelineName("orders")
TEXT = Scalar(ScalarKind.TEXT, "Ünïcode ' \" \\ \0 end")
MOMENT = Scalar(ScalarKind.TIMESTAMPTZ, "2024-02-29 23:59:59.999999Z")
NUMBER = Scalar(ScalarKind.NUMERIC, "-12345678901234567890.123456789")


async def test_promise_o_cursor_and_records_commit_together(persistence: Any, writer: Any) -> None:
    records = await writer.page()

    state = (await persistence.registry.get(PIPELINE)).state
    assert state.sequence == 1
    assert state.lane_ids == {record.lane: record.id for record in records}
    for record in records:
        found = await persistence.outbox.next_records(
            PIPELINE, record.lane, Log(1), after=Sequence(0), limit=10, bytes_max=1 << 20
        )
        assert [one.id for one in found] == [record.id]


async def test_promise_o_leaving_without_commit_keeps_nothing(persistence: Any, writer: Any) -> None:
    async with persistence.unit_of_work() as work:
        before = await work.extractions.lock(PIPELINE, writer.token)
        await work.outbox.add([writer.record(0, 1), writer.record(1, 1)])
        await work.quarantine.add([WithheldRow(pipeline=PIPELINE, key="k", reason="r", event_id=EventId(uuid7()))])
        await work.extractions.save(replace(before, sequence=Sequence(1)))

    await _nothing_was_kept(persistence)


async def test_promise_o_an_error_in_the_block_keeps_nothing(persistence: Any, writer: Any) -> None:
    async def page() -> None:
        async with persistence.unit_of_work() as work:
            before = await work.extractions.lock(PIPELINE, writer.token)
            await work.extractions.save(replace(before, sequence=Sequence(1)))
            await work.outbox.add([writer.record(0, 1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await page()
    await _nothing_was_kept(persistence)


async def test_promise_o_cancellation_keeps_nothing_and_frees_the_row(persistence: Any, writer: Any) -> None:
    inside = asyncio.Event()

    async def page() -> None:
        async with persistence.unit_of_work() as work:
            before = await work.extractions.lock(PIPELINE, writer.token)
            await work.outbox.add([writer.record(0, 1)])
            await work.extractions.save(replace(before, sequence=Sequence(1)))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(page())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await _nothing_was_kept(persistence)
    await writer.page()


async def test_a_swallowed_failure_forbids_the_commit(persistence: Any, writer: Any) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction without an error, and rolls back."""
    async with persistence.unit_of_work() as work:
        before = await work.extractions.lock(PIPELINE, writer.token)
        await work.extractions.save(replace(before, sequence=Sequence(1)))
        with pytest.raises(TerminalError, match="outbox"):
            await work.outbox.add([writer.record(0, 0)])
        with pytest.raises(TransientError):
            await work.commit()

    await _nothing_was_kept(persistence)


async def test_nothing_works_outside_the_block(persistence: Any, writer: Any) -> None:
    work = persistence.unit_of_work()
    with pytest.raises(RuntimeError):
        await work.extractions.lock(PIPELINE, writer.token)
    async with work:
        pass
    with pytest.raises(RuntimeError):
        await work.commit()


async def test_only_a_locked_state_can_be_saved(persistence: Any, writer: Any) -> None:
    async with persistence.unit_of_work() as work:
        with pytest.raises(RuntimeError):
            await work.extractions.save(Extraction(pipeline=PIPELINE, lanes=2))


@pytest.mark.parametrize("shift", [-1, 1])
async def test_another_token_is_refused(persistence: Any, writer: Any, shift: int) -> None:
    async with persistence.unit_of_work() as work:
        with pytest.raises(LeaseLostError):
            await work.extractions.lock(PIPELINE, FencingToken(writer.token + shift))


async def test_a_token_is_void_once_another_process_took_the_lease(persistence: Any, writer: Any) -> None:
    await persistence.pass_time(3600)
    newer = await persistence.registry.acquire(PIPELINE, "other", 600)
    with pytest.raises(LeaseLostError):
        await writer.page()
    writer.token = newer
    await writer.page()


async def test_a_released_token_and_an_unknown_pipeline_are_refused(persistence: Any, writer: Any) -> None:
    await persistence.registry.release(PIPELINE, writer.token)
    with pytest.raises(LeaseLostError):
        await writer.page()
    async with persistence.unit_of_work() as work:
        with pytest.raises(LeaseLostError):
            await work.extractions.lock(PipelineName("unknown"), FencingToken(1))


async def test_the_row_is_locked_until_the_unit_of_work_ends(persistence: Any, writer: Any) -> None:
    entered = asyncio.Event()
    order: list[str] = []

    async def second() -> None:
        entered.set()
        await writer.page()
        order.append("second")

    async with persistence.unit_of_work() as work:
        before = await work.extractions.lock(PIPELINE, writer.token)
        task = asyncio.create_task(second())
        await entered.wait()
        await work.extractions.save(replace(before, sequence=Sequence(1)))
        order.append("first")
        await work.commit()
    await task

    assert order == ["first", "second"]
    assert (await persistence.registry.get(PIPELINE)).state.sequence == 2


FULL = Extraction(
    pipeline=PIPELINE,
    lanes=3,
    log=Log(1),
    sequence=Sequence(41),
    lane_ids={Lane(lane): EventId(UUID(int=lane + 1)) for lane in range(3)},
    cursor=Position(cursor=MOMENT, key=(NUMBER, TEXT)),
    swept=SweepMark(high=MOMENT, began_at=datetime(2024, 3, 1, 0, 0, 0, 123456, tzinfo=UTC)),
    snapshot=Snapshot(id=SnapshotId(uuid7()), began_at=datetime(2024, 1, 1, tzinfo=UTC), after=(TEXT,), first=False),
    snapshot_wish=SnapshotWish(reason="schema changed", restart=True),
    snapshot_ended_at=datetime(2023, 1, 1, tzinfo=UTC),
    completed_at=datetime(1000, 1, 1, tzinfo=UTC),
    schema_fingerprint="fingerprint",
    last_event_at=datetime.now(UTC),
)
STATES = {
    "full": FULL,
    "empty": Extraction(pipeline=PIPELINE, lanes=1, snapshot_wish=None),
    "lowest": replace(FULL, cursor=Position(cursor=MOMENT, key=KeyBound.LOWEST)),
    "highest": replace(FULL, cursor=Position(cursor=NUMBER, key=KeyBound.HIGHEST)),
    "first page to come": replace(FULL, snapshot=Snapshot(id=SnapshotId(uuid7()), began_at=datetime.now(UTC))),
    "new log": open_log(FULL, log=Log(7), lanes=5, reason="fork"),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
async def test_a_state_comes_back_as_it_was_saved(persistence: Any, writer: Any, state: Extraction) -> None:
    for saved in (FULL, state):  # over other values, so that what is None must be forgotten
        async with persistence.unit_of_work() as work:
            await work.extractions.lock(PIPELINE, writer.token)
            await work.extractions.save(saved)
            await work.commit()
    async with persistence.unit_of_work() as work:
        assert await work.extractions.lock(PIPELINE, writer.token) == state


async def test_withheld_rows_are_kept_once_per_key(persistence: Any, writer: Any) -> None:
    first, last = EventId(uuid7()), EventId(uuid7())
    long_key = '{"v":1,"key":[["text","' + "x" * 60_000 + '"]]}'
    for event_id, reason in ((first, "too big"), (last, "still too big")):
        async with persistence.unit_of_work() as work:
            await work.quarantine.add(
                [
                    WithheldRow(pipeline=PIPELINE, key="a", reason=reason, event_id=event_id),
                    WithheldRow(pipeline=PIPELINE, key=long_key, reason=reason, event_id=event_id),
                ]
            )
            await work.commit()
    assert await persistence.withheld() == [("a", "still too big", last), (long_key, "still too big", last)]


async def test_the_database_dates_records_not_the_process(persistence: Any, writer: Any) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    (record, _) = await writer.page()
    found = await persistence.outbox.find(record.id)
    assert found.occurred_at > before
    assert found == replace(record, occurred_at=found.occurred_at)


async def _nothing_was_kept(persistence: Any) -> None:
    state = (await persistence.registry.get(PIPELINE)).state
    assert state.sequence == 0
    assert await persistence.withheld() == []
    assert (await persistence.outbox.depth(PIPELINE)).records == 0
