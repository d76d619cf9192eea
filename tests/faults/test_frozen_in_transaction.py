"""29: a loader, relay or extractor frozen inside a transaction. The server ends its session, and others go on."""

import signal

import asyncpg
import pytest
from tests.e2e.world import World, eventually, opened
from tests.faults.gates import Gate
from tests.faults.lane_events import assert_each_once_in_order, lane_events
from tests.faults.watching import OLD, Audit, drained, retire, watermark_gate

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(29), pytest.mark.integration]


@pytest.mark.timeout(400)
async def test_no_loss_when_a_loader_freezes_inside_its_transaction(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack, pipeline={"lanes": 1}) as world:
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        async with Audit.opened(world) as audit, watermark_gate(world) as gate:
            await _run(world, "extractor", EXTRACTOR, "run")
            frozen = await _run(world, "frozen", LOADER, "run")
            await world.wait_for_snapshot(None)
            before = await audit.marks()
            backends = await _freeze(world, gate, frozen, rows=(301, 500))
            other = await _run(world, "other", LOADER, "run")
            await gate.wait_for_gone(*backends)
            await drained(world, 500)  # by the other one: the first is still frozen
            assert len(await audit.marks()) > len(before)
            frozen.send(signal.SIGCONT)
            await retire(world, other)
            await world.insert(501, 600)
            await drained(world, 600)
            await audit.assert_in_order()
        facts |= {"rows": 600, "freezes": 1, "sessions ended by the server": len(backends)}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_when_a_relay_freezes_inside_its_transaction(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        moved = "NEW.last_sequence > OLD.last_sequence"
        async with Gate.opened(world.outbox_dsn, "qupersync.relay_cursor", when=moved) as gate:
            await _run(world, "extractor", EXTRACTOR, "extract")
            frozen = await _run(world, "frozen", EXTRACTOR, "relay")
            await _run(world, "loader", LOADER, "run")
            await world.wait_for_snapshot(None)
            backends = await _freeze(world, gate, frozen, rows=(301, 500))
            other = await _run(world, "other", EXTRACTOR, "relay")
            await gate.wait_for_gone(*backends)
            # What the frozen one was about to note is in the stream already; only the other can publish what follows.
            await world.insert(501, 600)
            await drained(world, 600)
            frozen.send(signal.SIGCONT)
            await retire(world, other)
            await world.insert(601, 700)
            await drained(world, 700)
        assert_each_once_in_order(await lane_events(world))
        facts |= {"rows": 700, "freezes": 1, "sessions ended by the server": len(backends)}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_when_an_extractor_freezes_inside_its_transaction(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world:
        await world.insert(1, 300, moment=OLD)
        await world.migrate()
        moved = "NEW.sequence > OLD.sequence"
        async with Gate.opened(world.outbox_dsn, "qupersync.extraction", when=moved) as gate:
            frozen = await _run(world, "frozen", EXTRACTOR, "extract")
            await _run(world, "relay", EXTRACTOR, "relay")
            await _run(world, "loader", LOADER, "run")
            await world.wait_for_snapshot(None)
            reached = (await world.standing()).sequence
            backends = await _freeze(world, gate, frozen, rows=(301, 500))
            other = await _run(world, "other", EXTRACTOR, "extract")
            await gate.wait_for_gone(*backends)
            await drained(world, 500)  # read by the other one
            assert (await world.standing()).sequence > reached
            frozen.send(signal.SIGCONT)
            await world.insert(501, 600)
            await drained(world, 600)
            await retire(world, other)
            await world.insert(601, 700)
            await drained(world, 700)  # read by the one that was frozen, under a new lease
        await world.assert_gap_free()
        facts |= {"rows": 700, "freezes": 1, "sessions ended by the server": len(backends)}


async def _run(world: World, name: str, module: str, command: str) -> ServiceProcess:
    process = world.services.add(name, module, command)
    await process.start()
    return process


async def _freeze(world: World, gate: Gate, process: ServiceProcess, *, rows: tuple[int, int]) -> list[int]:
    """The process is frozen with a statement done and its COMMIT to come; its sessions."""
    await gate.shut()
    await world.insert(*rows)
    backends = await gate.wait_for_waiting()
    process.send(signal.SIGSTOP)
    backends = await gate.waiting()
    await gate.open()
    await _idle_in_transaction(gate.connection, backends)
    return backends


async def _idle_in_transaction(connection: asyncpg.Connection, backends: list[int]) -> None:
    """Returns when one of the sessions was seen to wait for its client, inside its transaction."""
    state = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1) AND state = 'idle in transaction'"

    async def seen() -> bool:
        return bool(await connection.fetchval(state, backends))

    await eventually("the freeze was not inside a transaction", seen, pause_seconds=0.01)
