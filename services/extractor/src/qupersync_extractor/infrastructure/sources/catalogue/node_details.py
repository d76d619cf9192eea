"""The nodes of a provisioned cluster."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from qupersync_extractor.application.node_types import NodeTypes
from qupersync_extractor.infrastructure.sources.catalogue.joining import looked_up
from qupersync_extractor.infrastructure.sources.catalogue.recipe import NO_NODES, NotApplicable, Statements
from qupersync_extractor.infrastructure.sources.catalogue.statements import (
    BIGINT,
    BOOLEAN,
    INTEGER,
    STV_NODE_STORAGE_CAPACITY,
    STV_PARTITIONS,
    STV_SLICES,
    first_of,
    statement,
)
from qupersync_extractor.infrastructure.sources.catalogue.views import SystemViews

_NODES: Final = first_of(
    "node_details", STV_SLICES, "nodes.sql", later=("node_type", "is_nvme", "capacity_mb", "used_mb")
)
_STORAGE: Final = statement(
    STV_NODE_STORAGE_CAPACITY, "node_storage.sql", {"node_id": INTEGER, "capacity_mb": BIGINT, "used_mb": BIGINT}
)
_DISKS: Final = statement(STV_PARTITIONS, "node_disks.sql", {"node_id": INTEGER, "is_nvme": BOOLEAN})


class NodeDetailsRecipe:
    """From stv_slices, stv_node_storage_capacity and stv_partitions, and the node type from who knows it."""

    name = "node_details"

    def __init__(self, node_types: NodeTypes | None) -> None:
        self._node_types = node_types

    async def statements(self, views: SystemViews) -> Statements | NotApplicable:
        if not await views.has_nodes():
            return NO_NODES
        return Statements(first=_NODES, further=(_STORAGE, _DISKS))

    async def complete(self, page: pa.RecordBatch, views: SystemViews) -> Mapping[str, pa.Array]:
        nodes = page.column("node_id")
        storage = await views.matching(_STORAGE, "node_id", nodes)
        disks = await views.matching(_DISKS, "node_id", nodes)
        kind = await self._node_types.node_type() if self._node_types is not None else None
        return {
            "node_type": pa.array([kind] * len(nodes), pa.string()),
            "is_nvme": pc.fill_null(looked_up(nodes, disks, key="node_id", column="is_nvme"), fill_value=False),
            "capacity_mb": pc.fill_null(looked_up(nodes, storage, key="node_id", column="capacity_mb"), 0),
            "used_mb": pc.fill_null(looked_up(nodes, storage, key="node_id", column="used_mb"), 0),
        }
