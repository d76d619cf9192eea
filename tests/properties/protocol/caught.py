"""The teeth's record: how each broken rule was noticed, kept in `docs/simulation.md` and in `caught.json`.

`python -m tests.properties.protocol.caught` looks for every tooth anew and writes both (`… 3 17`: only these two).
A recorded schedule that still bites is kept: many were made smaller by hand than any that is drawn.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.properties.protocol.breaking import broken_rule
from tests.properties.protocol.play import play
from tests.properties.protocol.referee import BrokenPromiseError
from tests.properties.protocol.schedule import Schedule, schedules
from tests.properties.protocol.search import Failure, first_failure
from tests.properties.protocol.still import still
from tests.properties.protocol.teeth import TEETH, Tooth

RECORD: Final = Path(__file__).with_name("caught.json")
PAGE: Final = Path(__file__).parents[3] / "docs" / "simulation.md"
SEARCHED: Final = 1000
_BEGIN: Final = "<!-- teeth: written by `python -m tests.properties.protocol.caught` -->"
_END: Final = "<!-- end of the teeth -->"


@dataclass(frozen=True, slots=True)
class Caught:
    """After how many of the schedules that were drawn a broken rule was noticed (None: by none of them), by which
    promise's check, and a small schedule that shows it.
    """

    played: int | None
    drawn: int
    promise: str
    schedule: str


def search(tooth: Tooth, *, count: int, shrink: bool) -> Failure | None:
    drawn = schedules(faults=tooth.faults, pace=tooth.pace, **tooth.setting)
    with broken_rule(tooth.apply):
        return first_failure(drawn, count=count, number=0, shrink=shrink)


def bites(tooth: Tooth, schedule: Schedule) -> str | None:
    """What the referee says of the schedule with the rule broken; None if it does not notice."""
    with broken_rule(tooth.apply), still():
        try:
            play(schedule)
        except BrokenPromiseError as broken:
            return str(broken)
    return None


def recorded() -> dict[str, Caught]:
    """By what was broken."""
    return {how: Caught(**entry) for how, entry in json.loads(RECORD.read_text()).items()} if RECORD.exists() else {}


def table(record: dict[str, Caught]) -> str:
    lines = [
        "| rule (▸: marked in the design) | broken how | noticed by | schedules until then |",
        "|---|---|---|---|",
    ]
    for tooth in TEETH:
        caught = record[tooth.how]
        mark = "▸ " if tooth.marked else ""
        played = caught.played or f"> {caught.drawn}"
        lines.append(f"| {mark}{tooth.rule} | {tooth.how} | {caught.promise} | {played} |")
    return "\n".join(lines)


def written_table() -> str:
    """The table as it stands in the page."""
    return PAGE.read_text().partition(_BEGIN)[2].partition(_END)[0].strip()


def _write(record: dict[str, Caught]) -> None:
    entries = {
        tooth.how: {name: getattr(record[tooth.how], name) for name in Caught.__slots__}
        for tooth in TEETH
        if tooth.how in record
    }
    RECORD.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    if all(tooth.how in record for tooth in TEETH):
        before, _, rest = PAGE.read_text().partition(_BEGIN)
        PAGE.write_text(f"{before}{_BEGIN}\n\n{table(record)}\n\n{_END}{rest.partition(_END)[2]}")


def look(tooth: Tooth, known: Caught | None) -> Caught | None:
    """The tooth's record anew; None if nothing notices it."""
    found = search(tooth, count=SEARCHED, shrink=False)
    played = found.played if found is not None else None
    reason = bites(tooth, Schedule.parse(known.schedule)) if known is not None else None
    if known is not None and reason is not None:
        return Caught(played, SEARCHED, _promise(reason), known.schedule)
    found = search(tooth, count=SEARCHED, shrink=True)
    return None if found is None else Caught(found.played, SEARCHED, _promise(found.reason), str(found.schedule))


def _promise(reason: str) -> str:
    promise = reason.partition(":")[0]
    if promise == "defect":
        raise RuntimeError(f"the tooth itself is broken: {reason}")
    return promise


def main(numbers: list[int]) -> int:
    record = recorded()
    missed = 0
    for number, tooth in enumerate(TEETH):
        if numbers and number not in numbers:
            continue
        caught = look(tooth, record.get(tooth.how))
        missed += caught is None
        print(f"{number}: {tooth.how}: {caught or 'NOT NOTICED'}", flush=True)
        if caught is not None:
            record[tooth.how] = caught
            _write(record)
    return missed


if __name__ == "__main__":
    sys.exit(main([int(number) for number in sys.argv[1:]]))
