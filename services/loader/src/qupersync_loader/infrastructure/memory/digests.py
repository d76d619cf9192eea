"""The port `TargetDigests` over rows in memory: the reference, and the target of tests."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from qupersync_loader.application.digests import KeyBounds, RowDigest
from qupersync_loader.domain.pipeline import TargetPipeline
from qupersync_shared.contracts.row_digests import (
    DigestedColumn,
    Sums,
    exact_digest,
    exact_texts,
    row_digests,
    sums_of,
)
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.contracts.verification import RowContent, Standing
from qupersync_shared.kernel.errors import TerminalError
from qupersync_shared.kernel.positions import Key, Scalar, ScalarKind, encode_key


@dataclass(slots=True)
class MemoryDigests:
    """One target table: its rows, and how far the group says it is."""

    batch: pa.RecordBatch | None = None
    standing: Standing = field(default_factory=Standing)
    quarantined: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def opened(
        self, pipeline: TargetPipeline, schema: RowSchema, columns: Sequence[DigestedColumn]
    ) -> AsyncIterator["OpenMemoryTable"]:
        del pipeline
        batch = self.batch if self.batch is not None else pa.RecordBatch.from_pylist([], schema=schema.arrow())
        for one in columns:
            if one.column.name not in batch.schema.names:
                raise TerminalError(f"there is no column {one.column.name!r}, which the source has")
        keys = [key_at(batch, schema, index) for index in range(batch.num_rows)]
        yield OpenMemoryTable(
            batch=batch, keys=keys, columns=tuple(columns), standing=self.standing, quarantined=self.quarantined
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMemoryTable:
    """The rows as of one moment."""

    batch: pa.RecordBatch
    keys: list[Key]
    columns: tuple[DigestedColumn, ...]
    standing: Standing
    quarantined: set[str]

    async def sums(self, within: KeyBounds) -> Sums:
        return sums_of([digest for _, digest in self._found(within)])

    async def digests(self, within: KeyBounds, *, limit: int) -> list[RowDigest]:
        return [RowDigest(key=encode_key(key), digest=digest) for key, digest in self._found(within)][:limit]

    async def digests_of(self, keys: Sequence[Key]) -> list[RowDigest]:
        everything = self._found(KeyBounds(after=None, upto=None))
        return [RowDigest(key=encode_key(key), digest=digest) for key, digest in everything if key in set(keys)]

    async def contents(self, keys: Sequence[Key]) -> AsyncGenerator[RowContent, None]:
        texts = [exact_texts(self.batch.column(one.column.name), one.column.type) for one in self.columns]
        places = {key: place for place, key in enumerate(self.keys)}
        for key in keys:
            place = places.get(key)
            told: tuple[str | None, ...] = ()
            if place is not None:
                told = tuple(exact_digest(text[place], one) for text, one in zip(texts, self.columns, strict=True))
            name = encode_key(key)
            yield RowContent(key=name, present=place is not None, columns=told, quarantined=name in self.quarantined)

    def _found(self, within: KeyBounds) -> list[tuple[Key, str]]:
        low, high = (None if key is None else _order(key) for key in (within.after, within.upto))
        return sorted(
            (
                (key, digest)
                for key, digest in zip(self.keys, row_digests(self.batch, self.columns), strict=True)
                if (low is None or _order(key) > low) and (high is None or _order(key) <= high)
            ),
            key=lambda found: _order(found[0]),
        )


def _order(key: Key) -> tuple[Any, ...]:
    return tuple(_scalar(scalar) for scalar in key)


def _scalar(scalar: Scalar) -> Any:
    return int(scalar.text) if scalar.kind is ScalarKind.INT else scalar.text.encode()
