"""24: a credential is revoked while the pipeline runs, and valid again later. Nobody restarts anything."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest
import yaml
from tests.e2e.world import World, opened
from tests.faults.all_well import all_well
from tests.faults.watching import OLD, drained, parked, shown

from qupersync_local.postgres import LocalPostgres
from qupersync_local.stack import OUTBOX_ROLE, TARGET_ROLE, StackOptions
from qupersync_local.threaded import ThreadedStack

pytestmark = [pytest.mark.faults, pytest.mark.fault(24), pytest.mark.integration]
USER, PASSWORD = "sync", "valid-for-now"


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_when_the_credential_for_redshift_is_revoked_and_renewed(
    own_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    source = own_stack.stack.source

    async def change(password: str) -> None:
        await asyncio.to_thread(own_stack.call, source.set_password(password))
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{source.user}'"
        await asyncio.to_thread(own_stack.call, source.postgres.execute(end))

    async with opened(own_stack) as world:
        await _through(
            world,
            revoke=lambda: change("another"),
            renew=lambda: change(source.password),
            told=("source.password",),
            facts=facts,
        )


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_when_the_credential_for_the_outbox_is_revoked_and_renewed(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world, _login(world, "outbox", OUTBOX_ROLE) as login:
        await _through(world, revoke=login.revoke, renew=login.renew, told=("password",), facts=facts)


@pytest.mark.timeout(400)
async def test_no_loss_when_the_credential_for_the_target_is_revoked_and_renewed(
    local_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    async with opened(local_stack) as world, _login(world, "target", TARGET_ROLE) as login:
        await _through(world, revoke=login.revoke, renew=login.renew, told=("password",), facts=facts)


@pytest.fixture
def guarded_stack() -> Iterator[ThreadedStack]:
    """A stack whose NATS server asks for a password."""
    users = {"authorization": {"users": [{"user": USER, "password": PASSWORD}]}}
    with ThreadedStack(options=StackOptions(fast=True, nats_settings=users)) as stack:
        yield stack


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_loss_when_the_credential_for_nats_is_revoked_and_renewed(
    guarded_stack: ThreadedStack, facts: dict[str, object]
) -> None:
    server = guarded_stack.stack.nats
    file = server.directory / "nats.conf"
    written = await asyncio.to_thread(file.read_text, "utf-8")

    async def change(password: str) -> None:
        told = json.loads(written)
        told["authorization"]["users"][0]["password"] = password
        await asyncio.to_thread(file.write_text, json.dumps(told), "utf-8")
        os.kill(server.pid, signal.SIGHUP)  # it reads its file again, and ends connections that are not valid any more

    nats = {"servers": [server.url], "user": USER, "password": PASSWORD}
    async with opened(guarded_stack, nats=nats) as world:
        await _through(
            world,
            revoke=lambda: change("another"),
            renew=lambda: change(PASSWORD),
            told=("refuses the credentials",),
            facts=facts,
        )


async def _through(
    world: World,
    *,
    revoke: Callable[[], Awaitable[None]],
    renew: Callable[[], Awaitable[None]],
    told: tuple[str, ...],
    facts: dict[str, object],
) -> None:
    await world.insert(1, 300, moment=OLD)
    await world.migrate()
    await world.services.run()
    await drained(world, 300)
    await revoke()
    await world.insert(301, 500)
    reason = await shown(world, *told)
    assert await world.app.fetchval(f"SELECT count(*) FROM {world.target}") == 300, "the credential was still taken"
    await renew()
    await drained(world, 500)
    assert await parked(world) == (0, 0)
    await all_well(world)
    facts |= {"rows": 500, "reason": reason[:160]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Login:
    """A role of its own for what connects to one database."""

    name: str
    postgres: LocalPostgres
    stack: ThreadedStack

    async def revoke(self) -> None:
        """Its password is another one, and its sessions are ended."""
        await self.run(f"ALTER ROLE {self.name} PASSWORD 'another'")
        await self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{self.name}'")

    async def renew(self) -> None:
        await self.run(f"ALTER ROLE {self.name} PASSWORD '{PASSWORD}'")

    async def run(self, script: str) -> None:
        await asyncio.to_thread(self.stack.call, self.postgres.execute(script))


@asynccontextmanager
async def _login(world: World, part: str, role: str) -> AsyncIterator[_Login]:
    """The services reach outbox or target as a role that has the rights of `role`, and a password of its own."""
    login = _Login(name=f"{part}_{uuid4().hex[:8]}", postgres=world.stack.stack.postgres, stack=world.stack)
    await login.run(
        f"CREATE ROLE {login.name} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role};"
        f"ALTER ROLE {login.name} SET role = '{role}'"
    )
    tree = world.configuration
    database = tree[part]["dsn"].rpartition("/")[2]
    tree[part]["dsn"] = login.postgres.dsn(database, login.name, PASSWORD)
    world.services.configuration.write_text(yaml.safe_dump(tree), encoding="utf-8")
    try:
        yield login
    finally:
        await world.services.stop()
        await login.revoke()
        await login.run(f"DROP ROLE {login.name}")
