"""The nodes of a provisioned cluster, from stv_slices, stv_node_storage_capacity and stv_partitions."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from qupersync_extractor.domain.catalogue.columns import BIGINT, BOOLEAN, COUNT, INTEGER, VARCHAR
from qupersync_extractor.domain.catalogue.entity import Entity, SyncedAt
from qupersync_extractor.domain.catalogue.values import MB_PER_GB


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDetails(Entity):
    """One compute node. On RA3 `capacity_mb` is the whole cluster's quota, in every row: never add it up."""

    NAME: ClassVar[str] = "node_details"
    KEY: ClassVar[tuple[str, ...]] = ("node_id",)

    node_id: Annotated[int, INTEGER]
    node_type: Annotated[str | None, VARCHAR]
    slice_count: Annotated[int, INTEGER, COUNT]
    is_nvme: Annotated[bool, BOOLEAN]
    capacity_mb: Annotated[int, BIGINT, COUNT]
    used_mb: Annotated[int, BIGINT, COUNT]
    synced_at: SyncedAt = None

    @property
    def capacity_gb(self) -> float:
        """`capacity_mb / 1024`."""
        return self.capacity_mb / MB_PER_GB

    @property
    def used_gb(self) -> float:
        """`used_mb / 1024`."""
        return self.used_mb / MB_PER_GB

    @property
    def storage_utilization_pct(self) -> float:
        """`100 · used_mb / capacity_mb`; 0 when the capacity is 0."""
        return 100 * self.used_mb / self.capacity_mb if self.capacity_mb else 0.0

    @property
    def is_managed_storage(self) -> bool:
        """Whether the node type keeps its data in managed storage (RA3, RG): its capacity is the cluster's quota."""
        return self.node_type is not None and self.node_type.casefold().startswith(("ra3", "rg"))
