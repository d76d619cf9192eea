"""One pipeline's world for a test: databases and a source table of its own on a shared stack, and the processes."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import nats
import nats.errors
import psutil
import yaml

from qupersync_extractor.domain.planning import ForcedMode
from qupersync_extractor.interface.migrating import migrate_all as migrate_extractor
from qupersync_extractor.settings import extractor_settings
from qupersync_extractor.stores import stores
from qupersync_loader.interface.migrating import migrate_all as migrate_loader
from qupersync_loader.settings import loader_settings
from qupersync_local.committed import CommittedState, Standing
from qupersync_local.compare import Comparison, compare_tables
from qupersync_local.compare_sides import PostgresSide
from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess, Services, configuration_for, plain_environment
from qupersync_local.stack import OUTBOX_ROLE, TARGET_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.contracts.subjects import stream_name
from qupersync_shared.kernel.errors import ConfigurationError, QupersyncError
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.runtime import bucket
from qupersync_shared.runtime.cli.status import misconfigured, status
from qupersync_shared.runtime.plugins import discover
from qupersync_shared.runtime.settings import load

# Nobody waits for so long where all is well. Several processes start meanwhile, on a machine that has other work.
PATIENCE_SECONDS = 120.0
BRISK = {
    "schedule": "continuous",
    "safety_lag": "500ms",
    "lookback": "6s",
    "lanes": 3,
    "page_rows": 500,
    "snapshot_every": None,
}
QUICK = {"extractor": {"lease": "3s"}, "loader": {"ack_wait": "5s"}}
COLUMNS = """
    id bigint NOT NULL, name varchar(100), amount numeric(18, 6), ratio double precision, tags super, day date,
    flag boolean, updated_at timestamp
"""
ROWS = """
    INSERT INTO {table}
    SELECT n, 'name ' || n || repeat(' ', (n % 3)::int), (n * 7919 % 1000003) / 1000.0, n / 7.0::double precision,
           CASE WHEN n % 5 <> 0 THEN ('{{"n": ' || n || ', "é": [1.50, null]}}')::super END,
           date '2024-01-01' + (n % 1000)::int, n % 2 = 0, {moment}
    FROM generate_series({first}::bigint, {last}::bigint) AS n
"""
_BROKEN = """
    SELECT lane, log, count(*), count(DISTINCT sequence), min(sequence), max(sequence) FROM qupersync.outbox
    GROUP BY lane, log HAVING count(*) <> max(sequence) OR count(DISTINCT sequence) <> max(sequence)
"""
_BEYOND = """
    SELECT DISTINCT e.sequence - o.sequence FROM qupersync.extraction AS e
    JOIN (SELECT max(sequence) AS sequence, log FROM qupersync.outbox GROUP BY lane, log) AS o ON o.log = e.log
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A pipeline `name` from `table` into `target`, and what a test does with it."""

    stack: ThreadedStack
    services: Services
    name: str
    table: str
    target: str
    source: asyncpg.Connection
    app: asyncpg.Connection
    committed: CommittedState
    key: list[str] = field(default_factory=lambda: ["id"])

    async def insert(self, first: int, last: int, *, moment: str = "timezone('UTC', transaction_timestamp())") -> None:
        await self.source.execute(ROWS.format(table=self.table, first=first, last=last, moment=moment))

    async def migrate(self) -> None:
        """What both `migrate` commands do, in this process: nearly every test begins so, and few are about it."""
        configuration = load(self.services.configuration, plain_environment())
        await migrate_extractor(configuration, path=str(self.services.configuration))
        await migrate_loader(loader_settings(configuration, path=str(self.services.configuration)))

    async def extract_once(self) -> None:
        """`qupersync-extractor run --once`, which must succeed."""
        await self._ends_well(self.services.add(f"once-{uuid4().hex[:6]}", EXTRACTOR, "run", "--once"))

    async def load(self, *, code: int = 0) -> None:
        """`qupersync-loader run --until-drained`, which must end with this exit code."""
        await self._ends_well(self.services.add(f"load-{uuid4().hex[:6]}", LOADER, "run", "--until-drained"), code)

    async def _ends_well(self, process: ServiceProcess, code: int = 0) -> None:
        await process.start()
        assert await process.wait(PATIENCE_SECONDS) == code, process.tail()
        del self.services.processes[process.name]

    async def trigger(self, mode: str = "snapshot") -> None:
        """What `qupersync trigger NAME --mode MODE` does, in this process: a command takes seconds to begin."""
        configuration = load(self.services.configuration, plain_environment())
        kept = stores(extractor_settings(configuration), application_name="qupersync-cli")
        try:
            await kept.operations.trigger([PipelineName(self.name)], ForcedMode(mode), by="test")
        finally:
            await kept.close()

    async def operate(self, *arguments: str, environment: Mapping[str, str] | None = None) -> "Answer":
        """A call of the `qupersync` command with this world's configuration."""
        return await command("qupersync", *arguments, config=self.services.configuration, environment=environment)

    async def status(self) -> dict[str, Any]:
        """What `qupersync status --json` prints, made here: a process for each look would hold up what is awaited."""
        try:
            configuration = load(self.services.configuration, plain_environment())
        except ConfigurationError as error:
            made = misconfigured(error)
        else:
            made = await status(configuration, _plugins())
        document: dict[str, Any] = json.loads(json.dumps(made, default=str))
        return document

    async def standing(self) -> Standing:
        return (await self.committed.look())[self.name]

    async def wait_for(
        self, what: str, reached: Callable[[Standing], bool], *, seconds_max: float = PATIENCE_SECONDS
    ) -> Standing:
        def both(seen: dict[str, Standing]) -> bool:
            return self.name in seen and reached(seen[self.name])

        return (await self.committed.wait_for(what, both, seconds_max=seconds_max, looked=self._looked))[self.name]

    async def wait_for_snapshot(self, before: str | None, *, seconds_max: float = PATIENCE_SECONDS) -> None:
        await self.committed.wait_for_snapshots({self.name: before}, seconds_max=seconds_max, looked=self._looked)

    async def _looked(self, _: object) -> None:
        self.services.check()

    async def compare(self, *, differences_max: int = 20) -> Comparison:
        return await compare_tables(
            PostgresSide(dsn=self.stack.stack.source.admin_dsn, table=self.table),
            PostgresSide(dsn=self.services_target_dsn, table=self.target),
            key=self.key,
            differences_max=differences_max,
        )

    @property
    def services_target_dsn(self) -> str:
        return str(self.configuration["target"]["dsn"])

    @property
    def configuration(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load(self.services.configuration.read_text("utf-8"))
        return loaded

    @property
    def outbox_dsn(self) -> str:
        return str(self.configuration["outbox"]["dsn"])

    async def assert_gap_free(self) -> None:
        """Promise O: every page of a log is there with an event for each lane, and its cursor with it."""
        outbox = await asyncpg.connect(self.outbox_dsn)
        try:
            broken = await outbox.fetch(_BROKEN)
            last = await outbox.fetch(_BEYOND)
        finally:
            await outbox.close()
        assert broken == []
        assert [row[0] for row in last] == [0]

    async def assert_equal(self, rows: int | None = None) -> None:
        """Source and target are equal, row by row."""
        compared = await self.compare()
        assert compared.same, "\n".join(map(str, compared.differences))
        assert rows is None or compared.equal == rows


@asynccontextmanager
async def opened(
    stack: ThreadedStack, *, columns: str | None = COLUMNS, pipeline: Mapping[str, Any] | None = None, **sections: Any
) -> AsyncIterator[World]:
    """A world of its own: pipeline, table and databases bear a fresh name. `pipeline` changes its configuration.

    Without `columns` the table is the caller's to make.
    """
    name = f"p{uuid4().hex[:8]}"
    outbox, app = f"outbox_{name}", f"app_{name}"
    await asyncio.to_thread(stack.create_database, outbox, owner=OUTBOX_ROLE)
    await asyncio.to_thread(stack.create_database, app, owner=TARGET_ROLE)
    described = {
        **stack.describe(),
        "outbox": {"dsn": stack.stack.dsn(OUTBOX_ROLE, outbox)},
        "target": {"dsn": stack.stack.dsn(TARGET_ROLE, app)},
    }
    table = f"billing.{name}"
    wanted = {
        "from": table,
        "into": f"public.{name}",
        "key": ["id"],
        "cursor": "updated_at",
        **BRISK,
        **(pipeline or {}),
    }
    configuration = configuration_for(
        described,
        {name: {option: value for option, value in wanted.items() if value != "absent"}},
        **{**QUICK, **sections},
    )
    source = await asyncpg.connect(
        stack.stack.source.owner_dsn, server_settings={"default_transaction_isolation": "read committed"}
    )
    try:
        if columns is not None:
            await source.execute(f"CREATE TABLE {table} ({columns})")
        target_dsn = str(configuration["target"]["dsn"])
        target = await asyncpg.connect(target_dsn)
        try:
            async with (
                Services.opened(configuration) as services,
                CommittedState.opened(
                    outbox_dsn=str(configuration["outbox"]["dsn"]), target_dsn=target_dsn, pipelines=[name]
                ) as committed,
            ):
                yield World(
                    stack=stack,
                    services=services,
                    name=name,
                    table=table,
                    target=str(wanted["into"]),
                    source=source,
                    app=target,
                    committed=committed,
                )
        finally:
            await target.close()
    finally:
        await source.close()
        await _forget(configuration["nats"], name)
        for database in (outbox, app):
            await asyncio.to_thread(stack.drop_database, database)


_plugins = cache(discover)


async def _forget(section: Mapping[str, Any], name: str) -> None:
    """The servers are the whole suite's: what killed processes left there would be missed by the next test's status."""
    secret = {key: section[key] for key in ("user", "password") if key in section}
    with suppress(nats.errors.Error, QupersyncError, OSError, TimeoutError):  # the test may have taken the server away
        client = await nats.connect(
            section["servers"], connect_timeout=2, allow_reconnect=False, error_cb=_silent, **secret
        )
        try:
            js = client.jetstream(timeout=5)
            for key in await bucket.read(client, ["process.>", "lane.>", "snapshot.>"]):
                if name in key or key.startswith("process."):
                    await bucket.remove(js, key)
            for stream in await js.streams_info():
                if (stream.config.name or "").startswith(stream_name(PipelineName(name))):
                    await js.delete_stream(stream.config.name)
        finally:
            await client.close()


async def _silent(_: Exception) -> None:
    """A server that is away was taken away by the test."""


class Peak:
    """The greatest memory each process was seen with."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.bytes: dict[str, int] = {}

    async def look(self) -> None:
        """Look until cancelled."""
        while True:
            self.look_once()
            await asyncio.sleep(0.1)

    def look_once(self) -> None:
        for name, process in self._world.services.processes.items():
            if process.running and process.lasting:
                with suppress(psutil.NoSuchProcess):  # it has ended since
                    used = psutil.Process(process.pid).memory_info().rss
                    self.bytes[name] = max(self.bytes.get(name, 0), used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str
    seconds: float


_MODULES = {
    "qupersync": ("-c", "from qupersync_shared.runtime.cli import main; main()"),
    "qupersync-extractor": ("-m", EXTRACTOR),
    "qupersync-loader": ("-m", LOADER),
}


async def command(
    name: str,
    *arguments: str,
    config: Path | None = None,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds_max: float = PATIENCE_SECONDS,
) -> Answer:
    """Run one of the three commands to its end."""
    given = {**plain_environment(), "NO_COLOR": "1", "COLUMNS": "200", **(environment or {})}
    if config is not None:
        given["QUPERSYNC_CONFIG"] = str(config)
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *_MODULES[name],
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env=given,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds_max)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Answer(code=process.returncode, out=out.decode(), err=err.decode(), seconds=time.monotonic() - began)


async def eventually(
    what: str,
    condition: Callable[[], Awaitable[bool]],
    *,
    seconds_max: float = PATIENCE_SECONDS,
    pause_seconds: float = 0.1,
) -> None:
    """Ask until it holds; fails with `what` when it takes too long."""
    end = time.monotonic() + seconds_max
    while not await condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(pause_seconds)


def assert_one_message(answer: Answer, *parts: str) -> None:
    """One clear message with these parts, and no traceback."""
    assert "Traceback" not in answer.out + answer.err
    errors = [line for line in answer.err.splitlines() if not line.startswith("{")]
    assert len(errors) <= 3, answer.err
    for part in parts:
        assert part in " ".join(errors), f"{part!r} is not in: {answer.err}"
