"""What every suite shares: one local stack for a whole run, on a thread of its own, so that any test may use it."""

from collections.abc import Iterator

import pytest

from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack


@pytest.fixture(scope="session")
def local_stack() -> Iterator[ThreadedStack]:
    with ThreadedStack(options=StackOptions(fast=True)) as stack:
        yield stack
