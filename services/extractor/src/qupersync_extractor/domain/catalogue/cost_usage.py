"""Lines of a cloud bill, and their sums by account, service and period."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal, Inexact
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from qupersync_extractor.domain.catalogue.columns import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    SUPER,
    TIMESTAMP,
    VARCHAR,
    numeric,
)
from qupersync_extractor.domain.catalogue.entity import Entity, SyncedAt

# The default context keeps 28 digits and rounds; a sum of millions of numeric(38, s) needs no more than this, and
# what it cannot hold exactly is an error.
_EXACT: Final = Context(prec=60, traps=[Inexact])


class Period(StrEnum):
    """How costs are put together."""

    DAY = "day"
    MONTH = "month"

    def begin(self, day: date) -> date:
        """The first day of the period that `day` lies in."""
        return day if self is Period.DAY else day.replace(day=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostUsageRecord(Entity):
    """One line of the bill. Credits are negative; an estimated line changes until the bill is final."""

    NAME: ClassVar[str] = "cost_usage"
    KEY: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[int, BIGINT]
    account_id: Annotated[str | None, VARCHAR]
    service: Annotated[str | None, VARCHAR]
    region: Annotated[str | None, VARCHAR] = None
    usage_type: Annotated[str | None, VARCHAR] = None
    effective_cost: Annotated[Decimal | None, numeric(18, 6)]
    list_cost: Annotated[Decimal | None, numeric(18, 6)] = None
    usage_quantity: Annotated[float | None, DOUBLE] = None
    currency: Annotated[str | None, VARCHAR] = None
    usage_date: Annotated[date | None, DATE]
    tags: Annotated[Any | None, SUPER] = None
    is_estimated: Annotated[bool | None, BOOLEAN] = None
    updated_at: Annotated[datetime | None, TIMESTAMP]
    synced_at: SyncedAt = None

    @property
    def discount(self) -> Decimal | None:
        """List cost less effective cost, exact; None where one of them is not known."""
        if self.list_cost is None or self.effective_cost is None:
            return None
        return _EXACT.subtract(self.list_cost, self.effective_cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostUsageSummary:
    """What one account paid for one service in one period (`begins_on` is its first day); the total is exact.

    Lines without a date, or without an account or service, are summed under None: every line is in one summary.
    """

    account_id: str | None
    service: str | None
    begins_on: date | None
    rows: int
    total: Decimal

    @classmethod
    def of(cls, records: Iterable[CostUsageRecord], *, period: Period = Period.MONTH) -> list["CostUsageSummary"]:
        """The summaries in order of account, service and period, None last; an unknown cost adds a row and no money."""
        sums: dict[tuple[str | None, str | None, date | None], tuple[int, Decimal]] = {}
        for record in records:
            begins_on = None if record.usage_date is None else period.begin(record.usage_date)
            group = (record.account_id, record.service, begins_on)
            rows, total = sums.get(group, (0, Decimal(0)))
            sums[group] = (rows + 1, _EXACT.add(total, record.effective_cost or Decimal(0)))
        return [
            cls(account_id=account, service=service, begins_on=begins_on, rows=rows, total=total)
            for (account, service, begins_on), (rows, total) in sorted(sums.items(), key=lambda one: _order(one[0]))
        ]

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, as JSON can hold them: the total as text, for it is exact."""
        return {
            "account_id": self.account_id,
            "service": self.service,
            "begins_on": None if self.begins_on is None else self.begins_on.isoformat(),
            "rows": self.rows,
            "total": format(self.total, "f"),
        }


def _order(group: tuple[str | None, str | None, date | None]) -> tuple[object, ...]:
    account, service, begins_on = group
    return (account is None, account or "", service is None, service or "", begins_on is None, begins_on or date.min)
