"""One process's place in the source budget: what its pipelines want to read is asked for together, in their order."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from qupersync_extractor.application.source_use import EndedRead, Own, SourceRead, SourceStanding, SourceUse
from qupersync_extractor.application.troubles import reason_of
from qupersync_extractor.domain.source_budget import Amount, SourceLimits
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.ids import PipelineName, uuid7
from qupersync_shared.runtime.lifecycle import end_tasks
from qupersync_shared.runtime.logs import get_logger
from qupersync_shared.runtime.retry import Backoff

LOOK_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 5.0

_log = get_logger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """One read's turn. `end` gives it back, whatever became of it; nothing need be waited for."""

    read: SourceRead
    granted: asyncio.Future[None]
    on_end: Callable[["Turn"], None]
    held_up: str | None = None
    took: Amount = field(default_factory=Amount)
    ended: bool = False

    def count(self, rows: int, size: int) -> None:
        """The read has taken so much."""
        self.took += Amount(rows=rows, bytes=size)

    def end(self) -> None:
        """The read is over, or not wanted any more; safe to call again."""
        if not self.ended:
            self.ended = True
            self.granted.cancel()
            self.on_end(self)


@dataclass(slots=True, kw_only=True)
class SourceTurns:
    """Asks for turns while any are wanted or held, and nothing otherwise.

    Whoever holds a turn must be able to end without another one, or all may wait for each other.
    """

    use: SourceUse
    owner: str
    limits: SourceLimits
    seconds: float
    _turns: dict[UUID, Turn] = field(default_factory=dict)
    _ended: dict[UUID, EndedRead] = field(default_factory=dict)
    _untold: bool = False  # a turn that was given back while it waited has still to leave the queue
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _asking: asyncio.Task[None] | None = None
    _backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0.2, cap_seconds=5.0))

    def ask(self, pipeline: PipelineName, expected: Amount) -> Turn:
        """A turn, `granted` when it has come. A defect, where asking is impossible, is its exception."""
        turn = Turn(
            read=SourceRead(id=uuid7(), pipeline=pipeline, expected=expected),
            granted=asyncio.get_running_loop().create_future(),
            on_end=self._end,
        )
        self._turns[turn.read.id] = turn
        self._wake()
        return turn

    async def close(self) -> None:
        """Gives everything back, if the database answers soon; else what is held expires."""
        for turn in list(self._turns.values()):
            turn.end()
        if self._asking is not None:
            await asyncio.wait((self._asking,), timeout=CLOSE_SECONDS)
            await end_tasks([self._asking])

    def _end(self, turn: Turn) -> None:
        del self._turns[turn.read.id]
        if _is_granted(turn):
            self._ended[turn.read.id] = EndedRead(id=turn.read.id, took=turn.took)
        self._untold = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_on(), name="source-turns")

    async def _ask_on(self) -> None:
        """Until nothing is wanted, held or untold."""
        while self._turns or self._ended or self._untold:
            self._changed.clear()
            try:
                await self._step()
            except TransientError as error:
                for turn in self._waiting():
                    turn.held_up = f"the source budget cannot be kept: {error}"
                await self._rest(self._backoff.next(), alone=True)
                continue
            except Exception as error:  # noqa: BLE001  # or whoever waits would wait for ever
                _log.exception("source_budget_failed")
                self._give_up(error)
                return
            self._backoff.reset()
            if self._changed.is_set():
                continue
            if self._waiting():
                await self._rest(LOOK_SECONDS, alone=False)
            elif self._turns:
                await self._rest(self.seconds / 3, alone=True)

    async def _step(self) -> None:
        waiting, reading = self._waiting(), [turn for turn in self._turns.values() if _is_granted(turn)]
        ended = list(self._ended.values())
        self._untold = False
        try:
            standing = await self.use.settle(
                self.owner,
                Own(waiting=[turn.read for turn in waiting], reading=[turn.read for turn in reading], ended=ended),
                self.limits,
                seconds=self.seconds,
            )
        except BaseException:
            self._untold = True
            raise
        for one in ended:
            del self._ended[one.id]
        begun = standing.begun(self.owner)
        reason = words(standing, self.limits)
        for turn in waiting:
            turn.held_up = reason
            if turn.read.id in begun and not turn.granted.done():
                turn.granted.set_result(None)

    def _waiting(self) -> list[Turn]:
        return [turn for turn in self._turns.values() if not turn.granted.done()]

    def _give_up(self, error: Exception) -> None:
        self._ended.clear()
        self._untold = False
        for turn in self._waiting():
            turn.granted.set_exception(error if isinstance(error, QupersyncError) else TransientError(reason_of(error)))

    async def _rest(self, seconds: float, *, alone: bool) -> None:
        """Until something is asked or ended here, or (unless `alone`) a read of any process has ended."""
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._changed.wait())]
        if not alone:
            tasks.append(asyncio.create_task(self.use.changed(seconds)))
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(tasks)


def _is_granted(turn: Turn) -> bool:
    granted = turn.granted
    return granted.done() and not granted.cancelled() and granted.exception() is None


def words(standing: SourceStanding, limits: SourceLimits) -> str:
    """Why who waits must wait, and what would change it."""
    limit = standing.held_up_by(limits)
    if limit == "reads":
        what = f"{len(standing.reading)} reads are under way, and source.budget.reads is {limits.reads}"
    elif limit is not None:
        rows = limit == "rows_per_minute"
        taken, share = standing.taken, limits.rows_per_minute if rows else limits.bytes_per_minute
        amount = f"{taken.rows} rows" if rows else f"{taken.bytes} bytes"
        what = f"{amount} of {share} are taken or being read (source.budget.{limit})"
    else:
        what = "others have asked before"
    return (
        f"the source budget gives no room ({len(standing.waiting)} wait): {what}. Raise it, or have pipelines run less "
        "often"
    )
