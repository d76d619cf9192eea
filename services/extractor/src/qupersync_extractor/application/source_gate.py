"""Before the source is read: maintenance is waited for, or ends the run, and the source budget gives a turn.

Where neither is configured, nobody stands here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import pyarrow as pa

from qupersync_extractor.application.ports import KeyList, ReadRequest, Source, SourceClock
from qupersync_extractor.application.source_turns import SourceTurns, Turn
from qupersync_extractor.application.stopping import StoppedError
from qupersync_extractor.domain.maintenance import Maintenance, Windows
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.domain.source_budget import Amount
from qupersync_shared.contracts.schema import Column
from qupersync_shared.kernel.clock import Clock
from qupersync_shared.kernel.ids import PipelineName
from qupersync_shared.kernel.positions import Scalar

LOOK_SECONDS: Final = 1.0
ONE_ANSWER: Final = Amount(rows=1, bytes=64)
"""What a question takes that the source answers with a number, however much it looks at for it."""


class MaintenanceError(StoppedError):
    """A run ends because nothing may be read now; what it has committed stays, and it is made when that is over."""


class Tell(Protocol):
    """Shows why a pipeline waits, and for how long it has (None: that long is as it should be); no reason: it waits no
    more.
    """

    def __call__(self, reason: str | None, seconds: float | None, /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The windows, by this machine's clock."""

    windows: Windows
    clock: Clock

    def now(self) -> Maintenance | None:
        """Whether nothing may be read now."""
        return self.windows.at(self.clock.now())

    def words(self) -> str | None:
        """What people are told while nothing may be read."""
        now: datetime = self.clock.now()
        found = self.windows.at(now)
        return None if found is None else f"{found.words(now)}: nothing is read from the source"


@dataclass(slots=True, kw_only=True)
class SourceGate:
    """One pipeline's way to the source. `ends_runs`: a maintenance window is no wait, but a MaintenanceError."""

    pipeline: PipelineName
    calendar: Calendar
    turns: SourceTurns | None
    tell: Tell
    ends_runs: bool
    _told: bool = field(default=False, init=False)

    async def open(self) -> None:
        """Returns outside maintenance; what costs the source next to nothing needs no more."""
        while (reason := self.calendar.words()) is not None:
            if self.ends_runs:
                raise MaintenanceError(reason)
            self._show(reason, None)
            await asyncio.sleep(LOOK_SECONDS)
        self._waits_no_more()

    @asynccontextmanager
    async def passed(self, expected: Amount) -> AsyncIterator[Turn | None]:
        """One read, which may take so much, outside maintenance and within the budget; None: nobody counts.

        Whoever is inside must be able to leave without passing another time.
        """
        while True:
            await self.open()
            if self.turns is None:
                yield None
                return
            turn = self.turns.ask(self.pipeline, expected)
            try:
                if await self._granted(turn):
                    yield turn
                    return
            finally:
                turn.end()

    async def _granted(self, turn: Turn) -> bool:
        """Whether the turn came before a maintenance window opened."""
        since = _seconds()
        try:
            while self.calendar.now() is None:
                await asyncio.wait((turn.granted,), timeout=LOOK_SECONDS)
                if turn.granted.done():
                    turn.granted.result()
                    return self.calendar.now() is None
                self._show(turn.held_up or "the source budget has not answered yet", _seconds() - since)
            return False
        finally:
            self._waits_no_more()

    def _show(self, reason: str, seconds: float | None) -> None:
        self._told = True
        self.tell(reason, seconds)

    def _waits_no_more(self) -> None:
        if self._told:
            self._told = False
            self.tell(None, None)


class Reads(Protocol):
    """What one passage allows: reads, one after the other."""

    async def read(self, request: ReadRequest) -> pa.RecordBatch: ...


@dataclass(frozen=True, slots=True)
class _Counted:
    source: Source
    turn: Turn | None

    async def read(self, request: ReadRequest) -> pa.RecordBatch:
        batch = await self.source.read(request)
        if self.turn is not None:
            self.turn.count(batch.num_rows, batch.nbytes)
        return batch


@dataclass(frozen=True, slots=True)
class GuardedSource:
    """The port `Source` behind a gate.

    Every statement that looks at rows takes a turn; columns and clock cost next to nothing, and only wait for
    maintenance to be over.
    """

    source: Source
    gate: SourceGate

    async def describe(self, relation: Relation) -> tuple[Column, ...]:
        await self.gate.open()
        return await self.source.describe(relation)

    async def clock(self) -> SourceClock:
        await self.gate.open()
        return await self.source.clock()

    async def highest(self, relation: Relation, column: Column) -> Scalar | None:
        async with self.gate.passed(ONE_ANSWER) as turn:
            found = await self.source.highest(relation, column)
            count(turn, ONE_ANSWER)
            return found

    async def count_nulls(self, relation: Relation, columns: Sequence[str]) -> dict[str, int]:
        async with self.gate.passed(ONE_ANSWER) as turn:
            found = await self.source.count_nulls(relation, columns)
            count(turn, ONE_ANSWER)
            return found

    async def count_duplicate_keys(self, relation: Relation, key: Sequence[str]) -> int:
        async with self.gate.passed(ONE_ANSWER) as turn:
            found = await self.source.count_duplicate_keys(relation, key)
            count(turn, ONE_ANSWER)
            return found

    async def read(self, request: ReadRequest) -> pa.RecordBatch:
        rows = len(request.range.keys) if isinstance(request.range, KeyList) else request.limit
        async with self.admitted(Amount(rows=rows)) as reads:
            return await reads.read(request)

    @asynccontextmanager
    async def admitted(self, expected: Amount) -> AsyncIterator[Reads]:
        """Reads of one page, however many statements it takes: what they take is booked at the end."""
        async with self.gate.passed(expected) as turn:
            yield _Counted(self.source, turn)

    async def close(self) -> None:
        await self.source.close()


def count(turn: Turn | None, amount: Amount) -> None:
    """Counts what a passage has taken, where somebody counts."""
    if turn is not None:
        turn.count(amount.rows, amount.bytes)


def _seconds() -> float:
    return asyncio.get_running_loop().time()
