"""The report of a fault run: one line for each fault of the catalogue, printed and written."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.catalogue import FAULTS

PLACE: Final = Path("build/faults.md")


@dataclass(slots=True)
class Result:
    """How one test of a fault ended; `facts` are what it counted, such as rows or resends."""

    fault: int
    test: str
    outcome: str
    seconds: float
    reason: str = ""
    facts: dict[str, object] = field(default_factory=dict)


def table(results: Iterable[Result]) -> list[str]:
    """The report as the lines of a Markdown table; a fault without a test in this run has a line too."""
    by_fault: dict[int, list[Result]] = {number: [] for number in FAULTS}
    for result in results:
        by_fault[result.fault].append(result)
    lines = ["| # | fault | keeps | test | result | s | seen |", "|---|---|---|---|---|---|---|"]
    for number, fault in FAULTS.items():
        for one in by_fault[number] or [Result(number, "", "not run", 0.0)]:
            seen = one.reason or ", ".join(f"{name} {value}" for name, value in one.facts.items())
            cells = (number, fault.what, fault.keeps, one.test, one.outcome, f"{one.seconds:.1f}", seen)
            lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return lines
