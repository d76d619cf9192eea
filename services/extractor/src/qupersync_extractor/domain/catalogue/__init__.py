"""The ready-made entities: what is synced out of the box, column by column."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from qupersync_extractor.domain.catalogue.cost_usage import CostUsageRecord, CostUsageSummary, Period
from qupersync_extractor.domain.catalogue.entity import Entity, EntityRefusedError
from qupersync_extractor.domain.catalogue.node_details import NodeDetails
from qupersync_extractor.domain.catalogue.query_history import QueryHistory, QueryStatus
from qupersync_extractor.domain.catalogue.query_text import normalised, query_hash
from qupersync_extractor.domain.catalogue.serverless_usage import ServerlessUsage
from qupersync_extractor.domain.catalogue.sync import SyncResult, SyncWatermark
from qupersync_extractor.domain.catalogue.table_stats import TableStats
from qupersync_extractor.domain.catalogue.vacuum_history import VacuumHistory, VacuumType
from qupersync_extractor.domain.catalogue.values import RedshiftQuery, RedshiftTable

ENTITY_CLASSES: Final[Mapping[str, type[Entity]]] = MappingProxyType(
    {cls.NAME: cls for cls in (TableStats, NodeDetails, QueryHistory, VacuumHistory, ServerlessUsage, CostUsageRecord)}
)

__all__ = [
    "ENTITY_CLASSES",
    "CostUsageRecord",
    "CostUsageSummary",
    "Entity",
    "EntityRefusedError",
    "NodeDetails",
    "Period",
    "QueryHistory",
    "QueryStatus",
    "RedshiftQuery",
    "RedshiftTable",
    "ServerlessUsage",
    "SyncResult",
    "SyncWatermark",
    "TableStats",
    "VacuumHistory",
    "VacuumType",
    "normalised",
    "query_hash",
]
