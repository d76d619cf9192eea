"""The port `CustomerRepository`."""

from datetime import date
from decimal import Decimal

import pytest
from tests.conformance.warehouse.conftest import Warehouse
from tests.conformance.warehouse.rows import customer

from qupersync_extractor.domain.warehouse import MRR, Industry, PlanTier
from qupersync_shared.kernel.errors import TerminalError


async def test_what_is_saved_is_found_by_its_id(warehouse: Warehouse) -> None:
    kept = customer(
        "kunde ü",
        industry="mining on the moon",
        plan_tier="Enterprise",
        mrr=Decimal("12345678901234.5678"),
        churn_date=date(2025, 3, 1),
    )
    await warehouse.customers.save(kept)
    found = await warehouse.customers.get_by_id("kunde ü")
    assert found == kept
    assert found is not None
    assert isinstance(found.mrr, MRR)
    assert isinstance(found.industry, Industry)
    assert isinstance(found.plan_tier, PlanTier)
    assert await warehouse.customers.get_by_id("kunde") is None


async def test_saving_again_replaces_the_whole_customer(warehouse: Warehouse) -> None:
    await warehouse.customers.save_all([customer("a", churn_date=date(2026, 1, 1)), customer("b")])
    back = customer("a", industry=None, plan_tier="free", mrr=Decimal(0))
    await warehouse.customers.save(back)
    assert await warehouse.customers.get_by_id("a") == back
    assert [one.customer_id for one in await warehouse.customers.get_all_active()] == ["b", "a"]


async def test_of_several_with_one_id_the_last_is_saved(warehouse: Warehouse) -> None:
    await warehouse.customers.save_all([customer("a", mrr=Decimal(1)), customer("b"), customer("a", mrr=Decimal(2))])
    found = await warehouse.customers.get_by_id("a")
    assert found is not None
    assert found.mrr == 2
    assert len(await warehouse.customers.get_all_active()) == 2


async def test_saving_nothing_is_nothing(warehouse: Warehouse) -> None:
    await warehouse.customers.save_all([])
    assert await warehouse.customers.get_all_active() == []


async def test_active_ones_come_by_falling_revenue_and_then_by_id(warehouse: Warehouse) -> None:
    amounts = {"b": "99.9", "a": "100", "C": "100.0000", "é": "100.0001", "z": "9", "gone": "1000"}
    await warehouse.customers.save_all(
        [
            customer(name, mrr=Decimal(amount), churn_date=date(2026, 1, 1) if name == "gone" else None)
            for name, amount in amounts.items()
        ]
    )
    found = await warehouse.customers.get_all_active()
    assert [one.customer_id for one in found] == ["é", "C", "a", "b", "z"]


async def test_a_sample_is_the_same_each_time_and_not_merely_the_first(warehouse: Warehouse) -> None:
    ids = [f"c{number:04}" for number in range(500)]
    await warehouse.customers.save_all([customer(name) for name in ids])
    sample = [one.customer_id for one in await warehouse.customers.get_sample(20)]
    assert [one.customer_id for one in await warehouse.customers.get_sample(20)] == sample
    assert sample == sorted(sample)
    assert len(set(sample)) == 20
    assert sample != ids[:20]
    # What changes of the rows changes nothing of the sample, and a greater one holds the smaller.
    await warehouse.customers.save_all([customer(name, mrr=Decimal(7)) for name in ids])
    assert set(sample) < {one.customer_id for one in await warehouse.customers.get_sample(100)}
    assert sample[0] == "c0005"  # every adapter draws the same


async def test_a_small_table_is_its_own_sample(warehouse: Warehouse) -> None:
    await warehouse.customers.save_all([customer("b"), customer("a", churn_date=date(2026, 1, 1))])
    assert [one.customer_id for one in await warehouse.customers.get_sample(100)] == ["a", "b"]


@pytest.mark.parametrize("size", [101, 0, -1])
async def test_a_sample_has_at_most_100_rows(warehouse: Warehouse, size: int) -> None:
    with pytest.raises(TerminalError, match="1 to 100 rows, not") as caught:
        await warehouse.customers.get_sample(size)
    assert caught.value.cure
