"""The processes of a run, and what is done to them: ended, killed, frozen, scaled; at the end all of them run."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from tests.soak.options import Options

from qupersync_local.services import EXTRACTOR, LOADER, ServiceProcess, Services
from qupersync_local.stack import LocalStack
from qupersync_local.supervise import StackError

_STOP_SECONDS_MAX = 60.0
_BEGIN_SECONDS_MAX = 20.0  # an interpreter that still imports ends by the signal itself, and has nothing to hand back
_ROLES = {"extractor": (EXTRACTOR, "extract"), "relay": (EXTRACTOR, "relay"), "loader": (LOADER, "run")}


class Fault(StrEnum):
    """What may happen to a process or a server."""

    KILL = "SIGKILL"
    FREEZE = "SIGSTOP"
    END = "SIGTERM"
    SCALE = "loaders scaled"
    NATS = "nats-server killed"
    POSTGRES = "PostgreSQL killed"


_WEIGHTS = {Fault.KILL: 45, Fault.FREEZE: 15, Fault.END: 15, Fault.SCALE: 13, Fault.NATS: 6, Fault.POSTGRES: 6}
_OF_SERVERS = {Fault.NATS: "nats-server", Fault.POSTGRES: "PostgreSQL"}


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Two extractors, two relays and a varying number of loaders; `failures` is what they did that they must not."""

    services: Services
    stack: LocalStack
    options: Options
    failures: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    started: Counter[str] = field(default_factory=Counter)
    members: dict[str, ServiceProcess] = field(default_factory=dict)
    _held: set[str] = field(default_factory=set)  # being hurt at this moment
    _lives: dict[str, tuple[float, int]] = field(default_factory=dict)  # when it began, and how long its log was then
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _loaders: int = 2

    # ------------------------------------------------------------------------------------------------- running

    async def start(self) -> None:
        """Start every process that should run."""
        for role, (module, argument) in _ROLES.items():
            for number in range(1, (self.options.loaders[1] if role == "loader" else 2) + 1):
                name = f"{role}-{number}"
                self.members[name] = self.services.add(name, module, argument)
        await asyncio.gather(*(self._start(process) for process in self.wanted))

    @property
    def wanted(self) -> list[ServiceProcess]:
        """The processes that should run now."""
        return [
            process
            for name, process in self.members.items()
            if role_of(name) != "loader" or number_of(name) <= self._loaders
        ]

    async def restart(self) -> None:
        """End every process in order and start it anew, with what the configuration says now."""
        await self.stop()
        await asyncio.gather(*(self._start(process) for process in self.wanted))

    async def stop(self) -> None:
        """Ask every process to end; one that does not end in order is a failure."""
        await asyncio.gather(*(self._end(process) for process in self.members.values() if process.running))

    async def mend(self) -> None:
        """Everything runs: servers first, then what was frozen or has ended."""
        await self.stack.nats.run()
        await self.stack.postgres.run()
        self._loaders = max(self._loaders, 2)
        for process in self.wanted:
            process.send(signal.SIGCONT)
            await self._start(process)

    async def look_after(self) -> None:
        """A process that ended by itself is a failure; it is started again, so that the run goes on."""
        for process in self.wanted:
            if process.name not in self._held and process.exit_code is not None:
                self.failures.append(
                    f"{process.name} ended by itself, exit code {process.exit_code}: {_end_of(process)}"
                )
                await self._start(process)

    async def _start(self, process: ServiceProcess) -> None:
        if not process.running:
            self.started[role_of(process.name)] += 1
            self._lives[process.name] = (time.monotonic(), _written(process))
        await process.start()

    async def _end(self, process: ServiceProcess) -> None:
        process.send(signal.SIGCONT)
        process.send(signal.SIGTERM)
        try:
            code = await process.wait(_STOP_SECONDS_MAX)
        except StackError:
            self.failures.append(
                f"{process.name} had not ended {_STOP_SECONDS_MAX:g} s after SIGTERM: {_end_of(process)}"
            )
            await process.kill()
            return
        started_at, written = self._lives[process.name]
        begun = time.monotonic() - started_at > _BEGIN_SECONDS_MAX or _written(process) > written
        if code != 0 and (begun or code != -signal.SIGTERM):
            self.failures.append(f"{process.name} ended with exit code {code} after SIGTERM: {_end_of(process)}")

    # -------------------------------------------------------------------------------------------------- hurting

    async def hurt(self, chance: random.Random, going: Callable[[], bool]) -> None:
        """One fault after the other until `going` says no. Frozen processes and servers away overlap with others."""
        async with asyncio.TaskGroup() as lasting:
            while going():
                await asyncio.sleep(chance.uniform(*self.options.rhythm.fault_pause))
                await self.look_after()
                fault = chance.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))[0]
                if going():
                    await self._do(fault, chance, lasting)
            self._over.set()

    async def _pause(self, seconds: float) -> None:
        """Sleeps, but not beyond the end of the faults."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    async def _do(self, fault: Fault, chance: random.Random, lasting: asyncio.TaskGroup) -> None:
        match fault:
            case Fault.SCALE:
                await self._scale(chance)
            case Fault.NATS | Fault.POSTGRES:
                if _OF_SERVERS[fault] not in self._held:
                    lasting.create_task(self._away(fault, chance.uniform(*self.options.rhythm.away)))
            case _:
                spared = self.options.spare_first and fault is not Fault.FREEZE
                victims = [
                    process
                    for process in self.wanted
                    if process.name not in self._held and not (spared and number_of(process.name) == 1)
                ]
                if victims:
                    victim = chance.choice(victims)
                    rhythm = self.options.rhythm
                    seconds = chance.uniform(*(rhythm.frozen if fault is Fault.FREEZE else (0.0, rhythm.away[1] / 2)))
                    lasting.create_task(self._strike(victim, fault, seconds))

    async def _strike(self, victim: ServiceProcess, fault: Fault, seconds: float) -> None:
        self.done[f"{role_of(victim.name)} {fault}"] += 1
        self._held.add(victim.name)
        try:
            if fault is Fault.FREEZE:
                victim.send(signal.SIGSTOP)
                await self._pause(seconds)
                victim.send(signal.SIGCONT)
                return
            await (victim.kill() if fault is Fault.KILL else self._end(victim))
            await self._pause(seconds)
            if victim in self.wanted:
                await self._start(victim)
        finally:
            self._held.discard(victim.name)

    async def _away(self, fault: Fault, seconds: float) -> None:
        """A server is killed and comes back."""
        self.done[str(fault)] += 1
        server = self.stack.nats if fault is Fault.NATS else self.stack.postgres
        self._held.add(_OF_SERVERS[fault])
        try:
            await server.kill()
            await self._pause(seconds)
        finally:
            await server.run()
            self._held.discard(_OF_SERVERS[fault])

    async def _scale(self, chance: random.Random) -> None:
        fewest, most = self.options.loaders
        if fewest == most:
            return
        self._loaders = chance.randint(fewest, most)
        self.done[str(Fault.SCALE)] += 1
        for name, process in self.members.items():
            if role_of(name) != "loader" or name in self._held:
                continue
            if number_of(name) <= self._loaders:
                await self._start(process)
            elif process.running:
                await self._end(process)

    def keep_logs(self) -> dict[str, str]:
        """What every process wrote, by its name."""
        logs = {}
        for process in self.members.values():
            with suppress(OSError):
                logs[process.name] = process.log.read_text("utf-8", errors="replace")
        return logs


def role_of(name: str) -> str:
    """`loader-3` → loader."""
    return name.rpartition("-")[0]


def number_of(name: str) -> int:
    """`loader-3` → 3."""
    return int(name.rpartition("-")[2])


def _written(process: ServiceProcess) -> int:
    return process.log.stat().st_size if process.log.exists() else 0


def _end_of(process: ServiceProcess) -> str:
    return process.tail()[-600:].strip()
