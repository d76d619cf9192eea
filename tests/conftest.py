"""What every suite shares: one local stack for a whole run, on a thread of its own, so that any test may use it."""

import logging
import os
import random
import signal
from collections.abc import Iterator

import pytest

from qupersync_local.stack import OUTBOX_ROLE, TARGET_ROLE, StackOptions
from qupersync_local.threaded import ThreadedStack
from qupersync_shared.runtime.logs import QUIET

# Here, because what shares a run's tests among processes never reads the files of the suites itself.
pytest_plugins = ("tests.faults.reporting",)

# Runners that ignore these two (nohup, background jobs) would hand that down to every process that a test starts and
# signals. A handler, unlike "ignore", is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# Processes are started by the hundred: what one has compiled, the next one reads.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Randomised suites take their seed from here unless it is given; every run prints what would repeat it.
_SEEDS = ("QUPERSYNC_SIMULATION_SEED", "QUPERSYNC_E2E_SEED")
for _name in _SEEDS:
    os.environ.setdefault(_name, str(random.SystemRandom().randrange(1_000_000)))


def pytest_report_header() -> str:
    return "seeds: " + " ".join(f"{name}={os.environ[name]}" for name in _SEEDS)


@pytest.fixture(autouse=True)
def levels_as_before() -> Iterator[None]:
    """Commands that run in the tests' own process set what is logged: the next test hears again what it listens to."""
    before = {name: logging.getLogger(name).level for name in (None, *QUIET)}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def local_stack() -> Iterator[ThreadedStack]:
    with ThreadedStack(options=StackOptions(fast=True)) as stack:
        yield stack


@pytest.fixture(scope="session")
def outbox_template(local_stack: ThreadedStack) -> str:
    """A migrated outbox database; a copy of it per test is faster than migrating anew."""
    from qupersync_extractor.infrastructure.postgres.schema import migrate_outbox

    local_stack.create_database("outbox_template", owner=OUTBOX_ROLE)
    local_stack.call(migrate_outbox(local_stack.stack.dsn(OUTBOX_ROLE, "outbox_template")))
    return "outbox_template"


@pytest.fixture(scope="session")
def target_template(local_stack: ThreadedStack) -> str:
    """A migrated target database, likewise."""
    from qupersync_loader.infrastructure.postgres.schema import migrate_target

    local_stack.create_database("target_template", owner=TARGET_ROLE)
    local_stack.call(migrate_target(local_stack.stack.dsn(TARGET_ROLE, "target_template")))
    return "target_template"
