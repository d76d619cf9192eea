"""What happens on the cluster of the health demo: queries, vacuums, tables and nodes, as they really are.

System views and expectations are both made from this; neither from the other. The same seed makes the same world, but
for its moments, which lie around the time it is made at. All of them are UTC.
"""

import random
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from qupersync_local.demo_health_texts import SHAPES, Shape

DATABASE: Final = "dev"
_KEPT = timedelta(days=6)  # well within the seven days that the views keep
_AGED = timedelta(days=8)
_RESTED = timedelta(hours=1)  # nothing that was seeded ends later than so long ago
_APPLICATIONS: Final = ("dbt", "tableau", "psql", None)
_SESSIONS: Final = 24
_USERS: Final = {1: "rdsdb", 101: "analyst", 102: "loader", 103: "dashboards"}
_VACUUM_TYPES: Final = ("FULL", "Sort Only", "delete only", "REINDEX", "Recluster")
_PHASES: Final = ("Initialize", "Sort", "Merge", "Complete")
_DELETED: Final = ((0, 1), (1, 4), (1, 3), (1, 1), (3, 1))  # rows for visible ones: 0, 20, 25, 50 and 75 % of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """A session's number is taken into use (again) by this application, which may not say its name."""

    session: int
    at: datetime
    application: str | None


@dataclass(slots=True, kw_only=True)
class Query:
    """One query. `parts` are its child queries: blocks read, spilled on the node, and spilled remotely."""

    id: int
    user_id: int
    session: int
    shape: Shape
    number: int
    application: str | None
    started: datetime
    parts: tuple[tuple[int, int, int], ...]
    status: str = "running"
    ended: datetime | None = None
    queue_us: int = 0
    compile_us: int = 0
    returned: int = 0
    error: str | None = None

    @property
    def user_name(self) -> str:
        return _USERS[self.user_id]

    @property
    def text(self) -> str:
        return self.shape.text(self.number)

    @property
    def elapsed_us(self) -> int:
        return 0 if self.ended is None else (self.ended - self.started) // timedelta(microseconds=1)

    @property
    def execution_us(self) -> int:
        return self.elapsed_us - self.queue_us - self.compile_us if self.ended is not None else 0


@dataclass(slots=True, kw_only=True)
class Table:
    """A table of the cluster; `visible` rows really stand in it, `deleted` ones are only said to."""

    schema: str
    name: str
    sortkeys: tuple[str, ...]
    diststyle: str
    visible: int
    id: int = 0
    deleted: int = 0
    size_mb: int = 1
    unsorted: Decimal | None = None
    skew_rows: Decimal | None = None

    @property
    def on_every_node(self) -> bool:
        """Whether each node has all of it: there is nothing to be skewed then."""
        return "ALL" in self.diststyle


@dataclass(slots=True, kw_only=True)
class Vacuum:
    """One vacuum of one table; it goes through the phases while it runs."""

    transaction: int
    database: str
    table: Table
    kind: str
    automatic: bool
    started: datetime
    recorded: datetime
    phase: str = _PHASES[0]
    ended: datetime | None = None
    reclaimable_rows: int | None = None
    reclaimed_blocks: int | None = None


@dataclass(slots=True, kw_only=True)
class Node:
    """One compute node of a cluster with managed storage: the capacity is the cluster's."""

    id: int
    slices: int
    capacity_mb: int
    used_mb: int


@dataclass(slots=True, kw_only=True)
class Step:
    """What one moment brought."""

    begun: list[Query] = field(default_factory=list)
    finished: list[Query] = field(default_factory=list)
    vacuums_begun: list[Vacuum] = field(default_factory=list)
    vacuums_moved: list[Vacuum] = field(default_factory=list)
    aged: list[Query] = field(default_factory=list)
    vacuums_aged: list[Vacuum] = field(default_factory=list)
    grown: Table | None = None
    rows_added: int = 0


class World:
    """All of it, and what has become of it so far."""

    def __init__(self, *, queries: int, now: datetime, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._now = now
        self._next_query, self._next_transaction = 1_000, 500_000
        self.tables = _tables(self._random)
        self.empty = Table(schema="ops", name="never_filled", sortkeys=(), diststyle="AUTO(EVEN)", visible=0)
        self.nodes = [Node(id=number, slices=4, capacity_mb=1_048_576, used_mb=60_000) for number in range(3)]
        self.connectings = self._connect()
        self.queries = [self._past_query(_KEPT) for _ in range(queries)]
        self.too_old = [self._past_query(_KEPT, before=_AGED) for _ in range(max(2, queries // 50))]
        self.running = [self._query(now - timedelta(seconds=self._random.uniform(1, 600))) for _ in range(12)]
        self.vacuums = [self._past_vacuum(table) for table in self.tables for _ in range(4)]
        self.elsewhere = [self._past_vacuum(table, database="sales") for table in self.tables[:3]]
        self._may_age = [query for query in self.queries if query.user_id > 1]
        self._may_age.sort(key=lambda query: query.started, reverse=True)
        self._vacuums_may_age = sorted(self.vacuums, key=lambda vacuum: vacuum.started, reverse=True)

    def step(self, now: datetime) -> Step:
        """What happens at this moment."""
        chance = self._random
        done = Step(grown=chance.choice(self.tables), rows_added=12 * chance.randint(1, 5))
        for query in [query for query in self.running if chance.random() < 0.2]:  # noqa: PLR2004 - a fifth of them
            self._finish(query, now)
            self.running.remove(query)
            self.queries.append(query)
            done.finished.append(query)
        done.begun = [self._query(now) for _ in range(3)]
        self.running += done.begun
        for vacuum in [vacuum for vacuum in self.vacuums if vacuum.ended is None and chance.random() < 0.3]:  # noqa: PLR2004
            self._move(vacuum, now)
            done.vacuums_moved.append(vacuum)
        if chance.random() < 0.5:  # noqa: PLR2004 - every other time
            done.vacuums_begun.append(self._vacuum(chance.choice(self.tables), now))
            self.vacuums += done.vacuums_begun
        done.aged = [self._may_age.pop()] if len(self._may_age) > 1 else []
        done.vacuums_aged = [self._vacuums_may_age.pop()] if self._vacuums_may_age else []
        assert done.grown is not None
        self._grow(done.grown, done.rows_added)
        for node in self.nodes:
            node.used_mb += chance.randint(-50, 100)
        return done

    def _connect(self) -> list[Connecting]:
        """Each session's number is used three times, at random moments of the last days."""
        made = [
            Connecting(
                session=1_000 + session,
                at=self._now - timedelta(seconds=self._random.uniform(7_200, _KEPT.total_seconds())),
                application=self._random.choice(_APPLICATIONS),
            )
            for session in range(_SESSIONS)
            for _ in range(3)
        ]
        return sorted(made, key=lambda one: one.at)

    def _application(self, session: int, at: datetime) -> str | None:
        own = [one for one in self.connectings if one.session == session]
        place = bisect_right(own, at, key=lambda one: one.at)
        return own[place - 1].application if place else None

    def _query(self, started: datetime) -> Query:
        chance = self._random
        session = 1_000 + chance.randrange(_SESSIONS)
        self._next_query += chance.randint(1, 3)
        return Query(
            id=self._next_query,
            user_id=chance.choice(list(_USERS)),
            session=session,
            shape=chance.choice(SHAPES),
            number=chance.randrange(1, 10**6),
            application=self._application(session, started),
            started=started,
            parts=tuple(
                (chance.randrange(5_000), chance.choice((0, 0, chance.randrange(2_000))), chance.choice((0, 0, 7)))
                for _ in range(chance.randint(1, 3))
            ),
        )

    def _past_query(self, within: timedelta, *, before: timedelta = _RESTED) -> Query:
        started = self._now - before - timedelta(seconds=self._random.uniform(1_800, within.total_seconds() - 7_200))
        query = self._query(started)
        self._finish(query, started + timedelta(microseconds=self._random.randrange(1_000, 1_700_000_000)))
        return query

    def _finish(self, query: Query, at: datetime) -> None:
        chance = self._random
        query.ended = max(at, query.started)
        query.status = chance.choices(("success", "failed", "canceled"), (90, 7, 3))[0]
        query.queue_us = query.elapsed_us // chance.randint(3, 50)
        query.compile_us = query.elapsed_us // chance.randint(3, 90)
        query.returned = chance.randrange(100_000)
        query.error = "Query aborted: a disk was full" if query.status == "failed" else None

    def _vacuum(self, table: Table, started: datetime, *, database: str = DATABASE) -> Vacuum:
        self._next_transaction += 1
        return Vacuum(
            transaction=self._next_transaction,
            database=database,
            table=table,
            kind=self._random.choice(_VACUUM_TYPES),
            automatic=self._random.random() < 0.5,  # noqa: PLR2004 - every other one
            started=started,
            recorded=started,
            reclaimable_rows=self._random.choice((None, self._random.randrange(90_000))),
        )

    def _past_vacuum(self, table: Table, *, database: str = DATABASE) -> Vacuum:
        started = self._now - timedelta(seconds=self._random.uniform(7_200, _KEPT.total_seconds()))
        if database != DATABASE:  # later than all others: a mistaken join would show it
            started = self._now - timedelta(seconds=self._random.uniform(4_000, 7_000))
        vacuum = self._vacuum(table, started, database=database)
        while vacuum.ended is None:
            self._move(vacuum, vacuum.recorded + timedelta(milliseconds=self._random.randrange(1, 60_000)))
        return vacuum

    def _move(self, vacuum: Vacuum, now: datetime) -> None:
        vacuum.phase = _PHASES[_PHASES.index(vacuum.phase) + 1]
        vacuum.recorded = now
        vacuum.reclaimed_blocks = (vacuum.reclaimed_blocks or 0) + self._random.randrange(500)
        if vacuum.phase == _PHASES[-1]:
            vacuum.ended = now

    def _grow(self, table: Table, rows: int) -> None:
        table.visible += rows
        some, of = self._random.choice(_DELETED)
        table.deleted = table.visible * some // of  # visible rows come by the dozen
        table.size_mb += self._random.randrange(40)
        table.skew_rows = None if table.on_every_node else Decimal(self._random.randrange(100, 900)).scaleb(-2)
        if table.sortkeys:
            table.unsorted = Decimal(self._random.randrange(10_001)).scaleb(-2)


def _tables(chance: random.Random) -> list[Table]:
    made = [
        Table(
            schema=("billing", "ops", "public")[number % 3],
            name=f"health_{number:02}",
            sortkeys=() if number % 4 == 0 else ("at", "id")[: 1 + number % 2],
            diststyle=("KEY(id)", "EVEN", "AUTO(ALL)")[number % 3],
            visible=12 * chance.randint(1, 40),
        )
        for number in range(12)
    ]
    for table in made:
        table.unsorted = Decimal(0) if table.sortkeys else None
        table.skew_rows = None if table.on_every_node else Decimal(1)
        table.size_mb = chance.randrange(1, 90_000)
    return made
