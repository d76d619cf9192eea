"""Listings: whoever walks the pages sees every record that was there all the time, once and in order."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qupersync_shared.kernel.errors import ConflictError
from qupersync_shared.runtime.records import (
    Audit,
    BadCursorError,
    Field,
    Listing,
    Match,
    Query,
    StaleVersionError,
    UnknownFieldError,
    whoever,
)
from qupersync_shared.runtime.records.listing import select

BEGIN: Final = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Thing:
    id: str
    rank: int
    at: datetime
    ended: datetime | None = None


LISTING: Final = Listing(
    name="things",
    filters={
        "rank": Field(attribute="rank", parse=int),
        "ranks": Field(attribute="rank", match=Match.ONE_OF),
        "since": Field(attribute="at", match=Match.SINCE, parse=datetime.fromisoformat),
        "before": Field(attribute="at", match=Match.BEFORE),
        "ended": Field(attribute="ended", match=Match.IS_SET),
    },
    sorts={"id": ("id",), "rank": ("rank",), "at": ("at",)},
    identity="id",
    default_sort="-at",
)
things = st.lists(
    st.builds(
        Thing,
        id=st.uuids().map(str),
        rank=st.integers(-2, 2),
        at=st.integers(0, 3).map(lambda n: BEGIN + timedelta(hours=n)),
    ),
    max_size=30,
    unique_by=lambda thing: thing.id,
)


@given(things, things, st.sampled_from(["id", "-id", "rank", "-rank", "at", "-at"]), st.integers(1, 7))
def test_walking_the_pages_neither_skips_nor_repeats(
    here: list[Thing], added: list[Thing], sort: str, limit: int
) -> None:
    records, query, seen = list(here), Query(sort=sort, limit=limit), []
    coming = iter(added)
    while True:
        page = select(LISTING, query, records)
        seen += page.items
        if page.next_cursor is None:
            break
        records += [thing for thing in [next(coming, None)] if thing is not None]  # another one between two pages
        query = replace(query, cursor=page.next_cursor)
    assert len({thing.id for thing in seen}) == len(seen)
    assert set(here) <= set(seen) | set(added)
    name = sort.removeprefix("-")
    order = [(getattr(thing, name), thing.id) for thing in seen if thing in here]
    assert order == sorted(order, reverse=sort.startswith("-"))


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"rank": "1"}, "b"),
        ({"ranks": [0, 2]}, "ac"),
        ({"since": "2025-01-01T01:00:00+00:00"}, "bc"),
        ({"before": BEGIN + timedelta(hours=1)}, "a"),
        ({"ended": True}, "c"),
        ({"ended": False, "rank": None}, "ab"),
    ],
)
def test_filters_compare_as_they_say(filters: dict[str, object], wanted: str) -> None:
    records = [
        Thing(name, rank, BEGIN + timedelta(hours=rank), BEGIN if name == "c" else None)
        for rank, name in enumerate("abc")
    ]
    found = select(LISTING, Query(filters=filters, sort="id"), records).items
    assert "".join(thing.id for thing in found) == wanted


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query(filters={"colour": "red"}), "filtered by 'colour'.*rank, ranks, since"),
        (Query(sort="colour"), "sorted by 'colour'.*id, rank, at"),
        (Query(filters={"rank": "high"}), "no value for rank"),
        (Query(limit=0), "1 to 1000"),
        (Query(limit=1001), "1 to 1000"),
    ],
)
def test_what_is_not_allowed_is_an_error_that_names_what_is(query: Query, words: str) -> None:
    with pytest.raises(UnknownFieldError) as refused:
        select(LISTING, query, [])
    assert re.search(words, str(refused.value))


@given(st.data())
def test_a_cursor_that_was_altered_is_refused(data: st.DataObject) -> None:
    records = [Thing(str(n), n, BEGIN) for n in range(3)]
    cursor = select(LISTING, Query(limit=1), records).next_cursor
    assert cursor is not None
    place = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda c: c != cursor[place]))
    altered = cursor[:place] + other + cursor[place + 1 :]
    try:
        page = select(LISTING, Query(limit=1, cursor=altered), records)
    except BadCursorError:
        return
    assert page == select(LISTING, Query(limit=1, cursor=cursor), records), "only bits that say nothing"


def test_a_version_is_expected_or_any() -> None:
    record = Audit(version=3, created_at=BEGIN, created_by="a", updated_at=BEGIN, updated_by="b")
    record.expect(None, what="it")
    record.expect(3, what="it")
    with pytest.raises(StaleVersionError, match="version 3, not 2") as stale:
        record.expect(2, what="it")
    assert isinstance(stale.value, ConflictError)


def test_whoever_is_one_line() -> None:
    assert whoever(" ann\n from  sales ") == "ann from sales"
    assert "@" in whoever()
