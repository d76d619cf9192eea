"""Features of customers, for scoring: one query a page over both tables of the warehouse."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.domain.warehouse.features import FEATURES
from qupersync_extractor.domain.warehouse.values import PlanTier
from qupersync_extractor.infrastructure.duckdb_file import DuckDbFile
from qupersync_extractor.infrastructure.warehouse.sql import statement
from qupersync_shared.contracts.schema import TYPE_METADATA
from qupersync_shared.kernel.errors import TerminalError

CUSTOMER: Final = "customer_id"


class WarehouseFeatures:
    """The port `FeatureSource` over `raw.customers` and `raw.usage_events`, for rows that name a customer.

    All that is answered of one page is of one state of the file, and the same state gives the same answer.
    """

    def __init__(self, file: DuckDbFile) -> None:
        self._file = file

    @property
    def names(self) -> frozenset[str]:
        return frozenset(FEATURES)

    async def features(self, names: Sequence[str], batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The features, as doubles; TerminalError where the rows name no customer."""
        strangers = sorted(set(names) - self.names)
        if strangers:
            raise TerminalError(f"the warehouse has no feature {strangers[0]!r}", cure=f"It has {', '.join(FEATURES)}")
        asked = pa.table({"place": pa.array(range(batch.num_rows), pa.int64()), CUSTOMER: customer_ids(batch)})
        return await asyncio.to_thread(self._features, names, asked)

    def _features(self, names: Sequence[str], asked: pa.Table) -> dict[str, pa.Array]:
        with self._file.reading("raw.customers and raw.usage_events") as connection:
            connection.register("asked", asked)
            found = connection.sql(statement("features")).to_arrow_table().combine_chunks()
        columns = {name: _whole(found.column(name)) for name in found.column_names}
        columns["plan_tier_rank"] = _ranks(columns.pop("plan_tier"))
        return {name: columns[name] for name in names}


def customer_ids(batch: pa.RecordBatch) -> pa.Array:
    """The customers that the rows name, as text without trailing blanks; TerminalError where no column does."""
    if CUSTOMER not in batch.schema.names:
        raise TerminalError(
            f"features of the warehouse belong to customers, and the rows have no column {CUSTOMER}",
            cure=f"Select a column {CUSTOMER}, or use a model that needs the rows' own columns alone",
        )
    field = batch.schema.field(CUSTOMER)
    values = batch.column(CUSTOMER)
    if (field.metadata or {}).get(TYPE_METADATA) == b"uuid":
        values = pa.array([None if raw is None else str(UUID(bytes=raw)) for raw in values.to_pylist()], pa.string())
    return pc.utf8_rtrim(values.cast(pa.string()), characters=" ")


def _ranks(tiers: pa.Array) -> pa.Array:
    """The rank of each plan, by what the domain says of it."""
    encoded = tiers.dictionary_encode()
    ranks = [PlanTier(tier).rank if _is_word(tier) else None for tier in encoded.dictionary.to_pylist()]
    return pa.array(ranks, pa.float64()).take(encoded.indices)


def _is_word(text: str) -> bool:
    return bool(text.strip()) and "\0" not in text


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
