"""Something that a customer of the warehouse did."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar

from qupersync_extractor.domain.catalogue.columns import DOUBLE, TIMESTAMP, VARCHAR
from qupersync_extractor.domain.catalogue.entity import Entity, SyncedAt
from qupersync_extractor.domain.warehouse.checked import check_word, checked
from qupersync_extractor.domain.warehouse.values import EventType, FeatureAdoptionScore


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent(Entity):
    """One event; `timestamp` is in UTC, without zone. An event that measures no adoption has no score."""

    NAME: ClassVar[str] = "usage_events"
    KEY: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: Annotated[str, VARCHAR]
    customer_id: Annotated[str, VARCHAR]
    timestamp: Annotated[datetime, TIMESTAMP]
    event_type: Annotated[EventType, VARCHAR]
    feature_adoption_score: Annotated[FeatureAdoptionScore | None, DOUBLE] = None
    synced_at: SyncedAt = None

    def __post_init__(self) -> None:
        Entity.__post_init__(self)
        check_word(self, "event_id")
        check_word(self, "customer_id")
        checked(self, "event_type", EventType)
        checked(self, "feature_adoption_score", FeatureAdoptionScore)
