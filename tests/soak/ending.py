"""The end of a run: nobody helps, and everything becomes equal; then it is stopped in order and compared once more."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.e2e.world import command
from tests.soak.fleet import Fleet
from tests.soak.sampling import Database
from tests.soak.tables import SourceTable

from qupersync_local.compare import Comparison

_LOOK_SECONDS = 1.0
_STATUS_SECONDS_MAX = 90.0
_SHOWN_MAX = 5
_UNRESOLVED = """
    SELECT pipeline, count(*) AS n FROM (
        SELECT pipeline FROM public.qupersync_quarantine WHERE resolved_at IS NULL
        UNION ALL SELECT pipeline FROM public.qupersync_dead_letter WHERE resolved_at IS NULL
    ) AS waiting GROUP BY 1 ORDER BY 1
"""
# Partitions that were published and old are gone: what is left of a lane must still be without holes.
_HOLES = """
    SELECT pipeline, lane, log, max(sequence) - min(sequence) + 1 - count(DISTINCT sequence) AS holes
    FROM qupersync.outbox GROUP BY 1, 2, 3 HAVING max(sequence) - min(sequence) + 1 <> count(DISTINCT sequence)
"""


@dataclass(slots=True, kw_only=True)
class Ending:
    """What the comparison found, and what else was not as it must be."""

    equal_rows: int = 0
    differences: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Where source and target are read."""

    source_dsn: str
    target_dsn: str
    tables: Sequence[SourceTable]

    async def compare(self, tables: Sequence[SourceTable]) -> Mapping[str, Comparison]:
        return {table.name: await table.compare(self.source_dsn, self.target_dsn) for table in tables}


async def converge(sides: Sides, fleet: Fleet, target: Database, *, seconds_max: float, ending: Ending) -> None:
    """Wait until every pipeline is equal and nothing waits for a person; what is not by then is a failure."""
    began = time.monotonic()
    open_tables, waiting = list(sides.tables), ["not looked at yet"]
    while (open_tables or waiting) and time.monotonic() - began < seconds_max:
        await fleet.look_after()
        compared = await sides.compare(open_tables)
        open_tables = [table for table in open_tables if not compared[table.name].same]
        rows = await target.fetch(_UNRESOLVED)
        waiting = ["the target does not answer"] if rows is None else [f"{row['pipeline']}: {row['n']}" for row in rows]
        await asyncio.sleep(_LOOK_SECONDS)
    ending.seconds = time.monotonic() - began
    if waiting:
        ending.failures.append(f"rows or events still wait for a person after {seconds_max:g} s: {', '.join(waiting)}")


async def nothing_wrong(fleet: Fleet, ending: Ending) -> None:
    """`qupersync status` has nothing to complain of, at the latest when what died is forgotten."""
    end = time.monotonic() + _STATUS_SECONDS_MAX
    while True:
        answer = await command("qupersync", "status", "--json", config=fleet.services.configuration)
        try:
            reasons = json.loads(answer.out)["reasons"]
        except (ValueError, KeyError):
            reasons = [f"status ended with exit code {answer.code}: {answer.err[-300:]}"]
        if not reasons:
            return
        if time.monotonic() > end:
            ending.failures.append(f"status still complains at the end: {'; '.join(reasons[:_SHOWN_MAX])}")
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def judge(sides: Sides, outbox: Database, ending: Ending) -> None:
    """The last comparison, when no process runs any more."""
    for name, compared in (await sides.compare(sides.tables)).items():
        ending.equal_rows += compared.equal
        if not compared.same:
            ending.differences[name] = [str(one) for one in compared.differences]
    holes = await outbox.fetch(_HOLES)
    if holes is None:
        ending.failures.append("the outbox could not be looked at")
    ending.failures += [
        f"{row['pipeline']}, lane {row['lane']}: {row['holes']} sequences of log {row['log']} are missing"
        for row in (holes or ())[:_SHOWN_MAX]
    ]
