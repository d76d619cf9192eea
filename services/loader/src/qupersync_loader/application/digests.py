"""Answers what the extractor's side asks of a target table in order to compare it with the source."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.row_digests import DigestedColumn, Sums
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.verification import (
    REPLY_BYTES_MAX,
    ContentsWanted,
    RangeSums,
    RangesWanted,
    RowContent,
    RowDigestTold,
    RowsWanted,
    Standing,
    StandingWanted,
    VerificationReply,
    VerificationRequest,
)
from qupersync_shared.kernel.errors import QupersyncError, TransientError
from qupersync_shared.kernel.positions import Key, decode_key

SECONDS_MAX: Final = 5.0  # of one answer, but for the statement it is at: what is left is asked for again
_COLUMN_BYTES: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBounds:
    """(after, upto] in the order of the key; None is minus or plus infinity."""

    after: Key | None
    upto: Key | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDigest:
    """A row's encoded key and digest."""

    key: str
    digest: str


class OpenDigests(Protocol):
    """The rows of one target table that the source is answerable for: neither marked as deleted nor left alone."""

    @property
    def standing(self) -> Standing:
        """How far the group was before anything else was looked at."""
        ...

    async def sums(self, within: KeyBounds) -> Sums:
        """Of a range with very many rows, those of some of them: it differs from the source's in any case."""
        ...

    async def digests(self, within: KeyBounds, *, limit: int) -> Sequence[RowDigest]:
        """At most `limit` rows of the range in the order of their keys."""
        ...

    async def digests_of(self, keys: Sequence[Key]) -> Sequence[RowDigest]:
        """Those of the rows with these keys that are there, in no order."""
        ...

    def contents(self, keys: Sequence[Key]) -> AsyncGenerator[RowContent, None]:
        """Every key in its order, whether or not a row is there."""
        ...


class TargetDigests(Protocol):
    """Target tables, seen through digests. Changes nothing."""

    def opened(
        self, pipeline: TargetPipeline, schema: RowSchema, columns: Sequence[DigestedColumn]
    ) -> AbstractAsyncContextManager[OpenDigests]:
        """The target table of the pipeline. TerminalError where the table or one of the columns is missing;
        DatabaseUnavailableError where the target does not answer.
        """
        ...


async def answer(
    digests: TargetDigests,
    pipeline: TargetPipeline,
    request: VerificationRequest,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> VerificationReply:
    """The reply to one question, bounded in time and size; what is wrong is told in it, never raised."""
    ends = clock() + SECONDS_MAX
    try:
        async with digests.opened(pipeline, request.schema_of_rows(), request.digested()) as table:
            match request.wanted:
                case StandingWanted():
                    return VerificationReply(standing=table.standing)
                case RangesWanted() as wanted:
                    return await _ranges(table, wanted, lambda: clock() > ends)
                case RowsWanted() as wanted:
                    return await _rows(table, wanted)
                case ContentsWanted() as wanted:
                    return await _contents(table, wanted, lambda: clock() > ends)
    except QupersyncError as error:
        return VerificationReply(
            refused=f"{pipeline.target}: {error.message}", cure=error.cure, passing=isinstance(error, TransientError)
        )
    except ValueError as error:
        return VerificationReply(refused=f"the question cannot be read: {error}")


async def _ranges(table: OpenDigests, wanted: RangesWanted, late: Callable[[], bool]) -> VerificationReply:
    told: list[RangeSums] = []
    after = _decoded(wanted.after)
    for bound in wanted.bounds:
        if told and late():
            break
        upto = _decoded(bound)
        sums = await table.sums(KeyBounds(after=after, upto=upto))
        told.append(RangeSums(rows=sums.rows, first=str(sums.first), second=str(sums.second)))
        after = upto
    return VerificationReply(standing=table.standing, ranges=tuple(told), more=len(told) < len(wanted.bounds))


async def _rows(table: OpenDigests, wanted: RowsWanted) -> VerificationReply:
    if wanted.keys is not None:
        found = await table.digests_of([decode_key(key) for key in wanted.keys])
        return VerificationReply(standing=table.standing, rows=tuple(_told(row) for row in found))
    within = KeyBounds(after=_decoded(wanted.after), upto=_decoded(wanted.upto))
    found = await table.digests(within, limit=wanted.limit)
    told: list[RowDigestTold] = []
    size = 0
    for row in found:
        size += len(row.key) + len(row.digest) + _COLUMN_BYTES
        if told and size > REPLY_BYTES_MAX:
            break
        told.append(_told(row))
    more = len(told) < len(found) or len(found) == wanted.limit
    return VerificationReply(standing=table.standing, rows=tuple(told), more=more)


async def _contents(table: OpenDigests, wanted: ContentsWanted, late: Callable[[], bool]) -> VerificationReply:
    told: list[RowContent] = []
    size = 0
    async with aclosing(table.contents([decode_key(key) for key in wanted.keys])) as contents:
        async for content in contents:
            size += len(content.key) + _COLUMN_BYTES * (2 + len(content.columns))
            if told and (size > REPLY_BYTES_MAX or late()):
                break
            told.append(content)
    return VerificationReply(standing=table.standing, contents=tuple(told), more=len(told) < len(wanted.keys))


def _told(row: RowDigest) -> RowDigestTold:
    return RowDigestTold(key=row.key, digest=row.digest)


def _decoded(key: str | None) -> Key | None:
    return None if key is None else decode_key(key)
