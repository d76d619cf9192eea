"""The port `UsageRepository`."""

from datetime import UTC, timedelta, timezone

import pytest
from tests.conformance.warehouse.conftest import Warehouse
from tests.conformance.warehouse.rows import NOW, event

from qupersync_extractor.domain.warehouse import EventType, FeatureAdoptionScore
from qupersync_shared.kernel.errors import TerminalError

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


async def test_events_of_one_customer_come_in_order_of_time_and_id(warehouse: Warehouse) -> None:
    await warehouse.usage.save_all(
        [
            event("e3", ago=DAY),
            event("e2", ago=2 * DAY),
            event("e1", ago=DAY),
            event("e0", "c2"),
            event("e4", score=None),
        ]
    )
    found = await warehouse.usage.get_events_for_customer("c1", NOW - 2 * DAY)
    assert [one.event_id for one in found] == ["e2", "e1", "e3", "e4"]
    assert found[0] == event("e2", ago=2 * DAY)
    assert isinstance(found[0].event_type, EventType)
    assert isinstance(found[0].feature_adoption_score, FeatureAdoptionScore)
    assert found[3].feature_adoption_score is None
    assert await warehouse.usage.get_events_for_customer("nobody", NOW - 2 * DAY) == []


async def test_since_is_included_and_may_have_a_zone(warehouse: Warehouse) -> None:
    await warehouse.usage.save_all([event("at", ago=DAY), event("before", ago=DAY + TICK)])
    since = NOW - DAY
    elsewhere = since.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=5, minutes=30)))
    for moment in (since, elsewhere):
        found = await warehouse.usage.get_events_for_customer("c1", moment)
        assert [one.event_id for one in found] == ["at"]


async def test_saving_again_replaces_the_event(warehouse: Warehouse) -> None:
    await warehouse.usage.save(event("e1", ago=DAY))
    await warehouse.usage.save_all([event("e1", "c2", score=None), event("e1", "c2", score=0.25)])
    assert await warehouse.usage.get_events_for_customer("c1", NOW - 9 * DAY) == []
    assert await warehouse.usage.get_events_for_customer("c2", NOW - 9 * DAY) == [event("e1", "c2", score=0.25)]


async def test_days_are_counted_back_from_the_newest_event_of_all(warehouse: Warehouse) -> None:
    assert await warehouse.usage.get_newest_time() is None
    assert await warehouse.usage.get_event_count_last_n_days("c1", 7) == 0
    ages = {"e0": DAY, "e1": 7 * DAY - TICK, "e2": 7 * DAY, "e3": 8 * DAY}
    await warehouse.usage.save_all([event(name, ago=age) for name, age in ages.items()])
    await warehouse.usage.save(event("newest", "c2"))
    assert await warehouse.usage.get_newest_time() == NOW
    assert await warehouse.usage.get_event_count_last_n_days("c1", 7) == 2
    assert await warehouse.usage.get_event_count_last_n_days("c1", 8) == 3
    assert await warehouse.usage.get_event_count_last_n_days("c2", 1) == 1
    assert await warehouse.usage.get_event_count_last_n_days("nobody", 36500) == 0
    assert await warehouse.usage.get_event_count_last_n_days("c1", timedelta.max.days) == 4


async def test_days_may_be_counted_back_from_a_given_time(warehouse: Warehouse) -> None:
    await warehouse.usage.save_all([event("now"), event("then", ago=3 * DAY)])
    as_of = NOW - DAY
    for moment in (as_of, as_of.replace(tzinfo=UTC)):
        assert await warehouse.usage.get_event_count_last_n_days("c1", 3, as_of=moment) == 1
    assert await warehouse.usage.get_event_count_last_n_days("c1", 2, as_of=as_of) == 0


@pytest.mark.parametrize("days", [0, -3, 10**12])
async def test_a_number_of_days_must_be_one(warehouse: Warehouse, days: int) -> None:
    with pytest.raises(TerminalError, match="at least 1 day"):
        await warehouse.usage.get_event_count_last_n_days("c1", days)
