"""The warehouse in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import md5

import pyarrow as pa

from qupersync_extractor.domain.warehouse.customer import Customer
from qupersync_extractor.domain.warehouse.features import FEATURES, features_of
from qupersync_extractor.domain.warehouse.repositories import check_days, check_sample, in_utc
from qupersync_extractor.domain.warehouse.usage_event import UsageEvent


class MemoryCustomerRepository:
    """The port `CustomerRepository` over a dictionary."""

    def __init__(self) -> None:
        self._customers: dict[str, Customer] = {}

    async def get_by_id(self, customer_id: str) -> Customer | None:
        return self._customers.get(customer_id)

    async def get_all_active(self) -> list[Customer]:
        active = [customer for customer in self._customers.values() if customer.is_active]
        return sorted(active, key=lambda customer: (-customer.mrr, customer.customer_id))

    async def get_sample(self, size: int) -> list[Customer]:
        check_sample(size)
        spread = sorted(self._customers, key=lambda key: (md5(key.encode(), usedforsecurity=False).hexdigest(), key))
        return [self._customers[key] for key in sorted(spread[:size])]

    async def save(self, customer: Customer) -> None:
        await self.save_all([customer])

    async def save_all(self, customers: Sequence[Customer]) -> None:
        self._customers.update((customer.customer_id, customer) for customer in customers)


class MemoryUsageRepository:
    """The port `UsageRepository` over a dictionary."""

    def __init__(self) -> None:
        self._events: dict[str, UsageEvent] = {}

    async def get_events_for_customer(self, customer_id: str, since: datetime) -> list[UsageEvent]:
        first = in_utc(since)
        found = [one for one in self._events.values() if one.customer_id == customer_id and one.timestamp >= first]
        return sorted(found, key=lambda event: (event.timestamp, event.event_id))

    async def get_event_count_last_n_days(self, customer_id: str, days: int, *, as_of: datetime | None = None) -> int:
        check_days(days)
        end = await self.get_newest_time() if as_of is None else in_utc(as_of)
        if end is None:
            return 0
        return sum(
            one.customer_id == customer_id and timedelta(0) <= end - one.timestamp < timedelta(days=days)
            for one in self._events.values()
        )

    async def get_newest_time(self) -> datetime | None:
        return max((event.timestamp for event in self._events.values()), default=None)

    async def save(self, event: UsageEvent) -> None:
        await self.save_all([event])

    async def save_all(self, events: Sequence[UsageEvent]) -> None:
        self._events.update((event.event_id, event) for event in events)


class MemoryWarehouseFeatures:
    """The port `FeatureSource` over both, by the domain's own definition."""

    def __init__(self, customers: MemoryCustomerRepository, usage: MemoryUsageRepository) -> None:
        self._customers = customers
        self._usage = usage

    @property
    def names(self) -> frozenset[str]:
        return frozenset(FEATURES)

    async def features(self, names: Sequence[str], batch: pa.RecordBatch) -> dict[str, pa.Array]:
        as_of = await self._usage.get_newest_time()
        rows = []
        for key in batch.column("customer_id").to_pylist():
            customer = await self._customers.get_by_id(key) if key is not None else None
            events = await self._usage.get_events_for_customer(key, datetime.min) if key is not None else []  # noqa: DTZ901
            rows.append(features_of(customer, events, as_of=as_of))
        return {name: pa.array([row[name] for row in rows], pa.float64()) for name in names}
