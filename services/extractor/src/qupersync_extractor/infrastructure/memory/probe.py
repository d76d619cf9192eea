"""The questions of a preflight and of a sample, to a warehouse in memory."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Self

import pyarrow as pa

from qupersync_extractor.application.ports import KeyRange, ReadRequest
from qupersync_extractor.application.probing import CursorLook, KeyLook, Layout, NullLook
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.memory.source import MemorySource
from qupersync_shared.contracts.schema import Column, RowSchema
from qupersync_shared.contracts.slots import canonical_keys, key_at


class MemoryProbe(MemorySource):
    """The port `SourceProbe`. `layouts` are the caller's to fill."""

    def __init__(self) -> None:
        super().__init__()
        self.layouts: dict[Relation, Layout] = {}

    @classmethod
    def beside(cls, source: MemorySource) -> Self:
        """A probe of the same tables."""
        probe = cls()
        probe._tables = source._tables  # noqa: SLF001  # of its own class
        return probe

    async def look_at_key(self, relation: Relation, key: Sequence[Column], rows_max: int | None) -> KeyLook:
        schema = RowSchema(columns=tuple(key), key=tuple(column.name for column in key))
        batch = await self._in_key_order(relation, schema, rows_max)
        copies = _copies(canonical_keys(batch, schema).to_pylist())
        return KeyLook(
            rows=batch.num_rows,
            doubled=sum(count > 1 for count in copies),
            complete=rows_max is None or batch.num_rows < rows_max,
        )

    async def look_for_nulls(self, relation: Relation, columns: Sequence[str], rows_max: int | None) -> NullLook:
        rows = self._found(relation).rows[:rows_max]
        return NullLook(
            rows=len(rows),
            nulls={name: sum(row[name] is None for row in rows) for name in columns},
            complete=rows_max is None or len(rows) < rows_max,
        )

    async def look_at_cursor(
        self, relation: Relation, cursor: Column, rows_max: int | None, *, crowd: int
    ) -> CursorLook:
        values = [row[cursor.name] for row in self._found(relation).rows if row[cursor.name] is not None]
        seen = sorted(values, reverse=True)[:rows_max]
        copies = _copies(seen)
        return CursorLook(
            rows=len(seen),
            largest=max(copies, default=0),
            crowded=sum(count for count in copies if count > crowd),
            complete=rows_max is None or len(seen) < rows_max,
        )

    async def layout(self, relation: Relation) -> Layout | None:
        return self.layouts.get(relation)

    async def version(self) -> str:
        return "memory"

    async def sample_keys(self, relation: Relation, key: RowSchema, limit: int) -> pa.RecordBatch:
        batch = await self._in_key_order(relation, key, None)
        digests = [_digest(batch, key, index) for index in range(batch.num_rows)]
        order = sorted(range(batch.num_rows), key=digests.__getitem__)
        return batch.take(pa.array(order[:limit], pa.int64()))

    async def _in_key_order(self, relation: Relation, schema: RowSchema, rows_max: int | None) -> pa.RecordBatch:
        limit = len(self._found(relation).rows) if rows_max is None else rows_max
        return await self.read(ReadRequest(relation=relation, schema=schema, range=KeyRange(after=None), limit=limit))


def _copies(values: Iterable[Hashable]) -> list[int]:
    return list(Counter(values).values())


def _digest(batch: pa.RecordBatch, key: RowSchema, index: int) -> str:
    """As SQL makes it: the MD5 of a text, or of the MD5s of several, joined."""
    digests = [_md5(scalar.text) for scalar in key_at(batch, key, index)]
    return digests[0] if len(digests) == 1 else _md5("".join(digests))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
