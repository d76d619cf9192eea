"""The services as processes of their own, and the configuration file that joins them to a local stack."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from qupersync_local.supervise import Child, StackError, WorkDirectory, port_or_free
from qupersync_shared.runtime.settings.control import CONTROL_PORT

EXTRACTOR = "qupersync_extractor.main"
LOADER = "qupersync_loader.main"
_OPERATOR = "from qupersync_shared.runtime.cli import main; main()"
_CONNECTIONS = ("source", "outbox", "nats", "target")
_STOP_SECONDS_MAX = 30.0
_MIGRATE_SECONDS_MAX = 120.0


class ServiceProcess:
    """One process of a service: may be started, stopped, killed and started again; its log is one file."""

    def __init__(
        self,
        *,
        name: str,
        argv: tuple[str, ...],
        work: WorkDirectory,
        environment: Mapping[str, str],
        directory: Path,
        lasting: bool,
    ) -> None:
        self.name = name
        self.lasting = lasting
        self.log = work.path / f"{name}.log"
        self._argv = argv
        self._work = work
        self._environment = dict(environment)
        self._directory = directory
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise StackError(f"{self.name} is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or before it was started."""
        return None if self._child is None else self._child.exit_code

    async def start(self) -> None:
        """Start it unless it runs."""
        if not self.running:
            self._child = await Child.spawn(
                *self._argv,
                name=self.name,
                log=self.log,
                work=self._work,
                environment=self._environment,
                directory=self._directory,
            )

    async def wait(self, seconds_max: float) -> int:
        """The exit code when it has ended by itself; StackError with its last words when it takes too long."""
        assert self._child is not None, "start it first"
        try:
            return await asyncio.wait_for(self._child.wait(), seconds_max)
        except TimeoutError:
            raise StackError(f"{self.name} has not ended within {seconds_max:g} s: {self.tail()}") from None

    async def stop(self) -> int | None:
        """Ask it to end, insist after half a minute; the exit code."""
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, grace_seconds=_STOP_SECONDS_MAX)
        return self.exit_code

    async def kill(self) -> None:
        """End it as a crash would."""
        if self._child is not None:
            await self._child.stop(signal.SIGKILL, grace_seconds=5)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._child is not None:
            self._child.send(number)

    def tail(self) -> str:
        """The end of its log, for messages."""
        return "" if self._child is None else self._child.tail()


class Services:
    """Processes that share one configuration file. They end with the block that made them, whatever ends it."""

    def __init__(
        self,
        *,
        work: WorkDirectory,
        configuration: Path,
        directory: Path,
        environment: Mapping[str, str],
        page: str | None,
    ) -> None:
        self.configuration = configuration
        self.page = page
        self.logs = work.path
        self.processes: dict[str, ServiceProcess] = {}
        self._work = work
        self._directory = directory
        self._environment = {**environment, "QUPERSYNC_CONFIG": str(configuration), "PYTHONUNBUFFERED": "1"}

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        configuration: Mapping[str, Any],
        *,
        directory: Path | None = None,
        parent: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> AsyncIterator["Services"]:
        """Write the configuration into a directory of our own below `parent`; `directory` is where processes run."""
        work = WorkDirectory.create(parent)
        try:
            place = work.path / "qupersync.yaml"
            write_configuration(place, configuration)
            services = cls(
                work=work,
                configuration=place,
                directory=directory or work.path,
                environment=plain_environment() if environment is None else environment,
                page=page_address(configuration),
            )
            try:
                yield services
            finally:
                await services.stop()
        finally:
            work.close()

    def add(
        self, name: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> ServiceProcess:
        """Name a process that runs a module with arguments; it is not started yet."""
        lasting = arguments[:1] != ("migrate",)
        return self._add(name, (sys.executable, "-m", module, *arguments), environment, lasting=lasting)

    def operate(self, name: str, *arguments: str) -> ServiceProcess:
        """Name a call of the `qupersync` command; it is not started yet, and expected to end."""
        return self._add(name, (sys.executable, "-c", _OPERATOR, *arguments), None, lasting=False)

    def _add(
        self, name: str, argv: tuple[str, ...], environment: Mapping[str, str] | None, *, lasting: bool
    ) -> ServiceProcess:
        process = ServiceProcess(
            name=name,
            argv=argv,
            work=self._work,
            environment={**self._environment, **(environment or {})},
            directory=self._directory,
            lasting=lasting,
        )
        self.processes[name] = process
        return process

    async def migrate(self) -> None:
        """Bring the outbox database, streams, target and consumers up to date; StackError when one refuses."""
        steps = [self.add(f"{name}-migrate", module, "migrate") for name, module in _SERVICES]
        for step in steps:
            await step.start()
            code = await step.wait(_MIGRATE_SECONDS_MAX)
            if code != 0:
                raise StackError(f"{step.name} ended with exit code {code}: {step.tail()}")

    async def run(self, *, loaders: int = 1) -> None:
        """Start the extractor (with its relay) and the loaders."""
        self.add("extractor", EXTRACTOR, "run")
        for number in range(1, loaders + 1):
            self.add("loader" if loaders == 1 else f"loader-{number}", LOADER, "run")
        for process in self.processes.values():
            if process.lasting:
                await process.start()

    def check(self) -> None:
        """StackError with its last words when a process that should run has ended."""
        for process in self.processes.values():
            if process.lasting and process.exit_code is not None:
                raise StackError(
                    f"{process.name} has ended with exit code {process.exit_code}; its log ends with:\n{process.tail()}"
                )

    async def stop(self) -> None:
        """Stop every process at once."""
        await asyncio.gather(*(process.stop() for process in self.processes.values()))


_SERVICES = (("extractor", EXTRACTOR), ("loader", LOADER))


def configuration_for(described: Mapping[str, Any], pipelines: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """The content of a qupersync.yaml for a stack (its `describe()`), with further or other `sections`."""
    return {**{name: described[name] for name in _CONNECTIONS}, "pipelines": dict(pipelines), **sections}


def control_section() -> dict[str, Any]:
    """The section that has the extractor answer API and page on this machine: at the usual port, or at a free one."""
    return {"control": {"host": "127.0.0.1", "port": port_or_free(CONTROL_PORT)}}


def page_address(configuration: Mapping[str, Any]) -> str | None:
    """Where a browser finds the status page, if there is one."""
    section = configuration.get("control")
    if section is None:
        return None
    return f"http://{section.get('host', '127.0.0.1')}:{section.get('port', CONTROL_PORT)}/"


def write_configuration(path: Path, configuration: Mapping[str, Any]) -> None:
    """Write it as YAML that only we may read: it holds the stack's passwords."""
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True), encoding="utf-8")


def plain_environment() -> dict[str, str]:
    """Our environment without settings of qupersync, which belong to some other installation."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QUPERSYNC_")}
