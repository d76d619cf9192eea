"""A database of the extractor's per test: empty, or a copy of a migrated one."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from qupersync_extractor.infrastructure.postgres.signals import PostgresSignals
from qupersync_local.stack import OUTBOX_ROLE
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.runtime.database import create_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/persistence" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def empty_dsn(local_stack: ThreadedStack) -> Iterator[str]:
    name = f"persistence_{uuid4().hex[:12]}"
    local_stack.create_database(name, owner=OUTBOX_ROLE)
    yield local_stack.stack.dsn(OUTBOX_ROLE, name)
    local_stack.drop_database(name)


@pytest.fixture
def outbox_dsn(local_stack: ThreadedStack, outbox_template: str) -> Iterator[str]:
    name = f"persistence_{uuid4().hex[:12]}"
    local_stack.create_database(name, owner=OUTBOX_ROLE, template=outbox_template)
    yield local_stack.stack.dsn(OUTBOX_ROLE, name)
    local_stack.drop_database(name)


@pytest.fixture
async def engine(outbox_dsn: str) -> AsyncIterator[AsyncEngine]:
    made = create_engine(outbox_dsn, application_name="qupersync-test", connections=6, lock_timeout_seconds=5)
    yield made
    await made.dispose()


@pytest.fixture
async def signals(outbox_dsn: str) -> AsyncIterator[PostgresSignals]:
    made = PostgresSignals(outbox_dsn)
    yield made
    await made.close()
