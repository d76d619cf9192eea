"""Customers and events for tests, with what does not matter filled in."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from qupersync_extractor.domain.warehouse import Customer, EventType, FeatureAdoptionScore, UsageEvent

NOW = datetime(2026, 6, 30, 12, 0, 0, tzinfo=UTC).replace(tzinfo=None)


def customer(customer_id: str, **given: Any) -> Customer:
    row = {"industry": "retail", "plan_tier": "starter", "signup_date": date(2025, 1, 1), "mrr": Decimal(100), **given}
    return Customer.from_row({"customer_id": customer_id, **row})


def event(
    event_id: str, customer_id: str = "c1", *, ago: timedelta = timedelta(0), score: float | None = 0.5
) -> UsageEvent:
    return UsageEvent(
        event_id=event_id,
        customer_id=customer_id,
        timestamp=NOW - ago,
        event_type=EventType("login"),
        feature_adoption_score=None if score is None else FeatureAdoptionScore(score),
    )
