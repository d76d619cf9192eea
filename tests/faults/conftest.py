"""Every test here bears `fault(number)`; what it counts goes through `facts` into the report."""

from collections.abc import Iterator

import pytest
from tests.faults.reporting import FACTS

from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        of_the_suite = "/tests/faults/" in item.path.as_posix() and item.path.name != "test_catalogue.py"
        if of_the_suite and item.get_closest_marker("fault") is None:
            raise pytest.UsageError(f"{item.nodeid} does not say which fault it injects: mark it with fault(number)")


@pytest.fixture
def facts(request: pytest.FixtureRequest) -> dict[str, object]:
    """What the test has counted, for the report."""
    counted: dict[str, object] = {}
    request.node.stash[FACTS] = counted
    return counted


@pytest.fixture
def own_stack() -> Iterator[ThreadedStack]:
    """A stack that the test may kill, restore and fill; nobody else uses it."""
    with ThreadedStack(options=StackOptions(fast=True)) as stack:
        yield stack
