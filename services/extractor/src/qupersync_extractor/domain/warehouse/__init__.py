"""The embedded warehouse: customers and what they use, the vocabulary of both, and where they are kept."""

from qupersync_extractor.domain.warehouse.customer import Customer
from qupersync_extractor.domain.warehouse.usage_event import UsageEvent
from qupersync_extractor.domain.warehouse.values import MRR, EventType, FeatureAdoptionScore, Industry, PlanTier

__all__ = ["MRR", "Customer", "EventType", "FeatureAdoptionScore", "Industry", "PlanTier", "UsageEvent"]
