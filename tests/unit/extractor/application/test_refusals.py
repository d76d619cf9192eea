"""Pages with refused rows: what is withheld and what is carried are together what was read, however pages are cut."""

import itertools
import random
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.extractor.application.test_pages import (
    LIMIT,
    NOON,
    ORDERS,
    SNAPSHOT,
    batch,
    int_key,
    made,
    order,
    schema,
)

from qupersync_extractor.application.pages import (
    HEADER_BYTES,
    HEADERS_BYTES_MAX,
    PageDraft,
    Rows,
    draft_pages,
    read_rows,
    reduce_duplicates,
    whole_rows,
    with_gone,
)
from qupersync_extractor.application.refused import with_refusals
from qupersync_extractor.domain.extraction import IncrementalPage, PageKind, RereadPage, SnapshotPage
from qupersync_shared.contracts.payload import decode
from qupersync_shared.contracts.schema import GONE_COLUMN
from qupersync_shared.contracts.slots import lane_of_slot, slot_of_key
from qupersync_shared.kernel.positions import Key, Position, Scalar, ScalarKind, encode_keys

HIGH = Scalar(ScalarKind.TIMESTAMPTZ, "2025-06-01 12:59:00.000000Z")
KINDS: dict[str, PageKind] = {
    "snapshot": SnapshotPage(snapshot_id=SNAPSHOT, after=None, upto=None),
    "part of a snapshot": SnapshotPage(snapshot_id=SNAPSHOT, after=int_key(-1), upto=int_key(10_000)),
    "incremental": IncrementalPage(upto=Position.after(HIGH), cursor="at", completes_at=NOON),
    "reread": RereadPage(),
    "reread of a range": RereadPage(complete=True, after=int_key(-1), upto=None),
}


def refusing(rows: Rows, refused: dict[int, str]) -> Rows:
    return replace(rows, refused=pa.array([refused.get(index) for index in range(rows.count)], pa.string()))


def said(drafts: list[PageDraft]) -> tuple[list[int], dict[int, str]]:
    """The ids that are carried, in order, and the withheld ones with their reasons; each in its own lane."""
    carried: list[int] = []
    withheld: dict[int, str] = {}
    for draft in drafts:
        lanes = len(draft.bodies)
        rows = 0
        for body in draft.bodies:
            ids = decode(body.body).column("id").to_pylist()
            assert body.rows == len(ids)
            rows += body.rows
            carried += ids
            for refusal in body.refusals:
                assert lane_of_slot(slot_of_key(refusal.key), lanes) == body.lane
                withheld[int(refusal.key[0].text)] = refusal.reason
            for number in ids:
                assert lane_of_slot(slot_of_key(int_key(number)), lanes) == body.lane
        assert draft.rows == rows
    return sorted(carried), withheld


def noise(size: int, seed: int) -> str:
    return "".join(map(chr, random.Random(seed).choices(range(0x4E00, 0x9C00), k=size)))


@settings(deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    refused=st.dictionaries(st.integers(0, 39), st.sampled_from(["one reason", "another"])),
    large=st.sets(st.integers(0, 39), max_size=3),
    lanes=st.sampled_from([1, 2, 5]),
    count=st.integers(0, 40),
    note=st.sampled_from([1, 200]),
)
def test_withheld_and_carried_are_what_was_read_and_ranges_stay_exact(
    kind: str, refused: dict[int, str], large: set[int], lanes: int, count: int, note: int
) -> None:
    notes = [noise(20_000 if number in large else note, number) for number in range(count)]
    rows = refusing(made(ORDERS, [order(n, seconds=n, note=notes[n]) for n in range(count)]), refused)

    drafts = draft_pages(rows, KINDS[kind], lanes=lanes, event_bytes_max=LIMIT)

    carried, withheld = said(drafts)
    assert set(carried) | set(withheld) == set(range(count))
    assert not set(carried) & set(withheld)
    wanted = {number for number in refused if number < count} | {number for number in large if number < count}
    assert set(withheld) == wanted
    assert all(withheld[number] == reason for number, reason in refused.items() if number < count)
    assert all("exceeds the event limit" in withheld[number] for number in wanted - refused.keys())
    assert adjoining([draft.kind for draft in drafts], KINDS[kind])


def adjoining(kinds: list[Any], whole: Any) -> bool:
    if isinstance(whole, RereadPage) and not whole.complete:
        return kinds == [whole] * len(kinds)
    ends = (kinds[0].after, kinds[-1].upto) == (whole.after, whole.upto)
    return ends and all(one.upto == two.after for one, two in itertools.pairwise(kinds))


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_where_very_many_rows_are_withheld_pages_are_cut_so_that_headers_stay_within_bounds(
    kind: str, lanes: int
) -> None:
    count = 12_000
    rows = made(ORDERS, [order(n, seconds=n) for n in range(count)])
    rows = refusing(rows, {number: "no" for number in range(count) if number % 100})

    drafts = draft_pages(rows, KINDS[kind], lanes=lanes, event_bytes_max=900_000)

    carried, withheld = said(drafts)
    assert carried == list(range(0, count, 100))
    assert len(withheld) == count - len(carried)
    sizes = [len(encode_keys(body.withheld)) for draft in drafts for body in draft.bodies]
    assert max(sizes) < HEADERS_BYTES_MAX - 2 * HEADER_BYTES
    assert len(drafts) < 80, "and no more often than is needed"
    assert adjoining([draft.kind for draft in drafts], KINDS[kind])


def test_the_withheld_keys_count_towards_an_events_size() -> None:
    count = 600
    rows = refusing(made(ORDERS, [order(n) for n in range(count)]), dict.fromkeys(range(count), "no"))
    drafts = draft_pages(rows, KINDS["snapshot"], lanes=1, event_bytes_max=LIMIT)
    assert len(drafts) > 1
    for draft in drafts:
        (body,) = draft.bodies
        assert len(body.body) + len(encode_keys(body.withheld)) + HEADER_BYTES <= LIMIT
    assert len(said(drafts)[1]) == count


def test_a_page_of_nothing_but_refused_rows_has_empty_bodies() -> None:
    rows = refusing(made(ORDERS, [order(1), order(2)]), {0: "a", 1: "b"})
    (draft,) = draft_pages(rows, KINDS["snapshot"], lanes=2, event_bytes_max=LIMIT)
    assert (draft.rows, said([draft])) == (0, ([], {1: "a", 2: "b"}))


def test_gone_keys_follow_refused_rows_and_are_told_as_before() -> None:
    rows = refusing(made(ORDERS, [order(1), order(2)]), {1: "no"})
    both = with_gone(rows, made(ORDERS, [(3, None, None), (2, None, None)]))
    (draft,) = draft_pages(both, RereadPage(), lanes=1, event_bytes_max=LIMIT)
    body = decode(draft.bodies[0].body)
    assert body.column("id").to_pylist() == [1, 3]
    assert body.column(GONE_COLUMN).to_pylist() == [False, True]
    assert draft.bodies[0].withheld == (int_key(2),)


def test_the_last_duplicate_of_a_key_decides_whether_it_is_refused() -> None:
    rows = made(ORDERS, [order(1, seconds=5), order(1, seconds=9), order(2, seconds=9), order(2, seconds=5)])
    reduced = reduce_duplicates(refusing(rows, {0: "stale", 2: "last"}), cursor="at")
    (draft,) = draft_pages(reduced, KINDS["snapshot"], lanes=1, event_bytes_max=LIMIT)
    assert said([draft]) == ([1], {2: "last"})


def test_a_source_tells_refused_rows_in_a_column_that_never_travels() -> None:
    texts = schema(id="bigint", note="varchar")
    read = with_refusals(batch(texts, [(1, "a"), (2, None), (3, "c")]), {1: "column 'note'"})
    cut = whole_rows(read, texts, cursor=None, full=True)
    assert cut is not None
    assert (cut.batch.schema.names, cut.refused.to_pylist()) == (["id", "note"], [None, "column 'note'"])
    whole = read_rows(batch(texts, [(1, "a")]), texts)
    assert (whole.count, whole.refused) == (1, None)


def test_long_keys_of_refused_rows_are_cut_apart_until_each_fits() -> None:
    texts = schema(id="varchar")
    keys = ["a" * 2000 + str(number) for number in range(100)]
    rows = refusing(made(texts, [(key,) for key in sorted(keys)]), dict.fromkeys(range(100), "no"))
    drafts = draft_pages(
        rows, SnapshotPage(snapshot_id=SNAPSHOT, after=None, upto=None), lanes=1, event_bytes_max=900_000
    )
    found: list[Key] = [key for draft in drafts for body in draft.bodies for key in body.withheld]
    assert len(found) == 100
    assert all(len(encode_keys(draft.bodies[0].withheld)) < HEADERS_BYTES_MAX for draft in drafts)
