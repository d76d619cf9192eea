"""Waiting until a shadow is level with its live table, and what is done at that moment while loaders are held."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from qupersync_loader.application.rebuild.catching_up import CatchUp
from qupersync_loader.application.rebuild.stand import Ended, Stand
from qupersync_loader.application.rebuild.telling import Tell, Waits
from qupersync_loader.application.shadows import Held, LanePair, Phase, Shadow
from qupersync_shared.kernel.errors import LeaseLostError, QupersyncError, TransientError
from qupersync_shared.kernel.ids import Lane
from qupersync_shared.runtime.logs import describe, get_logger
from qupersync_shared.runtime.retry import Backoff

_BRISK_ROUNDS: Final = 5
_ROUNDS_MAX: Final = 30
_Done = TypeVar("_Done")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a rebuild bears with what. Loaders are held for `hold_seconds` at most, and only when the last round was
    done in `brisk_seconds`; `standstill_seconds`: neither side moves though they are not level; `trouble_seconds`: a
    server is in trouble; `wait_lock_seconds`: loaders or readers do not let go.
    """

    hold_seconds: float = 10.0
    brisk_seconds: float = 1.0
    pause_seconds: float = 0.5
    standstill_seconds: float = 90.0
    trouble_seconds: float = 120.0
    wait_lock_seconds: float = 600.0
    retry_seconds: float = 0.5


class Levelling:
    """Brings a claimed shadow level with the live table, over and over, and acts when it is."""

    def __init__(self, shadow: Shadow, catch_up: CatchUp, stand: Stand, *, patience: Patience, tell: Tell) -> None:
        self._shadow = shadow
        self._catch_up = catch_up
        self._stand = stand
        self._patience = patience
        self._tell = tell

    async def when_level(
        self, act: Callable[[Held], Awaitable[_Done]], *, before: Callable[[], Awaitable[None]] | None = None
    ) -> _Done:
        """What `act` returns, called while loaders are held and every lane of the shadow is exactly where they are.

        `before` is done first, each time, while nothing is applied to the shadow. A TransientError, that of `act` or of
        the hold, is tried again, after ever longer pauses in which loading goes on.
        """
        backoff = Backoff(
            first_seconds=self._patience.retry_seconds, cap_seconds=max(10.0, self._patience.retry_seconds)
        )
        deadline: float | None = None
        while True:
            await self._nearly()
            done: list[_Done] = []
            reason = "live loading was too fast to be caught up with while it was held"
            try:
                if before is not None:
                    await self._do_before(before)
                deadline = deadline or time.monotonic() + self._patience.wait_lock_seconds
                async with self._shadow.hold() as held:
                    if await self._bring(held):
                        done.append(await act(held))
            except LeaseLostError:
                raise  # another process has it: it goes on, and this one must not
            except TransientError as error:
                reason = describe(error)
            if done:
                return done[0]
            deadline = deadline or time.monotonic() + self._patience.wait_lock_seconds
            if time.monotonic() >= deadline:
                raise TransientError(
                    f"gave up after {self._patience.wait_lock_seconds:g} s: {reason}",
                    cure="Nothing has changed, and the shadow is kept: end what holds the table, then run this again",
                )
            self._tell(Waits(reason=reason))
            await asyncio.sleep(backoff.next())

    async def _do_before(self, before: Callable[[], Awaitable[None]]) -> None:
        began = time.monotonic()
        await before()
        if time.monotonic() - began > self._patience.brisk_seconds:
            await self._nearly()

    @asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[None]:
        """Goes on catching up while something else takes its time."""
        task = asyncio.create_task(self._forever())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, QupersyncError):
                await task

    async def _forever(self) -> None:
        # What goes wrong here goes wrong again in the next round that somebody waits for.
        while True:
            await self._catch_up.round(await self._pairs())
            await asyncio.sleep(self._patience.pause_seconds)

    # --------------------------------------------------------------------------------------------- levelling

    async def _bring(self, held: Held) -> bool:
        try:
            async with asyncio.timeout(self._patience.hold_seconds):
                await self._catch_up.round(held.lanes)
        except TimeoutError:
            return False
        pairs = await held.look()
        known = [pair for pair in pairs.values() if pair.live is not None or pair.shadow is not None]
        return self._whole and bool(known) and all(pair.level for pair in known)

    @property
    def _whole(self) -> bool:
        """Whether no lane is in the middle of a snapshot that it began anew with."""
        return all(mark.building is None for mark in self._stand.marks.values())

    async def _nearly(self) -> None:
        """Returns when a round found every lane level, and was so short that loaders may be held for the next."""
        seen: object = None
        changed_at = time.monotonic()
        rounds = 0
        while True:
            pairs = await self._pairs()
            began = time.monotonic()
            ended = await self._catch_up.round(pairs)
            took = time.monotonic() - began
            if ended and self._whole and all(how is Ended.THERE for how in ended.values()):
                rounds += 1
                patience = self._patience
                enough = patience.brisk_seconds if rounds <= _BRISK_ROUNDS else patience.hold_seconds / 2
                if took <= enough or rounds >= _ROUNDS_MAX:  # it does not get any better
                    return
                await noted(self._shadow, Phase.READING)
                continue
            now = (dict(self._stand.marks), {lane: pair.live for lane, pair in pairs.items()})
            if now != seen:
                seen, changed_at = now, time.monotonic()
            elif time.monotonic() - changed_at > self._patience.standstill_seconds:
                raise self._standstill(pairs, ended)
            await asyncio.sleep(self._patience.pause_seconds)

    async def _pairs(self) -> Mapping[Lane, LanePair]:
        """Where both stand, asked for again while the target is in trouble."""
        backoff = Backoff(
            first_seconds=self._patience.retry_seconds, cap_seconds=max(5.0, self._patience.retry_seconds)
        )
        deadline = time.monotonic() + self._patience.trouble_seconds
        while True:
            try:
                return await self._shadow.lanes()
            except TransientError as error:
                if isinstance(error, LeaseLostError) or time.monotonic() > deadline:
                    raise
                self._tell(Waits(reason=describe(error)))
            await asyncio.sleep(backoff.next())

    def _standstill(self, pairs: Mapping[Lane, LanePair], ended: Mapping[Lane, Ended]) -> QupersyncError:
        kept = "The shadow is kept"
        lane = next((lane for lane, how in sorted(ended.items()) if how is Ended.SHORT), None)
        if lane is not None:
            live, mark = pairs[lane].live, self._stand.marks.get(lane)
            after = f"sequence {mark.sequence} of log {mark.log}" if mark is not None else "the beginning"
            upto = f" (live: {live.sequence} of log {live.log})" if live is not None else ""
            return QupersyncError(
                f"lane {lane}: the stream no longer has what follows {after}{upto}",
                cure=f"{kept}: trigger a snapshot, and run this again when its last page is loaded",
            )
        lane = next((lane for lane, how in sorted(ended.items()) if how is Ended.BEYOND), None)
        if lane is not None:
            return QupersyncError(
                f"lane {lane}: the live table stands still where the shadow cannot, before an event of the stream",
                cure=f"{kept}: start loaders, and run this again when they have gone on",
            )
        if not ended:
            return QupersyncError("no lane of the live table has loaded anything", cure="Start loaders first")
        return QupersyncError(
            "the snapshot that the shadow had to begin anew with has not ended",
            cure=f"{kept}: run this again when its last page is loaded",
        )


async def noted(shadow: Shadow, phase: Phase, *, rows: int = 0, detail: str = "") -> None:
    """Writes down how far it is, for whoever looks on: a target that does not answer just now is no reason to end."""
    try:
        await shadow.note(phase, rows=rows, detail=detail)
    except LeaseLostError:
        raise
    except TransientError as error:
        _log.info("phase_not_noted", phase=phase, error=error)


async def unbroken(work: Awaitable[_Done]) -> _Done:
    """Lets what must not be cut in two end first: a wish to end that comes meanwhile is granted only if it failed."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise
        try:
            done = await task
        except QupersyncError as error:
            raise asyncio.CancelledError from error
        current = asyncio.current_task()
        if current is not None:
            current.uncancel()
        return done
