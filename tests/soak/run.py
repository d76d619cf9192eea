"""One run from start to verdict: load, rest, change and hurt, mend, converge, stop, compare, report."""

import asyncio
import os
import platform
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from tests.soak.changes import Changes
from tests.soak.ending import Ending, Sides, converge, judge, nothing_wrong
from tests.soak.fleet import Fleet
from tests.soak.logbook import busiest, defects
from tests.soak.options import Options
from tests.soak.report import SERVICES, Outcome, idle_rows
from tests.soak.sampling import Database, Sampler, idle
from tests.soak.screen import Screen
from tests.soak.tables import BAD, SourceTable, tables_of
from tests.soak.trend import growing

from qupersync_local.services import Services, configuration_for, write_configuration
from qupersync_local.stack import LocalStack, StackOptions
from qupersync_local.supervise import StackError, free_port
from qupersync_shared.runtime.lifecycle import Stop

_MIB = 1 << 20
# What may rise without being called growth: noise of allocators, bloat between two vacuums, a burst in the stream.
FLOORS = {
    "memory": 16.0 * _MIB,
    "files": 8.0,
    "threads": 6.0,
    "connections": 6.0,
    "subscriptions": 20.0,
    "table": 0.5 * _MIB,
    "table outbox": 8.0 * _MIB,
    "outbox partitions": 2.0,
    "stream bytes": 8.0 * _MIB,
    "stream messages": 2_000.0,
    "progress keys": 10.0,
    "process keys": 500.0,  # every process that is killed leaves one, for an hour
    "consumers": 0.0,
}
_FIRST_LOAD_SECONDS = (180.0, 8.0)  # and this much for every pipeline
_SETTLE_SECONDS = 5.0
_TOLD_MAX = 3
_WHOLE = """
    SELECT count(*) FROM (
        SELECT pipeline FROM public.qupersync_watermark GROUP BY pipeline
        HAVING count(*) = max(lanes) AND bool_and(snapshot_whole IS NOT NULL)
    ) AS whole
"""
_READ = "SELECT coalesce(sum(pages), 0) AS pages, coalesce(sum(rows), 0) AS rows, count(*) AS runs FROM qupersync.run"
_QUARANTINED = """
    SELECT count(*) AS seen, count(*) FILTER (WHERE resolved_at IS NOT NULL) AS resolved
    FROM public.qupersync_quarantine
"""
_RESENDS = """
    SELECT coalesce(sum(generation), 0) AS n, count(*) FILTER (WHERE generation > 0) AS lanes
    FROM qupersync.relay_cursor
"""


@dataclass(slots=True, kw_only=True)
class Run:
    """The parts of a run that is under way."""

    options: Options
    stop: Stop
    screen: Screen
    stack: LocalStack
    tables: Sequence[SourceTable]
    fleet: Fleet
    changes: Changes
    sampler: Sampler
    outcome: Outcome
    chance: random.Random = field(init=False)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.options.seed)

    async def go(self) -> None:
        """Everything up to the verdict; what was found stands in the outcome. Returns early when asked to stop."""
        try:
            await self._load()
            if self.options.idle_seconds and not self.stop.requested:
                await self._rest()
            if not self.stop.requested:
                await self._hurt()
            if not self.stop.requested:
                await self._end()
        finally:
            self.screen.settle()
            self.outcome.stopped = self.stop.requested
            await self._gather()

    # ------------------------------------------------------------------------------------------------- loading

    async def _load(self) -> None:
        self.screen.say(f"migrating, and starting the processes of {len(self.tables)} pipelines")
        began = time.monotonic()
        await self.fleet.services.migrate()
        await self.fleet.start()
        await self._until_whole()
        if self.stop.requested:
            return
        self.outcome.first_load_seconds = time.monotonic() - began
        connection = await asyncpg.connect(self.stack.target_dsn)
        try:
            for table in self.tables:  # from now on some rows are refused
                await connection.execute(
                    f"ALTER TABLE {table.target} ADD CONSTRAINT {table.name}_name_check CHECK (name <> '{BAD}')"
                )
        finally:
            await connection.close()

    async def _until_whole(self) -> None:
        least, each = _FIRST_LOAD_SECONDS
        patience = least + each * len(self.tables)
        end = time.monotonic() + patience
        while not self.stop.requested:
            rows = await self.sampler.target.fetch(_WHOLE)
            whole = rows[0][0] if rows else 0
            if whole == len(self.tables):
                return
            if time.monotonic() > end:
                raise StackError(f"only {whole} of {len(self.tables)} pipelines were loaded within {patience:g} s")
            self.fleet.services.check()
            self.screen.progress(f"first snapshots: {whole} of {len(self.tables)} pipelines loaded")
            await self.stop.wait(0.5)

    async def _rest(self) -> None:
        """What a system costs that has nothing to do: on default schedules, before anything is changed or hurt."""
        self.screen.say(f"at rest for {self.options.idle_seconds:g} s")
        await self.stop.wait(_SETTLE_SECONDS)
        self.outcome.idle = await idle(self.sampler, self._pids(), self.options.idle_seconds)
        for name, value in idle_rows(self.outcome.idle):
            self.screen.say(f"  {name}: {value}")
        began = time.monotonic()
        write_configuration(self.fleet.services.configuration, configuration_of(self.options, self.stack, self.tables))
        await self.fleet.restart()
        await self._until_run_again()
        self.outcome.warm_start_seconds = time.monotonic() - began

    async def _until_run_again(self) -> None:
        """Until every pipeline has gone on after the restart."""
        sql = "SELECT pipeline, sequence FROM qupersync.extraction"
        before = {row["pipeline"]: row["sequence"] for row in await self.sampler.outbox.fetch(sql) or ()}
        end = time.monotonic() + sum(_FIRST_LOAD_SECONDS) * 2
        while not self.stop.requested and time.monotonic() < end:
            now = {row["pipeline"]: row["sequence"] for row in await self.sampler.outbox.fetch(sql) or ()}
            moved = sum(sequence > before.get(name, 0) for name, sequence in now.items())
            if moved == len(self.tables):
                return
            self.screen.progress(f"started again: {moved} of {len(self.tables)} pipelines have gone on")
            await self.stop.wait(0.5)

    def _pids(self) -> dict[str, list[int]]:
        found = {process.name: [process.pid] for process in self.fleet.wanted}
        found["nats-server"] = [self.stack.nats.pid]
        for name, server in (("PostgreSQL (outbox and target)", self.stack.postgres),):
            found[name] = [server.pid, *[one.pid for one in psutil.Process(server.pid).children()]]
        return found

    # ------------------------------------------------------------------------------------------------- hurting

    async def _hurt(self) -> None:
        end = time.monotonic() + self.options.seconds
        over = asyncio.Event()

        def going() -> bool:
            return not self.stop.requested and time.monotonic() < end

        work = [
            *(self.changes.write(random.Random(self.chance.random()), going) for _ in range(self.options.writers)),
            self.changes.commit_late(random.Random(self.chance.random()), going),
            self.fleet.hurt(random.Random(self.chance.random()), going),
        ]
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(self.sampler.watch()), group.create_task(self.sampler.sample())]
            showing = group.create_task(self._show(end))
            async with asyncio.TaskGroup() as hurting:
                for one in work:
                    hurting.create_task(one)
            over.set()
            if not self.stop.requested:
                await self._mend()
            for task in (*watching, showing):
                task.cancel()
        # From here on the run looks only.

    async def _mend(self) -> None:
        self.screen.say("no more faults: everything runs, rows that were refused are mended at the source")
        await self.fleet.mend()
        await self.changes.heal()

    async def _show(self, end: float) -> None:
        told = 0
        while True:
            left = max(0.0, end - time.monotonic())
            tally, faults = self.changes.tally, sum(self.fleet.done.values())
            memory = max(self.sampler.peaks.get(f"memory {role}", 0.0) for role in SERVICES)
            failures = list(dict.fromkeys([*self.fleet.failures, *self.sampler.monotone.failures]))
            for failure in failures[told : told + _TOLD_MAX]:
                self.screen.say(f"  failed: {failure}")
            told = len(failures)
            self.screen.progress(
                f"{left:.0f} s left: {tally.changed:,} rows changed, {faults} faults, "
                f"at most {memory / _MIB:.0f} MiB, {self.sampler.monotone.samples} looks at watermarks, {told} failures"
            )
            await asyncio.sleep(1.0)

    # -------------------------------------------------------------------------------------------------- ending

    async def _end(self) -> None:
        sides = Sides(source_dsn=self.stack.source.admin_dsn, target_dsn=self.stack.target_dsn, tables=self.tables)
        ending = Ending()
        looking = asyncio.create_task(self.sampler.watch())
        try:
            self.screen.say("waiting until everything is equal, with nobody's help")
            await converge(
                sides, self.fleet, self.sampler.target, seconds_max=self.options.converge_seconds, ending=ending
            )
            await nothing_wrong(self.fleet, ending)
            self.outcome.figures["redeliveries"] = float(await self.sampler.redelivered())
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await self.fleet.stop()
        await judge(sides, self.sampler.outbox, ending)
        self.outcome.converged_seconds = ending.seconds
        self.outcome.figures["rows equal at the end"] = float(ending.equal_rows)
        self.outcome.differences = ending.differences
        self.outcome.failures += ending.failures

    async def _gather(self) -> None:
        """Everything that was counted on the way, as far as it can still be read."""
        outcome, sampler = self.outcome, self.sampler
        outcome.seconds = time.monotonic() - self._began
        outcome.changes = {name: count for name, count in asdict(self.changes.tally).items() if count}
        outcome.faults, outcome.starts = dict(self.fleet.done), dict(self.fleet.started)
        outcome.peaks = dict(sampler.peaks)
        outcome.growth = growing(sampler.samples, FLOORS)
        for name, counted in sampler.counters.items():
            outcome.figures[name] = counted.total
        outcome.figures["looks at watermarks"] = float(sampler.monotone.samples)
        for database, sql, names in (
            (sampler.outbox, _READ, {"pages": "pages read", "rows": "rows read", "runs": "runs with pages"}),
            (sampler.target, _QUARANTINED, {"seen": "rows quarantined", "resolved": "of them resolved"}),
            (sampler.outbox, _RESENDS, {"n": "resends", "lanes": "lanes with resends"}),
        ):
            for row in await database.fetch(sql) or ():
                for column, name in names.items():
                    outcome.figures[name] = float(row[column])
        with suppress(Exception):
            own = [one["state"] for one in await sampler.streams() if one["config"]["name"].startswith("qupersync_")]
            outcome.figures["events published"] = float(sum(one["last_seq"] for one in own))
        logs = self.fleet.keep_logs()
        outcome.busiest = busiest(logs)
        outcome.failures += [
            *dict.fromkeys(self.fleet.failures),
            *list(dict.fromkeys(sampler.monotone.failures))[:20],
            *[f"logged: {words}" for words in defects(logs)],
        ]
        if (outcome.complaints or outcome.stopped) and self.options.report:
            keep_logs(logs, self.options.report)


def keep_logs(logs: dict[str, str], report: Path) -> None:
    """The logs beside the report, where there is something to look for."""
    directory = report.with_suffix(".logs")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in logs.items():
        (directory / f"{name}.log").write_text(text, encoding="utf-8")


def configuration_of(
    options: Options, stack: LocalStack, tables: Sequence[SourceTable], **changes: Any
) -> dict[str, Any]:
    """The configuration file's content; `changes` are options of every pipeline."""
    described = stack.describe()
    described = {
        **described,
        "outbox": {**described["outbox"], **options.outbox},
        "nats": {**described["nats"], "stream_bytes_max": options.stream_bytes_max},
    }
    pipelines = {table.name: {**table.pipeline(options), **changes} for table in tables}
    return configuration_for(described, pipelines, **options.sections)


@asynccontextmanager
async def opened(options: Options, stop: Stop, screen: Screen) -> AsyncIterator[Run]:
    """A run on a stack of its own, with its sources filled; everything ends and goes with the block."""
    port = free_port()
    screen.say(f"starting PostgreSQL, NATS and the Redshift stand-in (seed {options.seed})")
    async with LocalStack.start(options=StackOptions(fast=True, nats_settings={"http": f"127.0.0.1:{port}"})) as stack:
        tables = tables_of(options)
        source = await asyncpg.connect(stack.source.owner_dsn)
        try:
            for table in tables:
                await table.create(source, rows=options.rows)
        finally:
            await source.close()
        resting = {"schedule": {"every": "15m"}, "snapshot_every": "24h"} if options.idle_seconds else {}
        async with Services.opened(configuration_of(options, stack, tables, **resting)) as services:
            fleet = Fleet(services=services, stack=stack, options=options)
            outbox, target = (stack.describe()[part]["dsn"].rpartition("/")[2] for part in ("outbox", "target"))
            sampler = Sampler(
                fleet=fleet,
                options=options,
                outbox=Database(stack.postgres.dsn(outbox)),
                target=Database(stack.postgres.dsn(target)),
                databases=(outbox, target),
                monitor_port=port,
            )
            changes = Changes(dsn=stack.source.owner_dsn, tables=tables, rhythm=options.rhythm)
            outcome = Outcome(
                options=options, begun_at=datetime.now(UTC).isoformat(timespec="seconds"), machine=machine()
            )
            try:
                yield Run(
                    options=options,
                    stop=stop,
                    screen=screen,
                    stack=stack,
                    tables=tables,
                    fleet=fleet,
                    changes=changes,
                    sampler=sampler,
                    outcome=outcome,
                )
            finally:
                await sampler.close()


def machine() -> str:
    gibibytes = round(psutil.virtual_memory().total / (1 << 30))
    return f"{os.cpu_count()} cores, {gibibytes} GiB, Python {platform.python_version()}"
