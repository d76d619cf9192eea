"""The looks of a preflight whose answer is one row of numbers: the same for every warehouse but for its dialect."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from qupersync_extractor.application.probing import CursorLook, KeyLook, NullLook
from qupersync_extractor.domain.pipeline import Relation
from qupersync_extractor.infrastructure.sources.paging_sql import Dialect, Sql
from qupersync_extractor.infrastructure.sources.probing_sql import (
    cursor_look_statement,
    key_look_statement,
    null_look_statement,
)
from qupersync_shared.contracts.schema import Column


class NumberedLooks(ABC):
    """A part of the port `SourceProbe`, for whoever has a dialect and fetches a row of numbers."""

    dialect: ClassVar[Dialect]

    @abstractmethod
    async def _numbers(self, statement: Sql, relation: Relation) -> Sequence[int]:
        """The one row that the statement returns."""

    async def look_at_key(self, relation: Relation, key: Sequence[Column], rows_max: int | None) -> KeyLook:
        statement = key_look_statement(relation, key, self.dialect, rows_max)
        rows, doubled = await self._numbers(statement, relation)
        return KeyLook(rows=rows, doubled=doubled, complete=_complete(rows, rows_max))

    async def look_for_nulls(self, relation: Relation, columns: Sequence[str], rows_max: int | None) -> NullLook:
        rows, *nulls = await self._numbers(null_look_statement(relation, columns, rows_max), relation)
        counted = dict(zip(columns, nulls, strict=True))
        return NullLook(rows=rows, nulls=counted, complete=_complete(rows, rows_max))

    async def look_at_cursor(
        self, relation: Relation, cursor: Column, rows_max: int | None, *, crowd: int
    ) -> CursorLook:
        statement = cursor_look_statement(relation, cursor, self.dialect, rows_max, crowd=crowd)
        rows, largest, crowded = await self._numbers(statement, relation)
        return CursorLook(rows=rows, largest=largest, crowded=crowded, complete=_complete(rows, rows_max))


def _complete(rows: int, rows_max: int | None) -> bool:
    return rows_max is None or rows < rows_max
