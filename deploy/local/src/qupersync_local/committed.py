"""What the services have committed, hop by hop, as their databases say: for progress, for waiting, for tests.

Reads the tables of both services, which only a tool that owns the whole stack may do; the services never do.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files

import asyncpg

from qupersync_local.supervise import StackError

LOOK_SECONDS = 0.1
_Point = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """Events and the rows in them that have passed a hop."""

    events: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One pipeline. `snapshot` is the last one that was extracted to its end, `whole` whether every lane applied it."""

    lanes: int
    log: int
    sequence: int
    snapshotting: bool
    trouble: str | None
    extracted: Hop
    published: Hop
    loaded: Hop
    snapshot: str | None
    whole: bool
    watermarks: Mapping[int, _Point]
    honest_time: datetime | None

    @property
    def level(self) -> bool:
        """Whether everything extracted so far is applied in every lane."""
        return len(self.watermarks) == self.lanes and set(self.watermarks.values()) == {(self.log, self.sequence)}


@dataclass(slots=True)
class _Seen:
    """Events of a pipeline's current log: (lane, sequence) → rows."""

    log: int = 0
    sequence: int = 0
    rows: dict[tuple[int, int], int] = field(default_factory=dict)
    snapshot: str | None = None

    def add(self, record: asyncpg.Record) -> None:
        if record["log"] != self.log:
            self.log, self.sequence, self.snapshot = record["log"], 0, None
            self.rows.clear()
        self.rows[record["lane"], record["sequence"]] = record["rows"]
        if record["sequence"] >= self.sequence:
            self.sequence = record["sequence"]
            self.snapshot = record["snapshot_ended"] or self.snapshot

    def passed(self, reached: Mapping[int, _Point]) -> Hop:
        """What lies at or before each lane's (log, sequence)."""
        events = rows = 0
        for (lane, sequence), count in self.rows.items():
            if (self.log, sequence) <= reached.get(lane, (0, 0)):
                events += 1
                rows += count
        return Hop(events=events, rows=rows)


class CommittedState:
    """A view of both databases; `look` is one reading of it."""

    def __init__(
        self, outbox: asyncpg.Connection, target: asyncpg.Connection, pipelines: Sequence[str], group: str
    ) -> None:
        self._outbox = outbox
        self._target = target
        self._pipelines = list(pipelines)
        self._group = group
        self._seen = {name: _Seen() for name in pipelines}

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, *, outbox_dsn: str, target_dsn: str, pipelines: Iterable[str], group: str = "main"
    ) -> AsyncIterator["CommittedState"]:
        """Connect to both databases until the block ends."""
        outbox = await asyncpg.connect(outbox_dsn, server_settings={"application_name": "qupersync-look"})
        try:
            target = await asyncpg.connect(target_dsn, server_settings={"application_name": "qupersync-look"})
            try:
                yield cls(outbox, target, tuple(pipelines), group)
            finally:
                await target.close()
        finally:
            await outbox.close()

    async def look(self) -> dict[str, Standing]:
        """Where the pipelines stand; those that no extractor has registered yet are absent.

        Reads against the stream: what is applied was published, and what is published was extracted.
        """
        watermarks = await self._target.fetch(_sql("standing_watermarks"), self._pipelines, self._group)
        relayed = await self._outbox.fetch(_sql("standing_relay"), self._pipelines)
        extractions = await self._outbox.fetch(_sql("standing_extraction"), self._pipelines)
        seen = [self._seen[name] for name in self._pipelines]
        for record in await self._outbox.fetch(
            _sql("standing_records"), self._pipelines, [one.log for one in seen], [one.sequence for one in seen]
        ):
            self._seen[record["pipeline"]].add(record)
        return {
            row["pipeline"]: self._standing(
                row,
                [one for one in watermarks if one["pipeline"] == row["pipeline"]],
                [one for one in relayed if one["pipeline"] == row["pipeline"]],
            )
            for row in extractions
        }

    def _standing(
        self, row: asyncpg.Record, watermarks: Sequence[asyncpg.Record], relayed: Sequence[asyncpg.Record]
    ) -> Standing:
        seen = self._seen[row["pipeline"]]
        applied = {one["lane"]: (one["log"], one["sequence"]) for one in watermarks}
        honest = [one["honest_time"] for one in watermarks]
        return Standing(
            lanes=row["lanes"],
            log=row["log"],
            sequence=row["sequence"],
            snapshotting=row["snapshotting"],
            trouble=row["trouble"],
            extracted=Hop(events=len(seen.rows), rows=sum(seen.rows.values())),
            published=seen.passed({one["lane"]: (one["log"], one["sequence"]) for one in relayed}),
            loaded=seen.passed(applied),
            snapshot=seen.snapshot,
            whole=seen.snapshot is not None
            and len(watermarks) == row["lanes"]
            and all(one["snapshot_whole"] == seen.snapshot for one in watermarks),
            watermarks=applied,
            honest_time=min(honest, default=None) if None not in honest else None,
        )

    async def wait_for(
        self,
        what: str,
        reached: Callable[[dict[str, Standing]], bool],
        *,
        seconds_max: float,
        looked: Callable[[dict[str, Standing]], Awaitable[None]] | None = None,
    ) -> dict[str, Standing]:
        """Look until `reached`; StackError that says where everything stands when it takes too long.

        `looked` is called after every look and may raise.
        """
        end = time.monotonic() + seconds_max
        while True:
            standing = await self.look()
            if looked is not None:
                await looked(standing)
            if reached(standing):
                return standing
            if time.monotonic() > end:
                raise StackError(f"{what} was not reached within {seconds_max:g} s: {_words(standing)}")
            await asyncio.sleep(LOOK_SECONDS)

    async def wait_for_snapshots(
        self,
        before: Mapping[str, str | None],
        *,
        seconds_max: float,
        looked: Callable[[dict[str, Standing]], Awaitable[None]] | None = None,
    ) -> dict[str, Standing]:
        """Look until every pipeline has applied, in all lanes, a whole snapshot other than the one in `before`."""

        def reached(standing: dict[str, Standing]) -> bool:
            return all(
                name in standing and standing[name].whole and standing[name].snapshot != snapshot
                for name, snapshot in before.items()
            )

        return await self.wait_for("a whole snapshot in the target", reached, seconds_max=seconds_max, looked=looked)


def _words(standing: Mapping[str, Standing]) -> str:
    def words(one: Standing) -> str:
        lag = f"{one.extracted.events} events extracted, {one.published.events} published, {one.loaded.events} loaded"
        under_way = ", a snapshot under way" if one.snapshotting else ""
        return f"{lag}{under_way}{f', trouble: {one.trouble}' if one.trouble else ''}"

    return "; ".join(f"{name}: {words(one)}" for name, one in standing.items()) or "no pipeline is registered"


def _sql(name: str) -> str:
    return (files(__package__) / "demo_sql" / f"{name}.sql").read_text("utf-8")
