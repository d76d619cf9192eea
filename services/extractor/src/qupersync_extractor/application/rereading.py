"""Rereads inside a run: keys and ranges read again because somebody asked, each read after what was committed before.

A page stores how far its requests have come in its own transaction: whatever ends the process, a request is read again
at least once, and never forgotten. What cannot be read ends its request with a reason; it is never tried for ever.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from qupersync_extractor.application.key_lists import fitted, fitted_key, fitted_scalar
from qupersync_extractor.application.ports import CursorRange, KeyRange, UnitOfWorkFactory
from qupersync_extractor.application.reading import ReadPage
from qupersync_extractor.domain.extraction import Extraction, RereadPage
from qupersync_extractor.domain.pipeline import Pipeline
from qupersync_extractor.domain.rereads import (
    REDRIVES_MAX,
    Reread,
    SpanOrder,
    WantedKeys,
    WantedSpan,
    advance_span,
    refuse,
    refuse_keys,
    take_keys,
)
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.ids import FencingToken
from qupersync_shared.kernel.positions import (
    Key,
    KeyBound,
    Position,
    Scalar,
    decode_key,
    decode_position,
    encode_key,
    encode_position,
)
from qupersync_shared.runtime.logs import get_logger

TURN_READS: Final = 8
_REFUSED_MAX: Final = 16  # of one request: where so many keys fail one by one, it is not the keys
_log = get_logger(__name__)


class Pages(Protocol):
    """The run that rereads are part of: its lease, its schema, and its way of reading and committing."""

    @property
    def schema(self) -> RowSchema: ...
    @property
    def token(self) -> FencingToken: ...
    @property
    def keys_max(self) -> int: ...

    async def read(self, wanted: CursorRange | KeyRange) -> ReadPage: ...

    async def read_keys(self, keys: Sequence[Key]) -> ReadPage: ...

    def position(self, page: ReadPage) -> Position: ...

    async def send(self, page: ReadPage, kind: RereadPage, state: Extraction, rereads: Sequence[Reread]) -> Extraction:
        """Commits the page; with its last event, how far the rereads have come."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One key of one request (by its place); `key` None: it fits no column, for this `reason`."""

    place: int
    key: Key | None
    reason: str = ""


class Rereading:
    """Serves the waiting rereads of one pipeline, the oldest first, under its run's lease."""

    def __init__(self, pipeline: Pipeline, unit_of_work: UnitOfWorkFactory, pages: Pages) -> None:
        self._pipeline = pipeline
        self._unit_of_work = unit_of_work
        self._pages = pages

    async def waiting(self) -> list[Reread]:
        """Requests that are not done."""
        async with self._unit_of_work() as work:
            return await work.rereads.waiting(self._pipeline.name)

    async def turn(self, state: Extraction) -> Extraction:
        """The state after some reads, a bounded number of them: what is fresh must not wait for what is long."""
        for _ in range(TURN_READS):
            waiting = await self.waiting()
            if not waiting:
                break
            first = waiting[0]
            if isinstance(first.wanted, WantedSpan):
                state = await self._span(state, first, first.wanted)
            else:
                state = await self._keys(state, [one for one in waiting if isinstance(one.wanted, WantedKeys)])
        return state

    # ----------------------------------------------------------------------------------------------------- keys

    async def _keys(self, state: Extraction, rereads: list[Reread]) -> Extraction:
        """One page of the next keys, of several requests together if they are short."""
        asked = self._next_keys(rereads)
        keys = list(dict.fromkeys(one.key for one in asked if one.key is not None))
        if not keys:
            await self._store(_after(rereads, asked))
            return state
        while True:
            try:
                page = await self._pages.read_keys(keys)
                moved = _after(rereads, _leading(asked, keys[: page.keys]))
                redrives = tuple(dict.fromkeys(id_ for one in moved if one.done for id_ in one.made_good()))
                state = await self._pages.send(page, RereadPage(redrives=redrives), state, moved)
            except TerminalError as error:
                # Somewhere among them is one that cannot travel: halves are tried until it stands alone.
                if len(keys) > 1:
                    keys = keys[: len(keys) // 2]
                    continue
                reason = f"key {_show(keys[0])}: {error}"
                refused = [
                    _Asked(place=one.place, key=None, reason=reason) if one.key == keys[0] else one for one in asked
                ]
                moved = _after(rereads, _leading(refused, ()))
                await self._store([_given_up(one, reason) for one in moved])
                return state
            _tell(moved)
            return state

    def _next_keys(self, rereads: Sequence[Reread]) -> list[_Asked]:
        asked: list[_Asked] = []
        different: set[Key] = set()
        redrives = 0
        for place, reread in enumerate(rereads):
            redrives += len(reread.redrives)
            if asked and redrives > REDRIVES_MAX:
                break
            for text in reread.keys_left:
                try:
                    key = fitted_key(text, self._pages.schema)
                except ValueError as error:
                    asked.append(_Asked(place=place, key=None, reason=str(error)))
                    continue
                if key not in different and len(different) == self._pages.keys_max:
                    return asked
                different.add(key)
                asked.append(_Asked(place=place, key=key))
        return asked

    # ---------------------------------------------------------------------------------------------------- spans

    async def _span(self, state: Extraction, reread: Reread, span: WantedSpan) -> Extraction:
        """The next page of a range."""
        try:
            if span.by is SpanOrder.CURSOR:
                state, moved = await self._by_cursor(state, reread, span)
            else:
                state, moved = await self._by_key(state, reread, span)
        except (TerminalError, ValueError) as error:
            moved = refuse(reread, str(error))
            await self._store([moved])
        else:
            _tell([moved])
        return state

    async def _by_cursor(self, state: Extraction, reread: Reread, span: WantedSpan) -> tuple[Extraction, Reread]:
        name = self._pipeline.cursor
        if name is None or span.upto is None:
            raise ValueError("the pipeline has no cursor any more")
        start = reread.reached if reread.reached is not None else span.after
        after = self._fitted_position(start, name) if start is not None else None
        upto = self._fitted_cursor(decode_position(span.upto).cursor, name)
        page = await self._pages.read(CursorRange(cursor=name, after=after, upto=upto))
        reached = None if page.last else encode_position(self._pages.position(page))
        moved = advance_span(reread, reached=reached)
        kind = RereadPage(redrives=moved.made_good() if moved.done else ())
        return await self._pages.send(page, kind, state, [moved]), moved

    async def _by_key(self, state: Extraction, reread: Reread, span: WantedSpan) -> tuple[Extraction, Reread]:
        start = reread.reached if reread.reached is not None else span.after
        after, end = self._fitted_key(start), self._fitted_key(span.upto)
        page = await self._pages.read(KeyRange(after=after, upto=end))
        upto = end if page.last else page.rows.key(page.rows.count - 1)
        moved = advance_span(reread, reached=None if page.last or upto is None else encode_key(upto))
        kind = RereadPage(complete=True, after=after, upto=upto, redrives=moved.made_good() if moved.done else ())
        return await self._pages.send(page, kind, state, [moved]), moved

    def _fitted_key(self, text: str | None) -> Key | None:
        return None if text is None else fitted(decode_key(text), self._pages.schema)

    def _fitted_position(self, text: str, name: str) -> Position:
        position = decode_position(text)
        key = position.key if isinstance(position.key, KeyBound) else fitted(position.key, self._pages.schema)
        return Position(cursor=self._fitted_cursor(position.cursor, name), key=key)

    def _fitted_cursor(self, value: Scalar, name: str) -> Scalar:
        return fitted_scalar(value, self._pages.schema.column(name).type, name)

    # -------------------------------------------------------------------------------------------------- storing

    async def _store(self, rereads: Sequence[Reread]) -> None:
        """Stores how far requests have come where there is no page to store it with."""
        async with self._unit_of_work() as work:
            await work.extractions.lock(self._pipeline.name, self._pages.token)
            await work.rereads.save(rereads)
            await work.commit()
        _tell(rereads)


def _after(rereads: Sequence[Reread], asked: Sequence[_Asked]) -> list[Reread]:
    """The requests that these keys are of, after them."""
    counts = Counter(one.place for one in asked)
    moved = []
    for place, count in counts.items():
        reasons = [one.reason for one in asked if one.place == place and one.key is None]
        reread = refuse_keys(rereads[place], reasons[0], len(reasons)) if reasons else rereads[place]
        moved.append(take_keys(reread, count))
    return moved


def _leading(asked: Sequence[_Asked], keys: Sequence[Key]) -> list[_Asked]:
    """What was asked for, up to the first key that is not among these."""
    read = set(keys)
    leading = []
    for one in asked:
        if one.key is not None and one.key not in read:
            break
        leading.append(one)
    return leading


def _given_up(reread: Reread, reason: str) -> Reread:
    return reread if reread.done or reread.keys_refused < _REFUSED_MAX else refuse(reread, reason)


def _tell(rereads: Sequence[Reread]) -> None:
    for one in rereads:
        if not one.done:
            continue
        place = {"pipeline": one.pipeline, "reread": one.id, "group": one.group}
        if one.refused is None:
            _log.info("reread_done", **place, why=one.reason)
        else:
            _log.error("reread_refused", **place, why=one.reason, reason=one.refused, keys_refused=one.keys_refused)


def _show(key: Key) -> str:
    return "(" + ", ".join(repr(scalar.text[:100]) for scalar in key) + ")"
