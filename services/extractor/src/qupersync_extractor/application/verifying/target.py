"""The target's side of a comparison: questions cut to what one answer holds, and the answers put together again."""

import asyncio
from collections.abc import Sequence
from typing import Final

from qupersync_extractor.application.ports import KeyRange
from qupersync_extractor.application.verifying.ports import Compared, KeyedDigest, Loaders
from qupersync_shared.contracts.row_digests import Sums
from qupersync_shared.contracts.verification import (
    KEY_BYTES_MAX,
    KEYS_MAX,
    RANGES_MAX,
    ROWS_MAX,
    ComparedColumn,
    ContentsWanted,
    RangesWanted,
    RowContent,
    RowsWanted,
    Standing,
    StandingWanted,
    VerificationReply,
    VerificationRequest,
    Wanted,
)
from qupersync_shared.kernel.errors import TerminalError, TransientError
from qupersync_shared.kernel.ids import GroupName, PipelineName
from qupersync_shared.kernel.positions import Key, decode_key, encode_key

_TRIES: Final = 3
_AGAIN_SECONDS: Final = 1.0


class TargetSide:
    """One group's target table. TransientError where a later attempt may succeed, TerminalError where not."""

    def __init__(self, loaders: Loaders, group: GroupName, pipeline: PipelineName, compared: Compared) -> None:
        self._loaders = loaders
        self._group = group
        self._pipeline = pipeline
        self._columns = tuple(
            ComparedColumn(name=one.column.name, type=one.column.type.name, form=one.form) for one in compared.columns
        )
        self._key = compared.schema.key

    async def standing(self) -> Standing:
        return (await self._ask(StandingWanted())).standing

    async def sums(self, after: Key | None, bounds: Sequence[Key | None]) -> list[Sums]:
        """The sums of (after, bounds[0]], (bounds[0], bounds[1]], and so on."""
        found: list[Sums] = []
        while len(found) < len(bounds):
            low = after if not found else bounds[len(found) - 1]
            asked = [_text(bound) for bound in bounds[len(found) : len(found) + RANGES_MAX]]
            reply = await self._ask(RangesWanted(after=_text(low), bounds=_fitting(asked)))
            if not reply.ranges:
                raise TransientError("a loader answered with no range at all")
            found += [Sums(rows=one.rows, first=int(one.first), second=int(one.second)) for one in reply.ranges]
        return found

    async def rows(self, within: KeyRange, *, limit: int = ROWS_MAX) -> tuple[list[KeyedDigest], bool]:
        """Rows of the range in the order of their keys, and whether there may be others behind them."""
        wanted = RowsWanted(after=_text(within.after), upto=_text(within.upto), limit=limit)
        reply = await self._ask(wanted)
        return _digests(reply), reply.more

    async def rows_of(self, keys: Sequence[Key]) -> list[KeyedDigest]:
        """Those of the rows with these keys that are there, in no order."""
        found: list[KeyedDigest] = []
        left = [encode_key(key) for key in keys]
        while left:
            asked = _fitting(left[:ROWS_MAX])
            found += _digests(await self._ask(RowsWanted(keys=asked)))
            left = left[len(asked) :]
        return found

    async def contents(self, keys: Sequence[Key]) -> tuple[list[RowContent], Standing | None]:
        """What stands at each key, in no order, and how far the group was before the first was looked at."""
        found: list[RowContent] = []
        before: Standing | None = None
        left = {encode_key(key): None for key in keys}
        while left:
            reply = await self._ask(ContentsWanted(keys=_fitting(list(left)[:KEYS_MAX])))
            before = before or reply.standing
            told = [content for content in reply.contents if content.key in left]
            if not told:
                raise TransientError("a loader answered with no row at all")
            for content in told:
                del left[content.key]
            found += told
        return found, before

    async def _ask(self, wanted: Wanted) -> VerificationReply:
        request = VerificationRequest(
            group=self._group, pipeline=self._pipeline, columns=self._columns, key=self._key, wanted=wanted
        )
        for attempt in range(_TRIES):
            reply = await self._loaders.ask(request)
            if reply.refused is None:
                return reply
            if not reply.passing:
                raise TerminalError(reply.refused, cure=reply.cure)
            if attempt == _TRIES - 1:
                raise TransientError(reply.refused, cure=reply.cure)
            await asyncio.sleep(_AGAIN_SECONDS)
        raise AssertionError  # the last attempt has returned or raised


def _digests(reply: VerificationReply) -> list[KeyedDigest]:
    return [KeyedDigest(key=decode_key(row.key), digest=row.digest) for row in reply.rows]


def _fitting(texts: Sequence[str | None]) -> tuple[str, ...]:
    """As many of the first as one question holds, at least one."""
    size = 0
    for index, one in enumerate(texts):
        size += len(one or "")
        if index and size > KEY_BYTES_MAX:
            return tuple(texts[:index])  # type: ignore[arg-type]
    return tuple(texts)  # type: ignore[arg-type]


def _text(key: Key | None) -> str | None:
    return None if key is None else encode_key(key)
