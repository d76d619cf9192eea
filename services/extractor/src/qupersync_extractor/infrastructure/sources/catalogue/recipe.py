"""What it takes to put an entity together: its first statement, which is paged, and what is looked up for each page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from qupersync_extractor.infrastructure.sources.catalogue.statements import Statement
from qupersync_extractor.infrastructure.sources.catalogue.views import SystemViews


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """The cluster is of a kind that does not have what the entity tells of."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What is read for an entity: `first` is paged, and decides which rows there are."""

    first: Statement
    further: Sequence[Statement] = ()


class Recipe(Protocol):
    """How one entity is put together."""

    name: str

    async def statements(self, views: SystemViews) -> Statements | NotApplicable:
        """What is read on this cluster."""
        ...

    async def complete(self, page: pa.RecordBatch, views: SystemViews) -> Mapping[str, pa.Array]:
        """The columns that the first statement does not give, for a page of it that has rows."""
        ...


NO_NODES = NotApplicable("this cluster has no STL and STV views, as on Serverless and in Multi-AZ deployments")
