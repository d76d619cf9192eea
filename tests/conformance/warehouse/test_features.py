"""The port `FeatureSource` over the warehouse: hand-computed examples, and the definition on random content."""

import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.warehouse.conftest import Warehouse, in_duckdb, in_memory
from tests.conformance.warehouse.rows import NOW, customer, event

from qupersync_extractor.domain.warehouse.features import FEATURES

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


def asking(*ids: str | None) -> pa.RecordBatch:
    return pa.record_batch({"other": pa.array(range(len(ids)), pa.int64()), "customer_id": pa.array(ids, pa.string())})


async def features(warehouse: Warehouse, *ids: str | None) -> list[dict[str, Any]]:
    found = await warehouse.features.features(FEATURES, asking(*ids))
    assert set(found) == set(FEATURES) == warehouse.features.names
    for array in found.values():
        assert isinstance(array, pa.Array)
        assert array.type == pa.float64()
        assert len(array) == len(ids)
    return [{name: found[name][place].as_py() for name in FEATURES} for place in range(len(ids))]


async def test_an_example_computed_by_hand(warehouse: Warehouse) -> None:
    await warehouse.customers.save_all(
        [
            customer("c1", signup_date=date(2026, 6, 1), plan_tier=" Professional", mrr=Decimal("49.50")),
            customer("c2", signup_date=date(2026, 1, 1), churn_date=date(2026, 1, 11), plan_tier="bespoke"),
        ]
    )
    ages = {"a": timedelta(0), "b": 30 * DAY - TICK, "c": 30 * DAY, "d": 90 * DAY - TICK, "e": 90 * DAY}
    scores = {"a": 0.25, "b": 0.75, "c": None, "d": 0.2, "e": 1.0}
    await warehouse.usage.save_all([event(name, ago=age, score=scores[name]) for name, age in ages.items()])
    await warehouse.usage.save(event("f", "c2", ago=timedelta(hours=36), score=None))

    second, first, nobody, none, again = await features(warehouse, "c2", "c1", "nobody", None, "c1")

    assert (
        first
        == again
        == {
            "tenure_days": 29.0,
            "mrr": 49.5,
            "plan_tier_rank": 2.0,
            "events_last_30_days": 2.0,
            "events_last_90_days": 4.0,
            "mean_feature_adoption_90_days": 0.4,
            "days_since_last_event": 0.0,
        }
    )
    assert second == {
        "tenure_days": 10.0,
        "mrr": 100.0,
        "plan_tier_rank": None,
        "events_last_30_days": 1.0,
        "events_last_90_days": 1.0,
        "mean_feature_adoption_90_days": None,
        "days_since_last_event": 1.5,
    }
    unknown = {**dict.fromkeys(FEATURES), "events_last_30_days": 0.0, "events_last_90_days": 0.0}
    assert nobody == none == unknown


async def test_without_events_nothing_is_relative_to_anything(warehouse: Warehouse) -> None:
    await warehouse.customers.save(customer("c1", churn_date=date(2026, 1, 1)))
    assert await features(warehouse, "c1") == [
        {
            **dict.fromkeys(FEATURES),
            "mrr": 100.0,
            "plan_tier_rank": 1.0,
            "events_last_30_days": 0.0,
            "events_last_90_days": 0.0,
        }
    ]


async def test_who_signs_up_after_the_newest_event_has_no_tenure_yet(warehouse: Warehouse) -> None:
    await warehouse.customers.save(customer("c1", signup_date=NOW.date() + DAY))
    await warehouse.usage.save(event("e", "c2"))
    assert (await features(warehouse, "c1"))[0]["tenure_days"] == 0.0


async def test_only_what_is_asked_for_is_answered(warehouse: Warehouse) -> None:
    await warehouse.customers.save(customer("c1"))
    found = await warehouse.features.features(["mrr"], asking("c1"))
    assert list(found) == ["mrr"]


@pytest.mark.parametrize("seed", range(3))
async def test_duckdb_computes_what_the_definition_says_to_the_last_bit(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    ids = [f"c{number}" for number in range(200)]
    customers = [
        customer(
            name,
            signup_date=date(2024, 1, 1) + timedelta(days=chance.randrange(900)),
            plan_tier=chance.choice(["free", "starter", "Professional ", "enterprise", "other"]),
            mrr=Decimal(chance.randrange(10**9)).scaleb(-4),
            churn_date=date(2026, 6, 20) + timedelta(days=chance.randrange(20)) if chance.random() < 0.3 else None,
        )
        for name in ids[10:]
    ]
    events = [
        event(
            f"e{number}",
            chance.choice(ids[:-20]),
            ago=chance.random() * 200 * DAY,
            score=chance.random() if chance.random() < 0.9 else None,
        )
        for number in range(20_000)
    ]
    memory, duck = in_memory(), in_duckdb(tmp_path / "w.duckdb")
    for warehouse in (memory, duck):
        await warehouse.customers.save_all(customers)
        await warehouse.usage.save_all(events)
    asked = [*chance.sample(ids, 150), "nobody", None]
    expected = await features(memory, *asked)
    assert await features(duck, *asked) == expected
