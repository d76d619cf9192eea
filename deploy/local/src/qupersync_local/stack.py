"""The local stack: one PostgreSQL for outbox and target, a Redshift stand-in with its own, and NATS."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qupersync_local.nats import LocalNats
from qupersync_local.postgres import LocalPostgres, StopMode
from qupersync_local.standin.source import RedshiftStandin, StandinOptions
from qupersync_local.supervise import WorkDirectory

OUTBOX_DATABASE, OUTBOX_ROLE = "qupersync", "qupersync_extractor"
TARGET_DATABASE, TARGET_ROLE = "app", "qupersync_loader"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What the stack is like. `fast` gives up durability for speed: for tests only."""

    fast: bool = False
    standin: StandinOptions = field(default_factory=StandinOptions)
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    nats_settings: Mapping[str, object] = field(default_factory=dict)
    payload_bytes_max: int = 1_048_576


class LocalStack:
    """Everything qupersync needs. Each piece may be stopped, killed and run again by itself, on the same port."""

    def __init__(
        self, *, work: WorkDirectory, postgres: LocalPostgres, source: RedshiftStandin, nats: LocalNats
    ) -> None:
        self.directory = work.path
        self.postgres = postgres
        self.source = source
        self.nats = nats
        self._passwords = {OUTBOX_ROLE: secrets.token_urlsafe(18), TARGET_ROLE: secrets.token_urlsafe(18)}

    @classmethod
    @asynccontextmanager
    async def start(
        cls, directory: Path | None = None, *, options: StackOptions | None = None
    ) -> AsyncIterator["LocalStack"]:
        """Run the stack until the block ends, in a directory of its own below `directory`, which is removed then."""
        work = WorkDirectory.create(directory)
        try:
            stack = await cls._create(work, options or StackOptions())
            try:
                await stack.run()
                yield stack
            finally:
                await stack.stop()
        finally:
            work.close()

    @classmethod
    async def _create(cls, work: WorkDirectory, options: StackOptions) -> "LocalStack":
        postgres, source = await asyncio.gather(
            LocalPostgres.create(work=work, name="postgres", fast=options.fast, settings=options.postgres_settings),
            RedshiftStandin.create(work=work, options=options.standin, fast=options.fast),
        )
        nats = LocalNats.create(work=work, payload_bytes_max=options.payload_bytes_max, settings=options.nats_settings)
        return cls(work=work, postgres=postgres, source=source, nats=nats)

    async def run(self) -> None:
        """Start every piece; `start` does it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.nats.run())
            group.create_task(self.source.run())
            group.create_task(self._run_postgres())

    async def _run_postgres(self) -> None:
        await self.postgres.run()
        for role, database in ((OUTBOX_ROLE, OUTBOX_DATABASE), (TARGET_ROLE, TARGET_DATABASE)):
            await self.postgres.create_role(role, self._passwords[role])
            await self.postgres.create_database(database, owner=role)
            await self.postgres.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')

    async def stop(self) -> None:
        """Stop every piece at once: nothing is kept, so nothing needs to be written."""
        await asyncio.gather(
            self.nats.kill(), self.source.stop(StopMode.IMMEDIATE), self.postgres.stop(StopMode.IMMEDIATE)
        )

    def dsn(self, role: str, database: str) -> str:
        """The DSN of another database in the server of outbox and target, as one of the two roles."""
        return self.postgres.dsn(database, role, self._passwords[role])

    @property
    def outbox_dsn(self) -> str:
        return self.dsn(OUTBOX_ROLE, OUTBOX_DATABASE)

    @property
    def target_dsn(self) -> str:
        return self.dsn(TARGET_ROLE, TARGET_DATABASE)

    def describe(self) -> dict[str, Any]:
        """Where everything is, as plain values; the sections fit into qupersync.yaml."""
        source = self.source
        return {
            "source": {
                "kind": "redshift",
                "host": "localhost" if source.certificate else source.host,
                "port": source.port,
                "database": source.database,
                "user": source.user,
                "password": source.password,
                "sslmode": "verify-full" if source.certificate else "disable",
            },
            "source_postgresql": {"dsn": source.admin_dsn},
            "source_faults": {"socket": None if source.admin.path is None else str(source.admin.path)},
            "outbox": {"dsn": self.outbox_dsn},
            "nats": {"servers": [self.nats.url]},
            "target": {"dsn": self.target_dsn},
            "postgresql": {"dsn": self.postgres.dsn("postgres")},
            "directory": str(self.directory),
        }
