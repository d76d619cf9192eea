"""Tests here start stacks of their own: they break them."""

from collections.abc import Iterator

import pytest

from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack


@pytest.fixture(scope="module")
def stack() -> Iterator[ThreadedStack]:
    with ThreadedStack(options=StackOptions(fast=True)) as started:
        yield started
