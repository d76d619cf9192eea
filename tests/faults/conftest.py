"""Every test here bears `fault(number)`; what it counts goes through `facts` into the report."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest
from tests.faults.catalogue import FAULTS
from tests.faults.report import PLACE, Result, table

from qupersync_local.stack import StackOptions
from qupersync_local.threaded import ThreadedStack

_RESULTS = pytest.StashKey[dict[str, Result]]()
_FACTS = pytest.StashKey[dict[str, object]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        of_the_suite = "/tests/faults/" in item.path.as_posix() and item.path.name != "test_catalogue.py"
        if of_the_suite and item.get_closest_marker("fault") is None:
            raise pytest.UsageError(f"{item.nodeid} does not say which fault it injects: mark it with fault(number)")


@pytest.fixture
def facts(request: pytest.FixtureRequest) -> dict[str, object]:
    """What the test has counted, for the report."""
    counted: dict[str, object] = {}
    request.node.stash[_FACTS] = counted
    return counted


@pytest.fixture
def own_stack() -> Iterator[ThreadedStack]:
    """A stack that the test may kill, restore and fill; nobody else uses it."""
    with ThreadedStack(options=StackOptions(fast=True)) as stack:
        yield stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("fault")
    if marker is not None:
        results = item.config.stash.setdefault(_RESULTS, {})
        reason = ""
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
        for number in marker.args:
            assert number in FAULTS, f"there is no fault {number}"
            name = f"{number} {item.nodeid}"
            result = results.setdefault(name, Result(number, item.name, report.outcome, 0.0))
            result.seconds += report.duration
            if report.outcome != "passed":
                result.outcome, result.reason = report.outcome, reason
            result.facts = item.stash.get(_FACTS, {})
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    results = config.stash.get(_RESULTS, {})
    if not results:
        return
    lines = table(results.values())
    terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text("\n".join(["# Faults: the last run", "", *lines, ""]), encoding="utf-8")
    terminalreporter.write_line(f"written to {PLACE}")
