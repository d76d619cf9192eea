"""Columns that are not the source's: added to the rows of a read before anything else is made of them."""

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from qupersync_shared.contracts.schema import Column, RowSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """One array a column, aligned with the rows. `refused`, where it is set, holds for each row the reason why it
    cannot be completed, NULL for the others; what the arrays hold for a refused row is nobody's to read.
    """

    columns: tuple[pa.Array, ...]
    refused: pa.Array | None = None


class OpenAdditions(Protocol):
    """What is added to the rows of one relation."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, which follow the source's."""
        ...

    @property
    def identity(self) -> str:
        """Another one whenever the same row may come to hold other values: then a snapshot is due."""
        ...

    async def apply(self, batch: pa.RecordBatch) -> Added:
        """The columns for these rows, which have the source's columns and may be none; TransientError when not a
        single row can be completed for now.
        """
        ...


class Additions(Protocol):
    """What one pipeline adds to its rows."""

    async def open(self, relation: RowSchema) -> OpenAdditions:
        """Makes ready for rows of this schema; the same again as long as nothing has changed.

        TransientError when a later try may succeed, ConfigurationError when the columns do not fit the relation.
        """
        ...
