"""The quarantine inside an event's transaction: what goes in, and what resolves itself."""

import json
from dataclasses import dataclass
from typing import Final

import asyncpg

from qupersync_loader.application.content import Batch
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_loader.infrastructure.postgres.names import PLACE
from qupersync_loader.infrastructure.postgres.refusals import RefusedRow
from qupersync_loader.infrastructure.postgres.sql import statement
from qupersync_loader.infrastructure.postgres.statements import Statements
from qupersync_shared.contracts.schema import GONE_COLUMN
from qupersync_shared.contracts.slots import canonical_bytes
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind, decode_key, encode_key

LOADED: Final = "loaded"
GONE: Final = "gone"
_MOMENTS: Final = frozenset({ScalarKind.DATE, ScalarKind.TIMESTAMP, ScalarKind.TIMESTAMPTZ})
_YEAR_MAX: Final = 294_276


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Rows of the quarantine that need nobody any more."""

    loaded: list[int]
    gone: list[int]


class Quarantine:
    """The quarantined rows of one pipeline."""

    def __init__(self, driver: asyncpg.Connection, pipeline: TargetPipeline) -> None:
        self._driver = driver
        self._pipeline = pipeline

    async def unresolved(self, lanes: int, lane: int) -> dict[int, Key]:
        """The keys that one lane has there, by row."""
        rows = await self._driver.fetch(
            statement("unresolved_keys"), self._pipeline.group, self._pipeline.name, lanes, lane
        )
        return {row["id"]: decode_key(row["key"]) for row in rows}

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

    async def resolve(self, resolved: Resolved) -> None:
        for ids, resolution in ((resolved.loaded, LOADED), (resolved.gone, GONE)):
            if ids:
                await self._driver.execute(statement("resolve"), ids, resolution)

    async def settled_by(
        self, batch: Batch, unresolved: dict[int, Key], refused: set[bytes], statements: Statements
    ) -> Resolved:
        """What this batch settles: keys that load now, keys it says are gone, and keys its range no longer has."""
        present, gone = _keys_of(batch)
        withheld = {canonical_bytes(key) for key in batch.envelope.withheld_keys}
        loaded_ids, gone_ids, absent = [], [], []
        for row, key in unresolved.items():
            if not batch.could_hold(key):
                # A key of columns that are the key no longer: what it was a row of goes by another key now.
                gone_ids += [row] if batch.envelope.is_baseline else []
                continue
            canonical = canonical_bytes(key)
            if canonical in gone:
                gone_ids.append(row)
            elif canonical in present:
                loaded_ids += [] if canonical in refused else [row]
            elif canonical not in withheld:
                absent.append((row, key))
        if batch.envelope.covers_range and absent:
            gone_ids += await self._in_range(batch, absent, statements)
        return Resolved(loaded=loaded_ids, gone=gone_ids)

    async def _in_range(self, batch: Batch, keys: list[tuple[int, Key]], statements: Statements) -> list[int]:
        envelope = batch.envelope
        asked = [(row, key) for row, key in keys if storable(key)]
        after, upto = bound(envelope.range_from), bound(envelope.range_to)
        sql = statements.keys_in_range(after=len(after), upto=len(upto))
        found = await self._driver.fetch(
            sql,
            *after,
            *upto,
            *columns([key for _, key in asked], len(batch.schema.key)),
        )
        return [asked[row[PLACE] - 1][0] for row in found]


def _keys_of(batch: Batch) -> tuple[set[bytes], set[bytes]]:
    """The canonical keys of rows that are there, and of rows that are gone."""
    canonical = batch.canonical_keys()
    if not batch.has_gone:
        return set(canonical), set()
    flags = batch.rows.column(GONE_COLUMN).to_pylist()
    pairs = list(zip(canonical, flags, strict=True))
    return {key for key, gone in pairs if not gone}, {key for key, gone in pairs if gone}


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
