"""`qupersync up`: the stack, and unless told otherwise the services, in the foreground until a signal."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qupersync_local.demo_sources import RedshiftDemo
from qupersync_local.demo_tables import redshift_pipelines
from qupersync_local.services import Services, configuration_for, control_section
from qupersync_local.stack import LocalStack
from qupersync_local.supervise import StackError
from qupersync_shared.kernel.errors import ConfigurationError
from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped
from qupersync_shared.runtime.settings import load

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What to run. `configuration` is a file whose pipelines take the place of the demo's."""

    configuration: Path | None = None
    stack_only: bool = False
    as_json: bool = False
    rows: int = 20_000


def run_up(options: UpOptions) -> int:
    """Run until SIGINT or SIGTERM; the exit code."""

    async def main(stop: Stop) -> int:
        try:
            await (_stack_only(options, stop) if options.stack_only else _everything(options, stop))
        except StackError as error:
            print(f"qupersync up: {error}", file=sys.stderr)  # noqa: T201
            return 1
        return 0

    return run_until_stopped(main)


async def _stack_only(options: UpOptions, stop: Stop) -> None:
    async with LocalStack.start() as stack:
        _announce(stack, as_json=options.as_json)
        await stop.wait()


async def _everything(options: UpOptions, stop: Stop) -> None:
    own = own_sections(options.configuration) if options.configuration is not None else None
    _say("starting PostgreSQL, NATS, the Redshift stand-in and the services", quiet=options.as_json)
    async with LocalStack.start() as stack, _services(stack, own) as services:
        if not stop.requested:
            if own is None or "source" not in own:
                await RedshiftDemo(stack=stack, size=options.rows, seed=1).fill()
            await services.migrate()
            await services.run()
            _announce(stack, as_json=options.as_json, services=services)
            async with _followed(services, quiet=options.as_json):
                while not await stop.wait(_LOOK_SECONDS):
                    services.check()
            _say("stopping", quiet=options.as_json)


@asynccontextmanager
async def _services(stack: LocalStack, own: Mapping[str, Any] | None) -> AsyncIterator[Services]:
    """Services whose configuration is the demo's, or the user's with this stack's addresses in it."""
    sections = dict(own) if own is not None else {"pipelines": redshift_pipelines()}
    configuration = configuration_for(stack.describe(), **{"pipelines": {}, **control_section(), **sections})
    async with Services.opened(configuration, directory=Path.cwd()) as services:
        load(services.configuration, environ={})
        yield services


def own_sections(path: Path) -> dict[str, Any]:
    """The user's file without its addresses (a DuckDB file stays the source); checked as a whole by the caller."""
    if not load(path).pipelines:
        raise ConfigurationError(
            "there is no pipeline in it", place=str(path), cure="Write one under `pipelines`, or `include: […]`"
        )
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    kept = {name: value for name, value in tree.items() if name not in {"outbox", "nats", "target", "source"}}
    source = tree.get("source")
    return {**kept, "source": source} if isinstance(source, dict) and source.get("kind") == "duckdb" else kept


def _announce(stack: LocalStack, *, as_json: bool, services: Services | None = None) -> None:
    described = stack.describe()
    if services is not None:
        described["configuration"] = str(services.configuration)
        described["logs"] = str(services.logs)
        described["page"] = services.page
    if as_json:
        print(json.dumps(described), flush=True)  # noqa: T201
        return
    for line in how_to_look(described):
        print(line)  # noqa: T201
    print("running; Ctrl-C stops everything", flush=True)  # noqa: T201


def how_to_look(described: Mapping[str, Any]) -> list[str]:
    """Addresses of a stack, one a line, as text to paste."""
    source = described["source"]
    address = f"{source['user']}:{source['password']}@{source['host']}:{source['port']}/{source['database']}"
    lines = [
        f"source (as Redshift)    redshift://{address}",
        f"source (load rows)      psql {described['source_postgresql']['dsn']}",
        f"outbox                  psql {described['outbox']['dsn']}",
        f"NATS                    {', '.join(described['nats']['servers'])}",
        f"target                  psql {described['target']['dsn']}",
    ]
    if described.get("page"):
        lines.append(f"status page             {described['page']}")
    if "configuration" in described:
        lines.append(f"look                    QUPERSYNC_CONFIG={described['configuration']} qupersync status")
        lines.append(f"logs                    {described['logs']}/*.log")
    return lines


@asynccontextmanager
async def _followed(services: Services, *, quiet: bool) -> AsyncIterator[None]:
    """Print what the services log, each line with the name of its process in front."""
    if quiet:
        yield
        return
    following = [
        asyncio.create_task(_follow(process.name, process.log))
        for process in services.processes.values()
        if process.running
    ]
    try:
        yield
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def _follow(name: str, log: Path) -> None:
    rest = ""
    with log.open(encoding="utf-8", errors="replace") as lines:
        while True:
            *whole, rest = (rest + lines.read()).split("\n")
            for line in whole:
                print(f"{name:9} | {line}", flush=True)  # noqa: T201
            await asyncio.sleep(_LOOK_SECONDS)


def _say(text: str, *, quiet: bool) -> None:
    if not quiet:
        print(text, flush=True)  # noqa: T201
