"""The quarantine inside an event's transaction: what goes in, and what resolves itself."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import asyncpg

from qupersync_loader.application.content import Batch
from qupersync_loader.domain.pipeline import DeletePolicy, TargetPipeline
from qupersync_loader.infrastructure.postgres.quarantined_range import quarantined_in_range
from qupersync_loader.infrastructure.postgres.refusals import RefusedRow
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_shared.contracts.schema import GONE_COLUMN
from qupersync_shared.contracts.slots import lane_of_slot
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind, decode_key, encode_key

LOADED: Final = "loaded"
GONE: Final = "gone"
FEW: Final = 200  # as many waiting rows are compared one by one; beyond that, the index is asked
_MOMENTS: Final = frozenset({ScalarKind.DATE, ScalarKind.TIMESTAMP, ScalarKind.TIMESTAMPTZ})
_YEAR_MAX: Final = 294_276


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a batch says of its keys, encoded: they load, they are gone, or they are there without loading."""

    loaded: frozenset[str]
    gone: frozenset[str]
    refused: frozenset[str]
    withheld: frozenset[str]

    @classmethod
    def of(cls, batch: Batch, refused: Collection[RefusedRow]) -> "_Said":
        keys = batch.encoded_keys()
        flags = batch.rows.column(GONE_COLUMN).to_pylist() if batch.has_gone else [False] * len(keys)
        gone = frozenset(key for key, is_gone in zip(keys, flags, strict=True) if is_gone)
        bad = frozenset(encode_key(row.key) for row in refused)
        return cls(
            loaded=frozenset(keys) - gone - bad,
            gone=gone,
            refused=bad,
            withheld=frozenset(encode_key(key) for key in batch.envelope.withheld_keys),
        )


class Quarantine:
    """The quarantined rows of one pipeline."""

    def __init__(self, driver: asyncpg.Connection, pipeline: TargetPipeline) -> None:
        self._driver = driver
        self._pipeline = pipeline

    @property
    def _names(self) -> tuple[str, str]:
        return self._pipeline.group, self._pipeline.name

    async def settle(self, batch: Batch, refused: Collection[RefusedRow]) -> int:
        """Resolves keys that load now, keys that the batch says are gone, and keys that its range no longer has; how
        many there were. Takes no longer when more rows wait that it says nothing of, unless it covers a range.
        """
        waiting = await self._driver.fetch(statement("unresolved_keys"), *self._names, FEW + 1)
        if not waiting:
            return 0
        said = _Said.of(batch, refused)
        if len(waiting) > FEW:
            waiting = await self._named(said)
        lanes, lane = batch.envelope.lanes, batch.envelope.lane
        own = [(row["id"], row["key"]) for row in waiting if lane_of_slot(row["slot"], lanes) == lane]
        loaded = [id_ for id_, key in own if key in said.loaded]
        await self._resolve(loaded, LOADED)
        if self._pipeline.deletes is DeletePolicy.KEEP:
            return len(loaded)  # what the source has forgotten may be nowhere else
        gone = [id_ for id_, key in own if key in said.gone]
        if batch.envelope.covers_range:
            gone += await self._absent(batch, said)
        await self._resolve(gone, GONE)
        return len(loaded) + len(gone)

    async def _named(self, said: _Said) -> list[asyncpg.Record]:
        digests = [hashlib.md5(key.encode(), usedforsecurity=False).hexdigest() for key in said.loaded | said.gone]
        found: list[asyncpg.Record] = await self._driver.fetch(statement("unresolved_named"), *self._names, digests)
        return found

    async def _absent(self, batch: Batch, said: _Said) -> list[int]:
        """Rows that the page's range covers, and that it neither has nor withholds."""
        envelope = batch.envelope
        after, upto = bound(envelope.range_from), bound(envelope.range_to)
        found = await self._driver.fetch(
            quarantined_in_range(batch.schema, after=len(after), upto=len(upto)),
            *self._names,
            envelope.lanes,
            envelope.lane,
            # A key of columns that are the key no longer: what it was a row of goes by another key now.
            envelope.is_baseline,
            *after,
            *upto,
        )
        there = said.loaded | said.gone | said.refused | said.withheld
        return [
            row["id"]
            for row in found
            if row["key"] not in there
            if not (row["unread"] and batch.could_hold(decode_key(row["key"])))
        ]

    async def _resolve(self, ids: list[int], resolution: str) -> None:
        if ids:
            await self._driver.execute(statement("resolve"), ids, resolution)

    async def add(self, batch: Batch, rows: list[RefusedRow]) -> None:
        """Keeps the rows; a key that is there already keeps its first sight."""
        envelope = batch.envelope
        await self._driver.execute(
            statement("quarantine"),
            self._pipeline.group,
            self._pipeline.name,
            envelope.id,
            envelope.log,
            envelope.sequence,
            [row.slot for row in rows],
            [encode_key(row.key) for row in rows],
            [json.dumps(row.content, ensure_ascii=False) for row in rows],
            [row.reason for row in rows],
        )


def bound(key: Key | None) -> list[str]:
    """The parameters of a range's bound, which may be fewer than the key has columns.

    A text with NUL cannot stand in the target, and none lies between it and what precedes its NUL: whatever is beyond
    that is beyond the bound, whatever is not is within it, and the columns behind decide nothing.
    """
    parameters = []
    for scalar in key or ():
        before, nul, _ = scalar.text.partition("\0")
        parameters.append(before)
        if nul:
            break
    return parameters


def columns(keys: list[Key], width: int) -> list[list[str]]:
    """Keys as one text array per key column."""
    return [[key[i].text for key in keys] for i in range(width)]


def storable(key: Key) -> bool:
    """Whether a row of the target can have this key: text without NUL, moments with a year that PostgreSQL knows."""
    return all(_storable(scalar) for scalar in key)


def _storable(scalar: Scalar) -> bool:
    if scalar.kind in _MOMENTS:
        year = scalar.text.partition("-")[0]
        return year.isdecimal() and int(year) <= _YEAR_MAX
    return "\0" not in scalar.text
