"""The first load of a large table: rows a second by hop, alone and together, beside a plain COPY of the same rows."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.benchmarks.report import write
from tests.e2e.world import Peak, World, opened

from qupersync_local.committed import Standing
from qupersync_local.demo_data import seed_cost_usage
from qupersync_local.demo_report import Meters
from qupersync_local.services import EXTRACTOR, LOADER
from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.benchmark
ROWS = int(os.environ.get("QUPERSYNC_BENCHMARK_ROWS", "2000000"))
MEMORY_MIB_MAX = 400
SECONDS_MAX = 1_500
HOPS = {"extracted": "read + outbox", "published": "relay", "loaded": "load"}
PIPELINE = {"page_rows": 40_000, "lanes": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Rows a second and peak memory in MiB, by name."""

    rates: Mapping[str, float]
    memory: Mapping[str, float]


@pytest.fixture(scope="module")
def durable() -> Iterator[ThreadedStack]:
    """Everything with fsync on, as it would be run."""
    with ThreadedStack(options=StackOptions()) as stack:
        yield stack


@pytest.mark.timeout(2 * SECONDS_MAX)
async def test_first_load(durable: ThreadedStack) -> None:
    async with _seeded(durable) as world:
        plain = await _plain_copy(world)
        alone = await _one_after_the_other(world)
    async with _seeded(durable) as world:
        together = await _all_together(world)
    write("first_load", _figures(plain, alone, together))
    assert max([*alone.memory.values(), *together.memory.values()]) < MEMORY_MIB_MAX


@asynccontextmanager
async def _seeded(stack: ThreadedStack) -> AsyncIterator[World]:
    async with opened(stack, columns=None, pipeline=PIPELINE) as world:
        await seed_cost_usage(world.source, rows=ROWS, table=world.table)
        await world.migrate()
        yield world
        assert await world.app.fetchval(f"SELECT count(*) FROM {world.target}") == ROWS
        await world.app.execute(f"DROP TABLE {world.target}")
        await world.source.execute(f"DROP TABLE {world.table}")


async def _plain_copy(world: World) -> float:
    """Rows a second of a COPY out of the source's PostgreSQL into an empty table without a key in the target."""
    columns = await world.source.fetch(
        "SELECT attname, CASE format_type(atttypid, atttypmod) WHEN 'super' THEN 'json' "
        "ELSE format_type(atttypid, atttypmod) END AS type FROM pg_attribute "
        "WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum",
        world.table,
    )
    await world.app.execute(f"CREATE TABLE plain ({', '.join(' '.join(column) for column in columns)})")
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=16)

    async def drained() -> AsyncIterator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    async def read() -> None:
        await world.source.copy_from_query(f"SELECT * FROM {world.table}", output=pieces.put)
        await pieces.put(None)

    began = time.monotonic()
    await asyncio.gather(read(), world.app.copy_to_table("plain", source=drained()))
    seconds = time.monotonic() - began
    assert await world.app.fetchval("SELECT count(*) FROM plain") == ROWS
    await world.app.execute("DROP TABLE plain")
    return ROWS / seconds


async def _one_after_the_other(world: World) -> Measured:
    """Each hop by itself, with the machine for it alone."""
    meters, peak = Meters(), Peak(world)
    for name, module, arguments in (
        ("extract", EXTRACTOR, ("extract", "--once")),
        ("relay", EXTRACTOR, ("relay", "--once")),
        ("loader", LOADER, ("run", "--until-drained")),
    ):
        process = world.services.add(name, module, *arguments)
        await process.start()
        while process.running:
            await _look(world, meters, peak)
        assert process.exit_code == 0, process.tail()
        del world.services.processes[name]
    await _look(world, meters, peak)
    return _measured(world, meters, peak)


async def _all_together(world: World) -> Measured:
    """As it is run: all hops at once, sharing the machine with both databases and NATS."""
    meters, peak = Meters(), Peak(world)
    began = time.monotonic()
    for name, module, arguments in (
        ("extract", EXTRACTOR, ("extract",)),
        ("relay", EXTRACTOR, ("relay",)),
        ("loader", LOADER, ("run",)),
    ):
        await world.services.add(name, module, *arguments).start()
    while not (await _look(world, meters, peak)).whole:
        world.services.check()
        assert time.monotonic() - began < SECONDS_MAX
    await world.services.stop()
    world.services.processes.clear()
    return _measured(world, meters, peak)


async def _look(world: World, meters: Meters, peak: Peak) -> Standing:
    standing = await world.committed.look()
    meters.see(standing)
    peak.look_once()
    await asyncio.sleep(0.1)
    return standing[world.name] if world.name in standing else await _look(world, meters, peak)


def _measured(world: World, meters: Meters, peak: Peak) -> Measured:
    return Measured(
        rates={title: meters.of[world.name, hop].rows_per_second or 0.0 for hop, title in HOPS.items()},
        memory={name: used / (1 << 20) for name, used in peak.bytes.items()},
    )


def _figures(plain: float, alone: Measured, together: Measured) -> dict[str, object]:
    def rates(measured: Measured) -> dict[str, dict[str, float]]:
        return {
            title: {"rows_per_second": round(rate), "of_plain_copy": round(rate / plain, 3)}
            for title, rate in measured.rates.items()
        }

    return {
        "rows": ROWS,
        "plain_copy_rows_per_second": round(plain),
        "each_hop_alone": rates(alone),
        "all_hops_together": rates(together),
        "peak_memory_mib": {
            "each_hop_alone": {name: round(value) for name, value in alone.memory.items()},
            "all_hops_together": {name: round(value) for name, value in together.memory.items()},
        },
    }
