"""A rebuild of a large table beside live load: rows a second, how long readers and loaders wait, and memory."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psutil
import pytest
from tests.benchmarks.report import write
from tests.e2e.world import World, opened

from qupersync_local.services import EXTRACTOR, LOADER, plain_environment
from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack

pytestmark = pytest.mark.benchmark
ROWS = int(os.environ.get("QUPERSYNC_BENCHMARK_REBUILD_ROWS", "1000000"))
SECONDS_MAX = 1_500
CHANGED_AT_ONCE = 50
PAUSE_SECONDS = 0.1
READ_PAUSE_SECONDS = 0.005
PIPELINE = {"page_rows": 40_000, "lanes": 4}
COLUMNS = """
    id bigint NOT NULL, name varchar(100), amount numeric(18, 6), ratio double precision, code integer, day date,
    flag boolean, note varchar(200), seen_at timestamp, updated_at timestamp
"""
FILL = """
    INSERT INTO {table}
    SELECT n, 'name ' || n, (n * 7919 % 1000003) / 1000.0, n / 7.0::double precision, (n % 100000)::int,
           date '2024-01-01' + (n % 1000)::int, n % 2 = 0, 'a note of some length about row ' || n,
           timestamp '2024-01-01' + n * interval '1 second', timestamp '2024-01-01'
    FROM generate_series(1::bigint, {rows}::bigint) AS n
"""
CHANGE = """
    UPDATE {table} SET code = code + 1, updated_at = timezone('UTC', clock_timestamp())
    WHERE id = ANY (SELECT (random() * {rows})::bigint FROM generate_series(1, {count}))
"""


@pytest.fixture(scope="module")
def durable() -> Iterator[ThreadedStack]:
    """Everything with fsync on, as it would be run."""
    with ThreadedStack(options=StackOptions()) as stack:
        yield stack


@pytest.mark.timeout(2 * SECONDS_MAX)
async def test_rebuild_beside_live_load(durable: ThreadedStack) -> None:
    async with opened(durable, columns=COLUMNS, pipeline=PIPELINE) as world:
        await world.source.execute(FILL.format(table=world.table, rows=ROWS))
        # What a column store finds by its zones.
        await world.source.execute(f"CREATE INDEX ON {world.table} (id); CREATE INDEX ON {world.table} (updated_at)")
        await world.migrate()
        await world.services.add("extractor", EXTRACTOR, "run").start()
        await world.services.add("loader", LOADER, "run").start()
        await world.wait_for_snapshot(None, seconds_max=SECONDS_MAX)
        async with _changing(world) as changed, _reading(world) as waited:
            documents, seconds, memory = await _rebuild(world)
        await world.wait_for("a level target", lambda one: one.level, seconds_max=120)
        (placed,) = (one for one in documents if one["event"] == "placed")
        (compared,) = (one for one in documents if one["event"] == "compared")
        comparing = documents.index({"event": "phase", "phase": "comparing"})
        reading = [one for one in documents[:comparing] if one["event"] == "reading"]
        write(
            "rebuild",
            {
                "rows": ROWS,
                "changed_per_second": round(changed[0] / seconds),
                "seconds": round(seconds, 1),
                "read_rows_per_second": reading[-1]["rows_per_second"],
                "locked_ms": round(placed["locked_seconds"] * 1000, 1),
                "longest_read_ms": round(max(waited) * 1000, 1),
                "usual_read_ms": round(sorted(waited)[len(waited) // 2] * 1000, 2),
                "loaders_waited_ms": round(placed["paused_seconds"] * 1000, 1),
                "peak_memory_mib": round(memory / (1 << 20)),
            },
        )
        assert compared["equal"]


@asynccontextmanager
async def _changing(world: World) -> AsyncIterator[list[int]]:
    """The source changes until the block ends; the list holds how many rows were."""
    count, stop = [0], asyncio.Event()

    async def change() -> None:
        while not stop.is_set():
            done = await world.source.execute(
                CHANGE.format(table=world.table, rows=ROWS, count=CHANGED_AT_ONCE), timeout=SECONDS_MAX
            )
            count[0] += int(done.split()[-1])
            await asyncio.sleep(PAUSE_SECONDS)

    task = asyncio.create_task(change())
    try:
        yield count
    finally:
        stop.set()
        await task


@asynccontextmanager
async def _reading(world: World) -> AsyncIterator[list[float]]:
    """Somebody reads one row after the other until the block ends; the list holds how long each took, in seconds."""
    waited: list[float] = []

    async def read() -> None:
        async with asyncpg.create_pool(world.services_target_dsn, min_size=1, max_size=1) as pool:
            while True:
                began = time.monotonic()
                await pool.fetchval(f"SELECT code FROM {world.target} WHERE id = $1", len(waited) % ROWS + 1)
                waited.append(time.monotonic() - began)
                await asyncio.sleep(READ_PAUSE_SECONDS)

    task = asyncio.create_task(read())
    try:
        yield waited
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _rebuild(world: World) -> tuple[list[dict[str, Any]], float, int]:
    """What `--json` printed, how long it took, and the most memory the process had."""
    environment = {**plain_environment(), "QUPERSYNC_CONFIG": str(world.services.configuration)}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from qupersync_shared.runtime.cli import main; main()", "rebuild", world.name, "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    peak = 0

    async def look() -> None:
        nonlocal peak
        while process.returncode is None:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
            await asyncio.sleep(0.1)

    looking = asyncio.create_task(look())
    out, _ = await process.communicate()
    seconds = time.monotonic() - began
    looking.cancel()
    assert process.returncode == 0
    documents = [json.loads(line) for line in out.decode().splitlines()]
    return documents, seconds, peak
