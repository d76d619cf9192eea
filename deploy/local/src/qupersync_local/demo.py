"""`qupersync demo`: a first snapshot, changes while it is live, a last snapshot, and a comparison row by row."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import asyncpg
from rich.console import Console

from qupersync_local.committed import CommittedState, Standing
from qupersync_local.compare import Comparison, compare_tables
from qupersync_local.compare_sides import PostgresSide
from qupersync_local.demo_data import Changes
from qupersync_local.demo_duckdb import DuckDbDemo
from qupersync_local.demo_health import HealthDemo
from qupersync_local.demo_report import Bars, Meters, console, figures, progress, verdict
from qupersync_local.demo_sources import DemoSource, RedshiftDemo
from qupersync_local.services import Services, configuration_for, control_section
from qupersync_local.stack import LocalStack
from qupersync_local.supervise import StackError
from qupersync_local.up import how_to_look
from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped
from qupersync_shared.runtime.settings.catalogue import complete

_CHANGE_SECONDS = 6.0
_KEPT_CHANGE_SECONDS = 1.0
_KEPT_PAUSE_SECONDS = 2.0
_TRIGGER_SECONDS_MAX = 30.0
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What to show. The same `seed` makes the same rows.

    With `keep` everything goes on, and rows go on changing; `stall` then takes a right from the loader on one table.
    """

    source: Literal["redshift", "duckdb", "health"] = "redshift"
    rows: int = 200_000
    keep: bool = False
    stall: bool = False
    seed: int = 1

    @property
    def drain_seconds_max(self) -> float:
        """Until when everything must have arrived: generous, for slow machines."""
        return 90 + self.rows / 5_000


def run_demo(options: DemoOptions) -> int:
    """Exit code 0 if source and target are equal, 1 if not or if something failed, 130 after Ctrl-C."""

    async def main(stop: Stop) -> int:
        screen = console()
        judged = asyncio.Event()
        show = asyncio.ensure_future(_show(options, stop, screen, judged))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({show, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not judged.is_set():
            show.cancel()
        try:
            return await show
        except asyncio.CancelledError:
            screen.print("stopped; everything is cleaned up")
            return _INTERRUPTED
        except StackError as error:
            screen.print(f"the demo failed: {error}", markup=False, soft_wrap=True)
            return 1

    return run_until_stopped(main)


async def _show(options: DemoOptions, stop: Stop, screen: Console, judged: asyncio.Event) -> int:
    """The exit code. `judged` is set when it is known: what follows is only waiting and cleaning up."""
    async with AsyncExitStack() as ends:
        screen.print("starting PostgreSQL, NATS and the source")
        stack = await ends.enter_async_context(LocalStack.start())
        source = _source(options, stack)
        await source.fill()
        sections = {**(control_section() if options.keep else {}), **source.sections}
        configuration = configuration_for(stack.describe(), source.pipelines, **sections)
        services = await ends.enter_async_context(Services.opened(configuration))
        screen.print("migrating; starting extractor and loader")
        await services.migrate()
        await services.run()
        committed = await ends.enter_async_context(
            CommittedState.opened(
                outbox_dsn=stack.outbox_dsn, target_dsn=stack.target_dsn, pipelines=list(source.pipelines)
            )
        )
        show = _Demonstration(
            options=options, stack=stack, source=source, services=services, committed=committed, screen=screen
        )
        code = await show.run()
        judged.set()
        if options.keep and not stop.requested:
            if options.stall:
                await show.stall()
            show.say_how_to_look()
            await show.go_on(stop)
        return code


def _source(options: DemoOptions, stack: LocalStack) -> DemoSource:
    match options.source:
        case "duckdb":
            return DuckDbDemo.of(stack.directory, size=options.rows, seed=options.seed)
        case "health":
            return HealthDemo(stack=stack, size=options.rows, seed=options.seed)
        case "redshift":
            return RedshiftDemo(stack=stack, size=options.rows, seed=options.seed)


@dataclass(slots=True, kw_only=True)
class _Demonstration:
    options: DemoOptions
    stack: LocalStack
    source: DemoSource
    services: Services
    committed: CommittedState
    screen: Console
    meters: Meters = field(default_factory=Meters)
    lags: dict[str, float | None] = field(default_factory=dict)

    async def run(self) -> int:
        await self._first_snapshot()
        await self._changes()
        last = await self._last_snapshot()
        self.screen.print(figures(last, self.meters, self.lags))
        compared = await self._compare()
        for line in verdict(compared):
            print(line, flush=True)  # noqa: T201 - the verdict is the same on every terminal
        return 0 if all(one.same for one in compared.values()) else 1

    async def _first_snapshot(self) -> None:
        began = time.monotonic()
        self.screen.print(f"first snapshot of {self.source.rows:,} rows")
        with progress(self.screen, total=self.source.rows) as bars:
            standing = await self.committed.wait_for_snapshots(
                dict.fromkeys(self.source.pipelines),
                seconds_max=self.options.drain_seconds_max,
                looked=lambda seen: self._looked(seen, bars),
            )
        loaded = sum(one.loaded.rows for one in standing.values())
        self.screen.print(f"  {loaded:,} rows read, published and loaded in {time.monotonic() - began:.1f} s")

    async def _looked(self, standing: dict[str, Standing], bars: Bars | None = None) -> None:
        self.services.check()
        if bars is not None:
            self.meters.see(standing)
            bars.see(standing)

    async def _changes(self) -> None:
        self.screen.print(f"inserting, updating and deleting at the source for {_CHANGE_SECONDS:g} s")
        made = await self._change_for(_CHANGE_SECONDS)
        now = datetime.now(UTC)
        for name, one in (await self.committed.look()).items():
            self.lags[name] = None if one.honest_time is None else (now - one.honest_time).total_seconds()
        self.screen.print(f"  {made.inserted} inserted, {made.updated} updated, {made.deleted} deleted")

    async def _change_for(self, seconds: float) -> Changes:
        end = time.monotonic() + seconds
        return await self.source.change(lambda: time.monotonic() < end)

    async def _last_snapshot(self) -> dict[str, Standing]:
        self.screen.print("last snapshot, for the deletes")
        began = time.monotonic()
        before = await self._between_snapshots()
        await self._trigger()
        standing = await self.committed.wait_for_snapshots(
            {name: one.snapshot for name, one in before.items()},
            seconds_max=self.options.drain_seconds_max,
            looked=self._looked,
        )
        self.screen.print(f"  extracted and applied in {time.monotonic() - began:.1f} s")
        return standing

    async def _between_snapshots(self) -> dict[str, Standing]:
        """How everything stands when no snapshot is under way: one that began before the last change proves nothing."""
        return await self.committed.wait_for(
            "the end of the snapshots under way",
            lambda standing: not any(one.snapshotting for one in standing.values()),
            seconds_max=self.options.drain_seconds_max,
            looked=self._looked,
        )

    async def _trigger(self) -> None:
        asked = self.services.operate("trigger", "trigger", "--mode", "snapshot")
        await asked.start()
        if await asked.wait(_TRIGGER_SECONDS_MAX) != 0:
            raise StackError(f"`qupersync trigger` failed: {asked.tail()}")

    async def _compare(self) -> dict[str, Comparison]:
        self.screen.print("comparing source and target row by row")
        compared = {}
        for name, pipeline in self.source.pipelines.items():
            whole = complete(pipeline)
            target = PostgresSide(dsn=self.stack.target_dsn, table=whole["into"])
            compared[name] = await compare_tables(self.source.side(name), target, key=whole["key"])
        return compared

    async def stall(self) -> None:
        """The loader may no longer write one table: its pipeline waits, and says for what."""
        table = complete(list(self.source.pipelines.values())[-1])["into"]
        connection = await asyncpg.connect(self.stack.target_dsn)
        try:
            await connection.execute(f"REVOKE INSERT, UPDATE, DELETE ON {table} FROM CURRENT_USER")
        finally:
            await connection.close()
        self.screen.print(f"took the loader's right to write {table}: `GRANT` it again, and its pipeline goes on")

    async def go_on(self, stop: Stop) -> None:
        """Rows change now and then, until the stop is requested."""
        while not stop.requested:
            await self._change_for(_KEPT_CHANGE_SECONDS)
            await stop.wait(_KEPT_PAUSE_SECONDS)

    def say_how_to_look(self) -> None:
        """Addresses, and how to end it."""
        described = {
            **self.stack.describe(),
            "configuration": str(self.services.configuration),
            "logs": str(self.services.logs),
            "page": self.services.page,
        }
        for line in how_to_look(described):
            print(line)  # noqa: T201 - to be pasted
        print("everything is kept running; Ctrl-C stops it and removes it", flush=True)  # noqa: T201
