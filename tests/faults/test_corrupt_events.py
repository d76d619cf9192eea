"""19: corrupt events on a lane: damaged on the way, damaged in the outbox, authentic but unreadable, and foreign."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.all_well import all_well
from tests.faults.watching import OLD, Audit, drained, generations, jetstream, parked, retire, shown, told_by_all

from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.envelope import GENERATION_HEADER, BatchEnvelope
from qupersync_shared.contracts.payload import checksum
from qupersync_shared.contracts.subjects import lane_subject
from qupersync_shared.kernel.ids import Lane, PipelineName

pytestmark = [pytest.mark.faults, pytest.mark.fault(19), pytest.mark.integration]
LANES = 3
# Nothing is read twice for rows that might have come late: what a lane lost, it has lost.
OPTIONS = {"lanes": LANES, "lookback": "0s"}
_OF_LANE = "SELECT id, headers::text AS headers, payload FROM qupersync.outbox WHERE lane = $1 AND sequence = $2"
_WITH_ROWS = (
    "SELECT DISTINCT sequence FROM qupersync.outbox WHERE sequence > $1 AND (headers ->> 'ce-rowcount')::int > 0"
)
_SPOIL = "UPDATE qupersync.outbox SET payload = $2, headers = $3::jsonb WHERE id = $1"


@pytest.mark.timeout(400)
async def test_poison_is_isolated_an_event_damaged_on_the_way_is_sent_once_more(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline=OPTIONS) as world:
        await _begin(world)
        async with Audit.opened(world) as audit:
            await retire(world, world.services.processes["relay"])
            sequence = await _next_page(world)
            flipped, cut, whole = [await _record(world, lane, sequence) for lane in range(LANES)]
            await _publish(world, flipped, body=flipped.payload[:99] + b"?" + flipped.payload[100:])
            await _publish(world, cut, body=cut.payload[: len(cut.payload) // 2])
            await _publish(world, whole, body=whole.payload)
            await _relay(world)  # which finds its own events in the stream already, and does not look inside
            await drained(world, 400)
            await audit.assert_in_order()
        damaged = told_by_all(world, "wrong_checksum")
        assert {entry["lane"] for entry in damaged} == {0, 1}, "no damage was seen"
        assert await generations(world) >= 2, "nothing was sent once more"
        assert await parked(world) == (0, 0)
        facts |= {"rows": 400, "damaged": len(damaged), "resends": await generations(world)}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_poison_is_isolated_an_event_damaged_for_good_is_parked_and_redriven(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline=OPTIONS) as world:
        await _begin(world)
        await retire(world, world.services.processes["relay"])
        sequence = await _next_page(world)
        damaged = await _record(world, 0, sequence)
        await _spoil(world, damaged, b"no longer what it was")
        unreadable = await _record(world, 1, sequence)
        told = unreadable.envelope.model_copy(update={"checksum": checksum(b"never was Arrow")})
        await _spoil(world, unreadable, b"never was Arrow", told)
        await _relay(world)
        await eventually("two dead letters", lambda: _parked(world, 2))
        await world.insert(401, 500)
        await eventually("the rows of later pages", lambda: _loaded(world, "id > 400", 100))
        compared = await world.compare(differences_max=1_000)
        assert 0 < len(compared.differences) < 100, "the parked events hold no rows, or more than their own lanes"
        missing = damaged.envelope.row_count + unreadable.envelope.row_count
        assert len(compared.differences) == missing
        assert (await world.status())["pipelines"][world.name]["state"] == "degraded"
        await shown(world, world.name, "dead-letters")

        answer = await world.operate("dead-letters", "redrive", "--pipeline", world.name, "--wait", "60")
        assert answer.code == 0, answer
        await drained(world, 500)
        assert not await world.app.fetchval("SELECT count(*) FROM qupersync_dead_letter WHERE resolved_at IS NULL")
        await all_well(world)
        facts |= {"rows": 500, "parked": 2, "rows in them": missing}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_poison_is_isolated_an_unreadable_event_holds_its_own_lane_only_where_that_is_wanted(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline={**OPTIONS, "on_terminal": "halt"}) as world:
        await _begin(world)
        await retire(world, world.services.processes["relay"])
        sequence = await _next_page(world)
        record = await _record(world, 1, sequence)
        told = record.envelope.model_copy(update={"checksum": checksum(b"never was Arrow")})
        await _publish(world, record, body=b"never was Arrow", envelope=told)
        await _relay(world)
        await shown(world, world.name, "lane 1", "on_terminal: halt")
        standing = await world.standing()
        behind = {lane: point for lane, point in standing.watermarks.items() if point < (standing.log, sequence)}
        assert behind.keys() == {1}, f"held: {behind}"
        assert await parked(world) == (0, 0)
        # The event's cause is mended: what stands in the stream goes, and the outbox has the right one.
        async with jetstream(world) as js:
            await js.purge_stream(f"qupersync_{world.name}", subject=lane_subject(PipelineName(world.name), Lane(1)))
        await world.insert(401, 500)
        await drained(world, 500)
        facts |= {"rows": 500, "lanes held": 1}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_poison_is_isolated_foreign_messages_on_a_lane_move_nothing(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline=OPTIONS) as world:
        await _begin(world)
        async with Audit.opened(world) as audit:
            before = (await world.standing()).watermarks
            record = await _record(world, 0, before[0][1])
            other = record.envelope.model_copy(update={"pipeline": "somebody_elses", "sequence": before[0][1] + 1})
            foreign: list[tuple[bytes, Mapping[str, str] | None]] = [
                (b"not ours", None),
                (b"", {"ce-type": "io.example.other", "ce-specversion": "1.0", "ce-id": "1"}),
                (record.payload, {**record.envelope.headers(), "ce-sequence": "many"}),
                (record.payload, other.headers()),
            ]
            async with jetstream(world) as js:
                for lane in range(LANES):
                    subject = lane_subject(PipelineName(world.name), Lane(lane))
                    for body, headers in foreign:
                        await js.publish(subject, body, headers=dict(headers) if headers else None)
                # An event of one lane on another's subject.
                await js.publish(subject, record.payload, headers=record.envelope.headers())
            await world.insert(301, 400)
            await drained(world, 400)
            await audit.assert_in_order()
        seen = told_by_all(world, "foreign_message")
        assert len(seen) >= LANES * len(foreign) + 1, "some foreign message was not noticed"
        assert await parked(world) == (0, 0)
        facts |= {"rows": 400, "foreign messages": len(seen)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    id: Any
    envelope: BatchEnvelope
    payload: bytes


async def _begin(world: World) -> None:
    await world.insert(1, 300, moment=OLD)
    await world.migrate()
    await world.services.add("extract", EXTRACTOR, "extract").start()
    await world.services.add("loader", LOADER, "run").start()
    await _relay(world)
    await world.wait_for_snapshot(None)


async def _relay(world: World) -> None:
    await world.services.add("relay", EXTRACTOR, "relay").start()


async def _next_page(world: World) -> int:
    """Rows 301 to 400 are extracted, in one page; its sequence. A sign of life may come before or after it."""
    before = await world.standing()
    await world.insert(301, 400)
    await world.wait_for("the page", lambda one: one.extracted.rows >= before.extracted.rows + 100)
    outbox = await asyncpg.connect(world.outbox_dsn)
    try:
        found = [row["sequence"] for row in await outbox.fetch(_WITH_ROWS, before.sequence)]
    finally:
        await outbox.close()
    assert len(found) == 1, "more pages than the one that was wanted"
    return int(found[0])


async def _record(world: World, lane: int, sequence: int) -> _Record:
    """What the outbox has for one lane."""
    outbox = await asyncpg.connect(world.outbox_dsn)
    try:
        row = await outbox.fetchrow(_OF_LANE, lane, sequence)
    finally:
        await outbox.close()
    assert row is not None
    assert len(row["payload"]) > 200
    headers = {**json.loads(row["headers"]), GENERATION_HEADER: "0"}
    return _Record(id=row["id"], envelope=BatchEnvelope.from_headers(headers), payload=row["payload"])


async def _publish(world: World, record: _Record, *, body: bytes, envelope: BatchEnvelope | None = None) -> None:
    """As the relay would, but with this body."""
    told = envelope or record.envelope
    async with jetstream(world) as js:
        await js.publish(told.subject, body, headers=told.headers())


async def _spoil(world: World, record: _Record, body: bytes, envelope: BatchEnvelope | None = None) -> None:
    """The outbox itself has another body now, and, where it is told, another envelope."""
    headers = (envelope or record.envelope).headers()
    headers.pop(GENERATION_HEADER)
    outbox = await asyncpg.connect(world.outbox_dsn)
    try:
        done = await outbox.execute(_SPOIL, record.id, body, json.dumps(headers))
    finally:
        await outbox.close()
    assert done == "UPDATE 1"


async def _parked(world: World, letters: int) -> bool:
    world.services.check()
    return await parked(world) == (0, letters)


async def _loaded(world: World, condition: str, rows: int) -> bool:
    world.services.check()
    return bool(await world.app.fetchval(f"SELECT count(*) = {rows} FROM {world.target} WHERE {condition}"))
