"""Whatever is killed at whatever moment: nothing is lost, and no watermark ever retreats."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from tests.e2e.world import World, opened

from qupersync_local.compare import DifferenceKind
from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess
from qupersync_local.stack import OUTBOX_ROLE, TARGET_ROLE
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.e2e
SECONDS = float(os.environ.get("QUPERSYNC_E2E_SECONDS", "15"))
SEED = int(os.environ.get("QUPERSYNC_E2E_SEED", str(random.SystemRandom().randrange(1_000_000))))
ROWS = 3_000
FREEZES = 0.15
NOW = "timezone('UTC', transaction_timestamp())"


@pytest.mark.timeout(400)
async def test_no_loss_and_honest_watermark_whatever_is_killed(local_stack: ThreadedStack) -> None:
    print(f"QUPERSYNC_E2E_SEED={SEED}")
    chance = random.Random(SEED)
    async with opened(local_stack) as world, _roles(world) as dsns:
        await world.insert(1, ROWS, moment="timestamp '2024-01-01' + n / 50 * interval '1 second'")
        await world.migrate()
        processes = [
            world.services.add(name, module, *arguments, environment=dsns[role])
            for name, module, arguments, role in (
                ("extract", EXTRACTOR, ("extract",), "extract"),
                ("relay", EXTRACTOR, ("relay",), "relay"),
                ("loader-1", LOADER, ("run",), "loader"),
                ("loader-2", LOADER, ("run",), "loader"),
            )
        ]
        for process in processes:
            await process.start()
        end = time.monotonic() + SECONDS
        watch = _Watch(world=world)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch.sample())
            work = [
                group.create_task(_change(world, random.Random(chance.random()), end)),
                group.create_task(_commit_late(world, random.Random(chance.random()), end)),
                group.create_task(_kill(processes, random.Random(chance.random()), end)),
            ]
            await asyncio.wait(work)
            changed_until = datetime.now(UTC) + timedelta(seconds=1)
            await world.wait_for(
                "a watermark past the last change",
                lambda one: one.honest_time is not None and one.honest_time >= changed_until and one.level,
                seconds_max=90,
            )
            await _assert_nothing_missing(world)
            before = (await world.standing()).snapshot
            await world.trigger("snapshot")
            await world.wait_for_snapshot(before)
            watching.cancel()
        assert watch.samples > SECONDS, "the watermarks were hardly looked at"
        await world.assert_equal()
        await world.assert_gap_free()


async def _assert_nothing_missing(world: World) -> None:
    """Without a snapshot's help: deleted rows may still stand in the target, but nothing is missing or stale."""
    compared = await world.compare(differences_max=100_000)
    wrong = [str(one) for one in compared.differences if one.kind is not DifferenceKind.EXTRA]
    assert not wrong, f"seed {SEED}: " + "\n".join(wrong[:20])


@asynccontextmanager
async def _roles(world: World) -> AsyncIterator[dict[str, dict[str, str]]]:
    """Each kind of process has a database role of its own, which has the rights of the service's role."""
    postgres = world.stack.stack.postgres
    names = {kind: f"{kind}_{uuid4().hex[:8]}" for kind in ("extract", "relay", "loader")}
    described = world.configuration
    for kind, name in names.items():
        granted = TARGET_ROLE if kind == "loader" else OUTBOX_ROLE
        script = (
            f"CREATE ROLE {name} LOGIN PASSWORD '{name}' IN ROLE {granted}; ALTER ROLE {name} SET role = '{granted}'"
        )
        await asyncio.to_thread(world.stack.call, postgres.execute(script))
    outbox, target = (described[part]["dsn"].rpartition("/")[2] for part in ("outbox", "target"))
    try:
        yield {
            kind: {
                "QUPERSYNC_TARGET__DSN" if kind == "loader" else "QUPERSYNC_OUTBOX__DSN": postgres.dsn(
                    target if kind == "loader" else outbox, name, name
                )
            }
            for kind, name in names.items()
        }
    finally:
        await world.services.stop()
        for name in names.values():
            await asyncio.to_thread(world.stack.call, postgres.execute(f"DROP ROLE {name}"))


async def _kill(processes: list[ServiceProcess], chance: random.Random, end: float) -> None:
    """SIGKILL one of the processes, or freeze it beyond its lease; at the end all of them run."""
    hurt = 0
    while time.monotonic() < end:
        await asyncio.sleep(chance.uniform(0.3, 2.0))
        victim = chance.choice(processes)
        assert victim.running, f"seed {SEED}: {victim.name} ended by itself ({victim.exit_code}): {victim.tail()}"
        if chance.random() < FREEZES:
            victim.send(signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(1.0, 6.0))
            victim.send(signal.SIGCONT)
        else:
            await victim.kill()
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await victim.start()
        hurt += 1
    assert hurt > SECONDS / 8


async def _change(world: World, chance: random.Random, end: float) -> None:
    """Inserts, ties, updates and deletes in small transactions."""
    newest = ROWS
    while time.monotonic() < end:
        async with world.source.transaction():
            many = chance.choice((1, 5, 20, 700))
            await world.insert(newest + 1, newest + many)
            newest += many
            some = [chance.randint(1, newest) for _ in range(chance.randint(1, 30))]
            await world.source.execute(
                f"UPDATE {world.table} SET amount = amount + 1, flag = NOT flag, updated_at = {NOW} WHERE id = ANY($1)",
                some,
            )
            gone = [chance.randint(1, newest) for _ in range(chance.randint(0, 5))]
            await world.source.execute(f"DELETE FROM {world.table} WHERE id = ANY($1)", gone)
        await asyncio.sleep(chance.uniform(0.0, 0.15))


async def _commit_late(world: World, chance: random.Random, end: float) -> None:
    """Transactions that stay open while newer rows are read; within the lookback, beyond the safety lag."""
    connection = await asyncpg.connect(world.stack.stack.source.owner_dsn)
    number = 0
    try:
        while time.monotonic() < end:
            async with connection.transaction():
                number -= 10
                await connection.execute(
                    f"INSERT INTO {world.table} (id, name, updated_at) "
                    f"SELECT $1::bigint + n, 'late', {NOW} FROM generate_series(0, 9) AS n",
                    number,
                )
                await asyncio.sleep(chance.uniform(0.2, 4.0))
    finally:
        await connection.close()


@dataclass(slots=True, kw_only=True)
class _Watch:
    """Promise W, sampled: a lane's (log, sequence), its honest time and the extraction never retreat."""

    world: World
    samples: int = 0
    lanes: dict[int, tuple[int, int]] = field(default_factory=dict)
    extraction: tuple[int, int] = (0, 0)
    honest: dict[int, datetime] = field(default_factory=dict)

    async def sample(self) -> None:
        outbox = await asyncpg.connect(self.world.configuration["outbox"]["dsn"])
        target = await asyncpg.connect(self.world.services_target_dsn)
        try:
            while True:
                await self._once(outbox, target)
                await asyncio.sleep(0.05)
        finally:
            await outbox.close()
            await target.close()

    async def _once(self, outbox: asyncpg.Connection, target: asyncpg.Connection) -> None:
        rows = await target.fetch("SELECT lane, log, sequence, honest_time FROM qupersync_watermark")
        extraction = await outbox.fetchrow("SELECT log, sequence FROM qupersync.extraction")
        for row in rows:
            lane, point, honest = row["lane"], (row["log"], row["sequence"]), row["honest_time"]
            assert point >= self.lanes.get(lane, (0, 0)), f"seed {SEED}: the watermark of lane {lane} retreated"
            self.lanes[lane] = point
            if lane in self.honest:
                assert honest is not None, f"seed {SEED}: the honest time of lane {lane} was taken back"
                assert honest >= self.honest[lane], f"seed {SEED}: the honest time of lane {lane} retreated"
            if honest is not None:
                self.honest[lane] = honest
            assert extraction is not None, f"seed {SEED}: rows are applied, but no extraction is known"
            # Read after the watermarks: what is applied was extracted before.
            assert point <= (extraction["log"], extraction["sequence"]), f"seed {SEED}: applied before it was extracted"
        if extraction is not None:
            point = (extraction["log"], extraction["sequence"])
            assert point >= self.extraction, f"seed {SEED}: the extraction retreated"
            self.extraction = point
        self.samples += 1
