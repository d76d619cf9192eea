"""Where customers and usage events are kept. Each port has adapters in memory and over DuckDB, and one suite."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from qupersync_extractor.domain.warehouse.customer import Customer
from qupersync_extractor.domain.warehouse.usage_event import UsageEvent
from qupersync_shared.kernel.errors import TerminalError

SAMPLE_MAX: Final = 100


class CustomerRepository(Protocol):
    """Customers by id. SourceUnavailableError while others hold the warehouse; EntityRefusedError for a row in it that
    no customer can be.
    """

    async def get_by_id(self, customer_id: str) -> Customer | None:
        """The customer with this id; None if there is none."""
        ...

    async def get_all_active(self) -> list[Customer]:
        """Everyone who has not left, by falling `mrr`, and by id where that is equal."""
        ...

    async def get_sample(self, size: int) -> list[Customer]:
        """`size` customers (1 to 100, or all there are), in order of their ids: the same as long as the ids are.

        They are those whose ids have the smallest MD5, so they are spread over the table. TerminalError for another
        size.
        """
        ...

    async def save(self, customer: Customer) -> None:
        """Adds the customer, or puts it in place of the one with its id."""
        ...

    async def save_all(self, customers: Sequence[Customer]) -> None:
        """Saves all of them or none; of several with one id the last counts."""
        ...


class UsageRepository(Protocol):
    """Usage events; the same errors as for customers. Moments are in UTC; one without a zone is taken as UTC."""

    async def get_events_for_customer(self, customer_id: str, since: datetime) -> list[UsageEvent]:
        """The customer's events at or after `since`, in order of time and id."""
        ...

    async def get_event_count_last_n_days(self, customer_id: str, days: int, *, as_of: datetime | None = None) -> int:
        """How many events the customer has in the `days` up to `as_of`, which is included and their beginning not.

        `as_of` is the warehouse's newest event unless it is given, so the answer changes with the content alone.
        """
        ...

    async def get_newest_time(self) -> datetime | None:
        """When the newest event of all was; None where there is none."""
        ...

    async def save(self, event: UsageEvent) -> None:
        """Adds the event, or puts it in place of the one with its id."""
        ...

    async def save_all(self, events: Sequence[UsageEvent]) -> None:
        """Saves all of them or none; of several with one id the last counts."""
        ...


def check_sample(size: int) -> None:
    """TerminalError unless so many customers may be asked for."""
    if not 1 <= size <= SAMPLE_MAX:
        raise TerminalError(
            f"a sample has 1 to {SAMPLE_MAX} rows, not {size}", cure=f"Ask for at most {SAMPLE_MAX}, or sync the table"
        )


def check_days(days: int) -> None:
    """TerminalError unless events of so many days can be counted."""
    if not 1 <= days <= timedelta.max.days:
        raise TerminalError(f"events are counted over at least 1 day, not {days}", cure="Give a number of days")


def in_utc(moment: datetime) -> datetime:
    """The moment in UTC, without zone, as events have it."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
