"""Sums of a bill: exact, complete and in order."""

import random
from datetime import date
from decimal import Decimal, localcontext

import pytest
from tests.unit.extractor.domain.catalogue.examples import naive

from qupersync_extractor.domain.catalogue import CostUsageRecord, CostUsageSummary, Period


def line(id_: int, account: str | None, service: str | None, cost: str | None, day: date | None) -> CostUsageRecord:
    return CostUsageRecord(
        id=id_,
        account_id=account,
        service=service,
        effective_cost=None if cost is None else Decimal(cost),
        usage_date=day,
        updated_at=naive("2026-03-01T00:00"),
    )


BILL = [
    line(1, "a", "S3", "0.100000", date(2026, 1, 31)),
    line(2, "a", "S3", "0.200000", date(2026, 2, 1)),
    line(3, "a", "S3", "0.300001", date(2026, 2, 28)),
    line(4, "a", "EC2", "10.000000", date(2026, 2, 1)),
    line(5, "b", "S3", "-4.500000", date(2026, 2, 1)),
    line(6, "b", "S3", None, date(2026, 2, 2)),
    line(7, None, "S3", "1.000000", None),
    line(8, "b", None, "2.000000", date(2026, 2, 2)),
]


def summary(account: str | None, service: str | None, begins: date | None, rows: int, total: str) -> CostUsageSummary:
    return CostUsageSummary(account_id=account, service=service, begins_on=begins, rows=rows, total=Decimal(total))


def test_a_bill_by_month() -> None:
    assert CostUsageSummary.of(BILL) == [
        summary("a", "EC2", date(2026, 2, 1), 1, "10"),
        summary("a", "S3", date(2026, 1, 1), 1, "0.1"),
        summary("a", "S3", date(2026, 2, 1), 2, "0.500001"),
        summary("b", "S3", date(2026, 2, 1), 2, "-4.5"),
        summary("b", None, date(2026, 2, 1), 1, "2"),
        summary(None, "S3", None, 1, "1"),
    ]


def test_a_bill_by_day() -> None:
    found = CostUsageSummary.of(BILL, period=Period.DAY)
    assert [(one.service, one.begins_on, one.rows) for one in found if one.account_id == "a"] == [
        ("EC2", date(2026, 2, 1), 1),
        ("S3", date(2026, 1, 31), 1),
        ("S3", date(2026, 2, 1), 1),
        ("S3", date(2026, 2, 28), 1),
    ]
    assert sum(one.rows for one in found) == len(BILL)


def test_no_lines_no_sums() -> None:
    assert CostUsageSummary.of([]) == []


def test_the_total_is_exact_beyond_what_floats_and_the_default_context_hold() -> None:
    chance = random.Random(4)
    micros = [chance.randrange(-(10**17), 10**18) for _ in range(3_000)]
    costs = [Decimal(number).scaleb(-6) for number in micros]
    with localcontext() as context:
        context.prec = 5  # whatever the caller's context is
        (found,) = CostUsageSummary.of(
            line(number, "a", "S3", format(cost, "f"), date(2026, 1, 1)) for number, cost in enumerate(costs)
        )
    assert found.total == Decimal(sum(micros)).scaleb(-6)
    assert found.to_dict()["total"] == format(found.total, "f")


@pytest.mark.parametrize(
    ("day", "begins"), [(date(2024, 2, 29), date(2024, 2, 1)), (date(2026, 1, 1), date(2026, 1, 1))]
)
def test_a_month_begins_on_its_first_day(day: date, begins: date) -> None:
    assert Period.MONTH.begin(day) == begins
    assert Period.DAY.begin(day) == day
