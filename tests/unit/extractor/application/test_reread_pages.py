"""Pages that somebody asked for: ranges that say their complete content, and keys that are gone."""

from collections import Counter

import pytest
from tests.unit.extractor.application.test_pages import LIMIT, ORDERS, drafted, incompressible, int_key, made, order

from qupersync_extractor.application.key_lists import key_rows
from qupersync_extractor.application.pages import Rows, draft_pages, reduce_duplicates, with_gone
from qupersync_extractor.domain.extraction import RereadPage
from qupersync_shared.contracts.payload import decode
from qupersync_shared.contracts.schema import GONE_COLUMN
from qupersync_shared.contracts.slots import canonical_keys, lane_of_slot, slot_of_key
from qupersync_shared.kernel.ids import uuid7


def test_a_reread_range_is_cut_into_ranges_that_adjoin() -> None:
    rows = made(ORDERS, [order(number, note=incompressible(5000, number)) for number in range(2, 9)])
    ids = (uuid7(), uuid7())
    kind = RereadPage(complete=True, after=int_key(1), upto=int_key(50), redrives=ids)

    drafts = draft_pages(rows, kind, lanes=1, event_bytes_max=LIMIT)

    assert len(drafts) > 1
    edges = [(draft.kind.after, draft.kind.upto) for draft in drafts if isinstance(draft.kind, RereadPage)]
    assert (edges[0][0], edges[-1][1]) == (int_key(1), int_key(50))
    assert [upto for _, upto in edges[:-1]] == [after for after, _ in edges[1:]]


def test_keys_that_are_gone_are_rows_without_content_in_the_lane_of_their_key() -> None:
    there = made(ORDERS, [order(1), order(3)])
    asked = key_rows([int_key(number) for number in (1, 2, 3, 4)], ORDERS)
    keys = Rows(batch=asked, canonical=canonical_keys(asked, ORDERS), schema=ORDERS)

    (draft,) = draft_pages(with_gone(there, keys), RereadPage(), lanes=3, event_bytes_max=LIMIT)

    rows = drafted(draft)
    assert {row["id"]: row[GONE_COLUMN] for row in rows} == {1: False, 2: True, 3: False, 4: True}
    assert all(row["note"] is None for row in rows if row[GONE_COLUMN])
    for body in draft.bodies:
        for row in decode(body.body).to_pylist():
            assert lane_of_slot(slot_of_key(int_key(row["id"])), 3) == body.lane


@pytest.mark.parametrize("ids", [(), (1, 3)])
def test_rows_that_are_all_there_travel_without_a_column_for_those_that_are_gone(ids: tuple[int, ...]) -> None:
    there = made(ORDERS, [order(number) for number in ids])
    asked = key_rows([int_key(number) for number in ids], ORDERS)
    keys = Rows(batch=asked, canonical=canonical_keys(asked, ORDERS), schema=ORDERS)
    assert with_gone(there, keys) == there


def test_cutting_reduced_rows_keeps_one_row_per_key() -> None:
    doubled = [
        order(number, seconds=second, note=incompressible(3000, number)) for number in range(6) for second in (1, 2)
    ]

    drafts = draft_pages(
        reduce_duplicates(made(ORDERS, doubled), cursor="at"), RereadPage(), lanes=2, event_bytes_max=LIMIT
    )

    assert Counter(row["id"] for draft in drafts for row in drafted(draft)) == dict.fromkeys(range(6), 1)
