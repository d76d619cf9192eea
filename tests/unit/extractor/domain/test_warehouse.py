"""Customers, usage events and their value objects."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from qupersync_extractor.domain.catalogue.entity import EntityRefusedError
from qupersync_extractor.domain.warehouse import (
    MRR,
    Customer,
    EventType,
    FeatureAdoptionScore,
    Industry,
    PlanTier,
    UsageEvent,
)
from qupersync_shared.runtime.settings.catalogue import ENTITIES

CUSTOMER: dict[str, Any] = {
    "customer_id": "c1",
    "industry": "retail",
    "plan_tier": "starter",
    "signup_date": date(2025, 1, 31),
    "mrr": Decimal("19.90"),
    "churn_date": None,
}
EVENT: dict[str, Any] = {
    "event_id": "e1",
    "customer_id": "c1",
    "timestamp": datetime(2026, 1, 1, 12, 30, tzinfo=UTC).replace(tzinfo=None),
    "event_type": "login",
    "feature_adoption_score": 0.5,
}


def test_a_row_becomes_a_customer_of_value_objects() -> None:
    customer = Customer.from_row({**CUSTOMER, "_qs_slot": 7, "churn_score": 0.1})
    assert customer == Customer(
        customer_id="c1",
        industry=Industry("retail"),
        plan_tier=PlanTier("starter"),
        signup_date=date(2025, 1, 31),
        mrr=MRR("19.90"),
    )
    assert [type(one) for one in (customer.industry, customer.plan_tier, customer.mrr)] == [Industry, PlanTier, MRR]
    assert customer.annual_revenue == Decimal("238.80")
    assert json.loads(json.dumps(customer.to_dict())) == {
        "customer_id": "c1",
        "industry": "retail",
        "plan_tier": "starter",
        "signup_date": "2025-01-31",
        "mrr": "19.90",
        "churn_date": None,
        "synced_at": None,
    }
    assert customer.derived() == {"is_active": True, "annual_revenue": "238.80"}


def test_a_row_becomes_an_event_of_value_objects() -> None:
    event = UsageEvent.from_row(EVENT)
    assert type(event.event_type) is EventType
    assert type(event.feature_adoption_score) is FeatureAdoptionScore
    assert UsageEvent.from_row({**EVENT, "feature_adoption_score": None}).feature_adoption_score is None
    assert json.loads(json.dumps(event.to_dict()))["timestamp"] == "2026-01-01T12:30:00"


def test_entities_are_what_the_ready_made_pipelines_read() -> None:
    for entity in (Customer, UsageEvent):
        keys = ENTITIES[entity.NAME].keys
        assert tuple(keys["key"]) == entity.KEY
        assert keys["from"] == f"raw.{entity.NAME}"
        assert keys.get("cursor") in {None, *entity.field_types()}
    assert list(Customer.field_types()) == list(CUSTOMER)
    assert list(UsageEvent.field_types()) == list(EVENT)
    assert Customer.field_types()["mrr"].name == "numeric(18,4)"
    assert UsageEvent.field_types()["timestamp"].name == "timestamp"


def test_a_customer_is_active_from_signing_up_until_the_day_of_leaving() -> None:
    customer = Customer.from_row({**CUSTOMER, "churn_date": date(2025, 3, 1)})
    assert not customer.is_active
    days = [date(2025, 1, 30), date(2025, 1, 31), date(2025, 2, 28), date(2025, 3, 1)]
    assert [customer.is_active_on(day) for day in days] == [False, True, True, False]
    assert [customer.tenure_days(day) for day in days] == [0, 0, 28, 29]
    assert customer.tenure_days(date(2030, 1, 1)) == 29
    staying = Customer.from_row(CUSTOMER)
    assert staying.is_active_on(date(2030, 1, 1))
    assert staying.tenure_days(date(2025, 2, 10)) == 10


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"customer_id": None}, "customers.customer_id is NULL"),
        ({"customer_id": " "}, "customers.customer_id is blank"),
        ({"industry": ""}, "customers.industry is refused (Industry is blank or holds a NUL byte)"),
        ({"plan_tier": None}, "customers.plan_tier is NULL"),
        ({"plan_tier": "a\0"}, "customers.plan_tier is refused (PlanTier is blank"),
        ({"plan_tier": 3}, "customers.plan_tier is of kind int"),
        ({"signup_date": "2025-01-01"}, "customers.signup_date is of kind str"),
        ({"mrr": 19.9}, "customers.mrr is of kind float"),
        ({"mrr": Decimal(-1)}, "customers.mrr is refused (MRR is negative"),
        ({"mrr": Decimal("NaN")}, "customers.mrr is out of the range of numeric(18,4)"),
        ({"mrr": Decimal("0.00001")}, "customers.mrr is out of the range of numeric(18,4)"),
        ({"churn_date": date(2025, 1, 30)}, "customers.churn_date is before signup_date"),
    ],
)
def test_what_no_customer_can_be_is_refused_with_its_field(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(EntityRefusedError) as caught:
        Customer.from_row({**CUSTOMER, **change})
    assert problem in caught.value.message
    assert caught.value.field == next(iter(change))
    assert caught.value.cure


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"event_id": ""}, "usage_events.event_id is blank"),
        ({"customer_id": None}, "usage_events.customer_id is NULL"),
        ({"timestamp": datetime(2026, 1, 1, tzinfo=UTC)}, "usage_events.timestamp is of kind datetime with time zone"),
        ({"event_type": "  "}, "usage_events.event_type is refused"),
        ({"feature_adoption_score": 1.01}, "usage_events.feature_adoption_score is refused"),
        ({"feature_adoption_score": float("nan")}, "usage_events.feature_adoption_score is refused"),
    ],
)
def test_what_no_event_can_be_is_refused_with_its_field(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(EntityRefusedError) as caught:
        UsageEvent.from_row({**EVENT, **change})
    assert problem in caught.value.message


def test_vocabularies_are_open_and_know_what_they_know() -> None:
    assert [Industry(word).is_known for word in ("retail", " Retail ", "mining on the moon")] == [True, True, False]
    assert [EventType(word).is_known for word in ("login", "seance")] == [True, False]
    assert Industry(" Retail ") == " Retail "
    ranks = {word: PlanTier(word).rank for word in ("free", "Starter", "professional", "ENTERPRISE ", "bespoke")}
    assert list(ranks.values()) == [0, 1, 2, 3, None]


@pytest.mark.parametrize("amount", [0.1, True, "ten", Decimal("Infinity"), "-0.01"])
def test_revenue_is_an_exact_amount(amount: Any) -> None:
    with pytest.raises(ValueError, match="MRR is"):
        MRR(amount)


def test_revenue_counts_like_any_decimal() -> None:
    assert MRR("0.10") + MRR("0.20") == Decimal("0.30")
    assert MRR("33.3333").annual == Decimal("399.9996")
    assert MRR(0) == 0


@pytest.mark.parametrize("share", [-0.01, 1.5, float("nan"), float("inf")])
def test_adoption_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        FeatureAdoptionScore(share)
    assert FeatureAdoptionScore(1) == 1.0
