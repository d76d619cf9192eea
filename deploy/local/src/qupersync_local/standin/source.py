"""The stand-in as a whole: PostgreSQL behind, catalogue, roles, front and the ways to order faults."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg

from qupersync_local.postgres import LocalPostgres, StopMode, identifier, literal
from qupersync_local.standin.admin import AdminServer
from qupersync_local.standin.catalogue import Profile, grants, make_catalogue, redshift_types
from qupersync_local.standin.certificate import make_certificate, server_context
from qupersync_local.standin.faults import FaultBook
from qupersync_local.standin.front import Front
from qupersync_local.supervise import WorkDirectory

DATABASE = "dev"
OWNER = "warehouse"
READER = "qupersync_sync"

_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "allow_system_table_mods": "on",
        "default_transaction_isolation": "repeatable read",
        "datestyle": "ISO, MDY",
        "md5_password_warnings": "off",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandinOptions:
    """How the stand-in plays Redshift. `system_grants` lets the reading role see all system views."""

    protocol: int = 2
    tls: bool = False
    profile: Profile = Profile.PROVISIONED
    system_grants: bool = True


class RedshiftStandin:
    """A Redshift to read from. Data is loaded by plain PostgreSQL through `admin_dsn`."""

    def __init__(self, *, postgres: LocalPostgres, work: WorkDirectory, options: StandinOptions) -> None:
        self.postgres = postgres
        self.options = options
        self.database = DATABASE
        self.user = READER
        self.password = secrets.token_urlsafe(18)
        self.faults = FaultBook()
        self.certificate: Path | None = None
        self.front = Front(behind=postgres, book=self.faults, types={}, protocol=options.protocol)
        self.admin = AdminServer(self.faults, work.path / "faults.sock")
        self._owner_password = secrets.token_urlsafe(18)
        self._directory = work.path
        self._made = False

    @classmethod
    async def create(
        cls,
        *,
        work: WorkDirectory,
        options: StandinOptions,
        fast: bool = False,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> "RedshiftStandin":
        """Make the data directory of the server behind, without starting it."""
        postgres = await LocalPostgres.create(
            work=work,
            name="source",
            settings={**_SETTINGS, **settings},
            fast=fast,
            authentication="md5",  # as a cluster asks for; the driver stumbles over PostgreSQL's SCRAM
        )
        return cls(postgres=postgres, work=work, options=options)

    @property
    def host(self) -> str:
        return self.front.host

    @property
    def port(self) -> int:
        return self.front.port

    @property
    def admin_dsn(self) -> str:
        """PostgreSQL behind the front, as superuser: for loading data and for looking behind the scenes."""
        return self.postgres.dsn(self.database)

    @property
    def owner_dsn(self) -> str:
        """PostgreSQL behind the front, as the role that owns the schemas and tables."""
        return self.postgres.dsn(self.database, OWNER, self._owner_password)

    def connection(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments for `redshift_connector.connect`."""
        return {
            "host": "localhost" if self.certificate else self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password,
            **({"ssl": True, "sslmode": "verify-full"} if self.certificate else {"ssl": False}),
            **changes,
        }

    async def run(self) -> None:
        """Start the server behind and the front; the first time also make database, catalogue and roles."""
        await self.postgres.run()
        if not self._made:
            await self._make()
            self._made = True
        if self.options.tls and self.certificate is None:
            self.certificate = await make_certificate(self._directory)
            self.front.tls = server_context(self.certificate)
        await self.front.run()
        await self.admin.run()

    async def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop front and server; the data stays for the next `run`, on the same ports."""
        await self.admin.stop()
        await self.front.stop()
        await self.postgres.stop(mode)

    async def kill(self) -> None:
        """As a crash of the cluster: connections break and the server behind dies."""
        await self.admin.stop()
        await self.front.stop()
        await self.postgres.kill()

    async def restart(self) -> None:
        """Stop if running, then run again on the same port with the same data."""
        await self.stop()
        await self.run()

    async def _make(self) -> None:
        await asyncio.gather(
            self.postgres.create_role(OWNER, self._owner_password), self.postgres.create_role(self.user, self.password)
        )
        await self.postgres.create_database(self.database)
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            async with connection.transaction():
                await make_catalogue(connection, self.options.profile)
                await connection.execute(_roles(self.database, self.user))
                if self.options.system_grants:
                    await connection.execute(grants(identifier(self.user), self.options.profile))
            self.front.types.update(await redshift_types(connection))
        finally:
            await connection.close()

    async def set_password(self, password: str) -> None:
        """Change the reading role's password at the server only: what clients hold is refused from now on."""
        await self.postgres.execute(f"ALTER ROLE {identifier(self.user)} PASSWORD {literal(password)}")


def _roles(database: str, reader: str) -> str:
    """Schemas of the owner, and the reader's grants on what is there and what is yet to come."""
    name = identifier(reader)
    script = f"""
        GRANT CREATE, TEMPORARY ON DATABASE {identifier(database)} TO {OWNER};
        GRANT CREATE, USAGE ON SCHEMA public TO {OWNER};
        CREATE SCHEMA billing AUTHORIZATION {OWNER};
        CREATE SCHEMA ops AUTHORIZATION {OWNER};
        GRANT USAGE ON SCHEMA billing, ops, public TO {name};
    """
    return script + "".join(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {maker} IN SCHEMA billing, ops, public GRANT SELECT ON TABLES TO {name};"
        for maker in (OWNER, "postgres")
    )
