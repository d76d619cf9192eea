"""Which columns an event says are gone: by its place among all events, not by when it is applied."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from qupersync_loader.domain.filled import AFTER_ALL, FilledColumn, FilledColumns, Place

EVENTS: list[tuple[Place, frozenset[str]]] = [
    ((1, 1), frozenset({"id", "a"})),
    ((1, 4), frozenset({"id", "a", "b"})),
    ((1, 7), frozenset({"id", "b"})),
    ((2, 2), frozenset({"id", "a"})),
]
ALL = frozenset({"id", "a", "b", "note"})


def after(*events: tuple[Place, frozenset[str]]) -> FilledColumns:
    known = FilledColumns()
    for at, brings in events:
        known = known.fitting(brings, at=at, present=ALL)
    return known


def test_what_a_later_event_lacks_is_gone_and_what_an_earlier_one_lacks_is_yet_to_come() -> None:
    known = after(*EVENTS[:3])
    assert known.gone == {"a"}
    assert known.to_empty({"id", "b"}, at=(1, 8)) == ("a",)
    assert known.to_empty({"id", "a"}, at=(1, 3)) == ()
    assert known.to_empty({"id"}, at=(1, 3)) == ("a",)
    assert known.to_empty({"id"}, at=AFTER_ALL) == ("a", "b")


def test_what_comes_back_is_gone_no_more() -> None:
    assert after(*EVENTS).gone == {"b"}


def test_an_older_event_brings_nothing_back() -> None:
    known = after(*EVENTS[:3]).fitting({"id", "a"}, at=(1, 2), present=ALL)
    assert known.gone == {"a"}


def test_what_the_owner_has_dropped_is_forgotten() -> None:
    known = after(*EVENTS[:3]).fitting({"id", "b"}, at=(1, 8), present={"id", "b"})
    assert set(known.columns) == {"id", "b"}
    assert after(EVENTS[0]).columns == {name: FilledColumn(since=(1, 1)) for name in ("id", "a")}


@given(st.permutations(EVENTS))
def test_lanes_may_come_to_the_changes_in_any_order(order: list[tuple[Place, frozenset[str]]]) -> None:
    """Whatever is applied when: an event empties exactly what some earlier event is known to have brought."""
    known = FilledColumns()
    for number, (at, brings) in enumerate(order):
        known = known.fitting(brings, at=at, present=ALL)
        seen = [(place, names) for place, names in order[: number + 1] if place < at]
        expected = frozenset(itertools.chain.from_iterable(names for _, names in seen)) - brings
        assert set(known.to_empty(brings, at=at)) == expected
        assert expected <= known.gone | {n for n in expected if any(n in names for p, names in order if p > at)}
        assert "note" not in known.columns
