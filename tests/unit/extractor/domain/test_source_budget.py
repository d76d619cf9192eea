"""The source budget's rules, and the bound they promise, over any order of reads."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_extractor.domain.source_budget import (
    MINUTE,
    Amount,
    MinuteUse,
    SourceLimits,
    exhausted,
    may_begin,
    minute_of,
    this_minute,
)

NOW = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)
PAGE = 40


def rows(number: int) -> Amount:
    return Amount(rows=number, bytes=number * 10)


def test_without_limits_everybody_begins() -> None:
    assert not SourceLimits()
    assert may_begin(SourceLimits(), MinuteUse(minute=NOW), reading=[rows(5)] * 9, waiting=[rows(10**9)] * 7) == 7


def test_no_more_reads_than_the_limit_and_nobody_is_overtaken() -> None:
    limits = SourceLimits(reads=3, rows_per_minute=100)
    minute = MinuteUse(minute=minute_of(NOW))
    assert may_begin(limits, minute, reading=[rows(1)], waiting=[rows(1)] * 5) == 2
    assert may_begin(limits, minute, reading=[rows(1)] * 4, waiting=[rows(1)]) == 0
    # The second wants more than is left, and begins: anything is left. The third, however small, does not.
    assert may_begin(SourceLimits(rows_per_minute=100), minute, reading=[], waiting=[rows(99), rows(50), rows(1)]) == 2


def test_what_reads_under_way_may_take_is_counted() -> None:
    minute = MinuteUse(minute=minute_of(NOW), used=rows(30), carried=rows(30))
    assert may_begin(SourceLimits(rows_per_minute=100), minute, reading=[rows(40)], waiting=[rows(1)]) == 0
    assert may_begin(SourceLimits(rows_per_minute=101), minute, reading=[rows(40)], waiting=[rows(1)]) == 1
    assert may_begin(SourceLimits(bytes_per_minute=1000), minute, reading=[rows(40)], waiting=[rows(1)]) == 0
    assert may_begin(SourceLimits(bytes_per_minute=1001), minute, reading=[rows(40)], waiting=[rows(1)]) == 1


@pytest.mark.parametrize(
    ("limits", "reads", "name"),
    [
        (SourceLimits(reads=2), 2, "reads"),
        (SourceLimits(reads=3), 2, None),
        (SourceLimits(rows_per_minute=10), 0, "rows_per_minute"),
        (SourceLimits(rows_per_minute=11, bytes_per_minute=100), 0, "bytes_per_minute"),
    ],
)
def test_the_limit_that_is_reached_has_a_name(limits: SourceLimits, reads: int, name: str | None) -> None:
    assert exhausted(limits, reads=reads, taken=rows(10)) == name


def test_overdraft_is_carried_until_it_is_made_good_and_savings_are_not() -> None:
    limits = SourceLimits(rows_per_minute=100)
    first = this_minute(None, NOW, limits).taking(rows(350))
    assert this_minute(first, NOW, limits) is first
    second = this_minute(first, NOW + MINUTE, limits)
    assert (second.carried.rows, second.used.rows) == (250, 0)
    assert this_minute(second, NOW + 2 * MINUTE, limits).carried.rows == 150
    assert this_minute(first, NOW + 3 * MINUTE, limits).carried.rows == 50
    assert this_minute(first, NOW + 60 * MINUTE, limits).carried.rows == 0
    assert this_minute(first, NOW + MINUTE, SourceLimits(reads=1)).carried == Amount()


def test_a_clock_that_is_put_back_makes_nobody_wait_for_it() -> None:
    limits = SourceLimits(rows_per_minute=100)
    ahead = this_minute(None, NOW + timedelta(hours=5), limits).taking(rows(150))
    assert this_minute(ahead, NOW, limits) == MinuteUse(minute=minute_of(NOW), carried=Amount(rows=50))


@dataclass
class Books:
    """Reads of pages that end in any order, by the rules alone."""

    limits: SourceLimits
    minute: MinuteUse = field(default_factory=lambda: MinuteUse(minute=minute_of(NOW)))
    reading: list[Amount] = field(default_factory=list)
    taken: dict[datetime, int] = field(default_factory=dict)
    most_at_once: int = 0

    def pass_minutes(self, number: int) -> None:
        self.minute = this_minute(self.minute, self.minute.minute + number * MINUTE, self.limits)

    def ask(self, waiting: int) -> None:
        begun = may_begin(self.limits, self.minute, reading=self.reading, waiting=[rows(PAGE)] * waiting)
        self.reading += [rows(PAGE)] * begun
        self.most_at_once = max(self.most_at_once, len(self.reading))

    def end(self, took: int) -> None:
        if self.reading:
            self.reading.pop()
            self.minute = self.minute.taking(rows(took))
            self.taken[self.minute.minute] = self.taken.get(self.minute.minute, 0) + took


steps = st.one_of(
    st.tuples(st.just("pass"), st.integers(1, 3)),
    st.tuples(st.just("ask"), st.integers(1, 20)),
    st.tuples(st.just("end"), st.integers(0, PAGE)),
)


@given(st.lists(steps, max_size=80), st.integers(1, 200), st.one_of(st.none(), st.integers(1, 5)))
def test_any_minutes_take_at_most_their_shares_and_one_page(
    script: list[tuple[str, int]], share: int, reads: int | None
) -> None:
    books = Books(SourceLimits(rows_per_minute=share, reads=reads))
    for what, number in script:
        {"pass": books.pass_minutes, "ask": books.ask, "end": books.end}[what](number)
    assert reads is None or books.most_at_once <= reads
    first, last = minute_of(NOW), books.minute.minute
    minutes = [first + number * MINUTE for number in range((last - first) // MINUTE + 1)]
    for begin in range(len(minutes)):
        total = 0
        for count, minute in enumerate(minutes[begin:], start=1):
            total += books.taken.get(minute, 0)
            assert total <= count * share + PAGE
