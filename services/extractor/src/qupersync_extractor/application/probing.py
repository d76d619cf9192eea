"""What a preflight and a sample ask of a source, beyond what extraction does: always within bounds."""

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from qupersync_extractor.application.ports import Source
from qupersync_extractor.domain.pipeline import Relation
from qupersync_shared.contracts.schema import Column, RowSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLook:
    """Of the first `rows` rows in key order, how many keys stand in more than one. `complete`: there are no others."""

    rows: int
    doubled: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NullLook:
    """Of `rows` rows, in no order, how many hold NULL in each column. `complete`: there are no others."""

    rows: int
    nulls: Mapping[str, int]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorLook:
    """Of the `rows` rows with the greatest cursor values: how many share theirs with the most others (`largest`), and
    how many stand in groups larger than asked for (`crowded`). `complete`: no row lies before them.
    """

    rows: int
    largest: int
    crowded: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a table is stored: its sort key in order, and how many bytes its widest row may have by declaration."""

    sort_key: tuple[str, ...]
    row_bytes_max: int | None


class SourceProbe(Source, Protocol):
    """A source that answers these questions, too. `rows_max` None: look at every row.

    Each is one statement. What a view or a query computes, it computes for it: bound the time as well.
    """

    async def look_at_key(self, relation: Relation, key: SequenceOf[Column], rows_max: int | None) -> KeyLook: ...

    async def look_for_nulls(self, relation: Relation, columns: SequenceOf[str], rows_max: int | None) -> NullLook: ...

    async def look_at_cursor(
        self, relation: Relation, cursor: Column, rows_max: int | None, *, crowd: int
    ) -> CursorLook: ...

    async def layout(self, relation: Relation) -> Layout | None:
        """None where nothing of the kind is known: of queries and views, and in warehouses without sort keys."""
        ...

    async def version(self) -> str:
        """The warehouse's name and version, in its own words."""
        ...

    async def sample_keys(self, relation: Relation, key: RowSchema, limit: int) -> pa.RecordBatch:
        """The `limit` rows whose keys have the least MD5s: spread over the table, and always the same ones.

        `key` is a schema of the key columns alone, and so are the rows, in the order of their MD5s.
        """
        ...
