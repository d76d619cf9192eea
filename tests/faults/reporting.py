"""Gathers how the tests of faults ended, wherever they ran: in this process, or in those that share a run's tests."""

from collections.abc import Generator
from typing import Any, Final

import pytest
from tests.faults.catalogue import FAULTS
from tests.faults.report import PLACE, Result, table

FACTS: Final = pytest.StashKey[dict[str, object]]()


class FaultReport:
    """What a report of a test says of its faults travels with it to the process that prints them."""

    def __init__(self) -> None:
        self._results: dict[str, Result] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        marker = item.get_closest_marker("fault")
        if marker is not None:
            reason = ""
            if report.skipped and isinstance(report.longrepr, tuple):
                reason = report.longrepr[2].removeprefix("Skipped: ")
            seen = {name: str(value) for name, value in item.stash.get(FACTS, {}).items()}
            vars(report)["faults"] = {"numbers": list(marker.args), "test": item.name, "reason": reason, "seen": seen}
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = vars(report).get("faults")
        if told is None:
            return
        for number in told["numbers"]:
            assert number in FAULTS, f"there is no fault {number}"
            result = self._results.setdefault(
                f"{number} {report.nodeid}", Result(number, told["test"], report.outcome, 0.0)
            )
            result.seconds += report.duration
            if report.outcome != "passed":
                result.outcome, result.reason = report.outcome, told["reason"]
            result.facts = told["seen"]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._results:
            return
        lines = table(self._results.values())
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
        PLACE.parent.mkdir(exist_ok=True)
        PLACE.write_text("\n".join(["# Faults: the last run", "", *lines, ""]), encoding="utf-8")
        terminalreporter.write_line(f"written to {PLACE}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FaultReport(), "faults")
