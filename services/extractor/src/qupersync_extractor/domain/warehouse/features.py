"""What a model may know of a customer beside its row: the definition, which DuckDB computes in one query.

All of it is relative to the warehouse's newest event, never to a clock: the same content gives the same features.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import floor
from typing import Final

from qupersync_extractor.domain.warehouse.customer import Customer
from qupersync_extractor.domain.warehouse.usage_event import UsageEvent

FEATURES: Final = (
    "tenure_days",
    "mrr",
    "plan_tier_rank",
    "events_last_30_days",
    "events_last_90_days",
    "mean_feature_adoption_90_days",
    "days_since_last_event",
)
DAY: Final = timedelta(days=1)
SHORT: Final = 30 * DAY
LONG: Final = 90 * DAY
# Scores are summed as whole billionths: a sum of floats would depend on the order in which an engine takes the rows.
SCORE_UNITS: Final = 1_000_000_000


def features_of(
    customer: Customer | None, events: Iterable[UsageEvent], *, as_of: datetime | None
) -> dict[str, float | None]:
    """All of `FEATURES` of one customer and its events.

    Tenure is in whole days, up to leaving; days since the last event are in fractions. None where it is not known: a
    plan without rank, nothing measured in 90 days, no event at all; counts are 0 then.
    """
    seen = list(events)
    past = [] if as_of is None else [(as_of - event.timestamp, event) for event in seen if event.timestamp <= as_of]
    measured = [
        floor(event.feature_adoption_score * SCORE_UNITS + 0.5)
        for age, event in past
        if age < LONG and event.feature_adoption_score is not None
    ]
    return {
        "tenure_days": None if customer is None or as_of is None else float(customer.tenure_days(as_of.date())),
        "mrr": None if customer is None else float(customer.mrr),
        "plan_tier_rank": _as_float(None if customer is None else customer.plan_tier.rank),
        "events_last_30_days": float(sum(age < SHORT for age, _ in past)),
        "events_last_90_days": float(sum(age < LONG for age, _ in past)),
        "mean_feature_adoption_90_days": sum(measured) / (len(measured) * SCORE_UNITS) if measured else None,
        "days_since_last_event": min((age / DAY for age, _ in past), default=None),
    }


def _as_float(rank: int | None) -> float | None:
    return None if rank is None else float(rank)
